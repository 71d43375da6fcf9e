"""Rectifier: straight lines, the one remap against two steps, what lies outside, and colour order."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from lenses import DISTORTED, LENSES, distort, rays_of_raw_pixels

from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.preprocess import RawImage, Rectifier, crop_to_aspect


def camera_with(model: str) -> CameraModel:
    return CameraModel(480, 300, 330.0, 320.0, 230.5, 155.25, model, LENSES[model])


def gray(values: np.ndarray) -> RawImage:
    return RawImage(np.clip(np.rint(values), 0, 255).astype(np.uint8), "mono")


@pytest.mark.parametrize("model", DISTORTED)
@pytest.mark.parametrize(("slope", "intercept"), [(0.0, -0.3), (0.25, 0.1), (-0.4, 0.05)])
def test_a_straight_line_in_the_world_becomes_straight_at_the_predicted_pixels(
    model: str, slope: float, intercept: float
) -> None:
    source = camera_with(model)
    x, y = rays_of_raw_pixels(source)
    distance = (y - slope * x - intercept) / np.hypot(1.0, slope)
    raw = gray(255 * np.exp(-((distance * source.fy / 4.0) ** 2)))
    rectifier = Rectifier(source, width=256, height=160)

    rectified = rectifier(raw)[..., 0].astype(float)
    camera = rectifier.camera
    columns = np.arange(40, 216, 8)
    expected = camera.cy + camera.fy * (slope * (columns - camera.cx) / camera.fx + intercept)
    rows = np.arange(160)[:, None]
    window = rectified[:, columns] * (np.abs(rows - expected) < 6)
    found = (rows * window).sum(axis=0) / window.sum(axis=0)
    np.testing.assert_allclose(found, expected, atol=0.1)


@pytest.mark.parametrize("model", DISTORTED)
def test_one_remap_gives_what_undistorting_then_cropping_then_resizing_gives(model: str) -> None:
    source = camera_with(model)
    v, u = np.mgrid[: source.height, : source.width]
    raw = gray(128 + 60 * np.sin(u / 23) + 60 * np.cos(v / 17))
    coefficients = np.array(source.distortion)
    if model == "equidistant":
        undistorted = cv2.fisheye.undistortImage(raw.data, source.K, coefficients, Knew=source.K)
    else:
        undistorted = cv2.undistort(raw.data, source.K, coefficients)
    two_steps = cv2.resize(undistorted[50:250], (240, 100), interpolation=cv2.INTER_LINEAR)

    rectifier = Rectifier(source, width=240, height=100)
    difference = np.abs(rectifier(raw)[..., 0].astype(int) - two_steps)[rectifier.valid_mask]
    assert np.percentile(difference, 99) <= 2
    assert difference.mean() < 0.6


def test_an_undistorted_image_of_the_networks_size_passes_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    rectifier = Rectifier(CameraModel(50, 30, 40.0, 41.0, 22.0, 13.0), width=50, height=30)
    np.testing.assert_array_equal(rectifier(RawImage(pixels, "rgb")), pixels)
    assert rectifier.camera == CameraModel(50, 30, 40.0, 41.0, 22.0, 13.0)
    assert rectifier.valid_mask.all()


@pytest.mark.parametrize(
    ("size", "position", "box"),
    [
        ((640, 192), 0.5, (0, 12, 640, 192)),  # same aspect after a cut in height
        ((640, 192), 0.0, (0, 0, 640, 192)),
        ((640, 192), 1.0, (0, 24, 640, 192)),
        ((320, 216), 0.5, (160, 0, 320, 216)),  # a cut in width
        ((320, 216), 0.25, (80, 0, 320, 216)),
        ((160, 54), 0.5, (0, 0, 640, 216)),
    ],
)
def test_the_crop_is_the_largest_of_its_aspect(
    size: tuple[int, int], position: float, box: tuple[int, int, int, int]
) -> None:
    camera = CameraModel(640, 216, 500.0, 510.0, 310.0, 100.0)
    left, top, width, height = box
    crop = crop_to_aspect(camera, width=size[0], height=size[1], position=position)
    assert crop == camera.cropped(left=left, top=top, width=width, height=height)


@pytest.mark.parametrize(("position", "first_row"), [(0.0, 0), (1.0, 1596)])
def test_a_crop_may_lie_far_from_the_principal_point(position: float, first_row: int) -> None:
    portrait = CameraModel(1080, 1920, 900.0, 900.0, 540.0, 950.0)  # a crop of 1080 x 324
    rectifier = Rectifier(portrait, width=640, height=192, crop_position=position)
    rows = np.arange(1920).repeat(1080).reshape(1920, 1080) // 8
    image = rectifier(RawImage(rows.astype(np.uint8), "mono"))
    ahead = np.array([[0.1, (first_row + 162.0 - 950.0) / 900.0, 1.0]])  # seen in the crop's middle row
    (u, v), (_, raw_v) = rectifier.camera.project(ahead)[0], portrait.project(ahead)[0]
    assert 0 < u < 640 and v == pytest.approx(95.8, abs=0.1)
    assert image[round(v), round(u), 0] == pytest.approx(raw_v / 8, abs=1)
    assert rectifier.valid_mask.all()


@pytest.mark.parametrize(
    ("source", "width", "height"), [((40_000, 3), 64, 32), ((3, 40_000), 64, 32), ((64, 3), 40_000, 32)]
)
def test_a_side_longer_than_opencv_can_resize_is_refused(source: tuple[int, int], width: int, height: int) -> None:
    with pytest.raises(CameraError, match=f"cannot become {width}x{height}: expected at most 32766 pixels a side"):
        Rectifier(CameraModel(*source, 3e4, 3e4, 2.0, 2.0), width=width, height=height)


@pytest.mark.parametrize("model", DISTORTED)
def test_the_valid_mask_is_where_the_raw_image_has_a_pixel(model: str) -> None:
    source = CameraModel(480, 300, 330.0, 320.0, 150.0, 200.0, model, LENSES[model])
    rectifier = Rectifier(source, width=240, height=150)
    x, y = (rectifier.camera.rays()[..., axis].astype(np.float64) for axis in (0, 1))
    u, v = distort(source, x, y)
    outside_by = np.maximum.reduce([-0.5 - u, u - 479.5, -0.5 - v, v - 299.5])
    assert rectifier.valid_mask[outside_by < -0.01].all()
    assert not rectifier.valid_mask[outside_by > 0.01].any()


def test_a_pincushion_lens_leaves_corners_without_pixels() -> None:
    source = CameraModel(480, 300, 330.0, 320.0, 230.5, 155.25, "plumb_bob", (0.2, 0.0, 0.0, 0.0, 0.0))
    mask = Rectifier(source, width=240, height=150).valid_mask
    assert mask[75, 120]
    assert not mask[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def test_rays_beyond_the_lenss_reach_have_no_pixel() -> None:
    # r (1 - 0.3 r^2) grows up to r = 1.054 and falls beyond: farther rays fold back into the image.
    source = CameraModel(480, 300, 180.0, 180.0, 230.5, 155.25, "plumb_bob", (-0.3, 0.0, 0.0, 0.0, 0.0))
    rectifier = Rectifier(source, width=480, height=300)
    radius = np.linalg.norm(rectifier.camera.rays()[..., :2], axis=-1)
    assert rectifier.valid_mask[radius < 1.05].all()
    assert not rectifier.valid_mask[radius > 1.06].any()


@pytest.mark.parametrize("channels", ["rgb", "bgr", "rgba", "bgra", "mono"])
def test_every_channel_order_becomes_rgb(channels: str) -> None:
    colour = {"r": 200, "g": 100, "b": 50, "a": 7}
    values = [90] if channels == "mono" else [colour[letter] for letter in channels]
    pixels = np.full((30, 50, len(values)), values, dtype=np.uint8)
    rectifier = Rectifier(CameraModel(50, 30, 40.0, 40.0, 22.0, 13.0), width=40, height=20)
    rgb = rectifier(RawImage(pixels[..., 0] if channels == "mono" else pixels, channels))
    assert (rgb.shape, rgb.dtype, rgb.flags.c_contiguous) == ((20, 40, 3), np.uint8, True)
    np.testing.assert_array_equal(rgb[10, 20], [90] * 3 if channels == "mono" else [200, 100, 50])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (RawImage(np.zeros((30, 40, 3), np.uint8), "rgb"), "image is 40x30, its camera 50x30"),
        (RawImage(np.zeros((30, 50, 3), np.uint8), "hsv"), "image has channels 'hsv', expected one of rgb, bgr"),
    ],
)
def test_an_image_that_is_not_of_the_camera_is_refused(image: RawImage, message: str) -> None:
    rectifier = Rectifier(CameraModel(50, 30, 40.0, 40.0, 22.0, 13.0), width=40, height=20)
    with pytest.raises(ValueError, match=message):
        rectifier(image)
