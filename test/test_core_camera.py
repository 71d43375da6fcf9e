"""CameraModel: projection by formula, and the one rule of resizing and cropping by hand and by cv2.resize."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from lenses import LENSES, distort

from recon3d_ros.core.camera import CameraError, CameraModel

PINHOLE = CameraModel(width=640, height=360, fx=500.0, fy=480.0, cx=300.5, cy=190.25)


def camera_with(model: str) -> CameraModel:
    return CameraModel(640, 360, 500.0, 480.0, 300.5, 190.25, model, LENSES[model])


def points_in_view() -> np.ndarray:
    rng = np.random.default_rng(0)
    z = rng.uniform(1, 50, 200)
    return np.stack([rng.uniform(-0.6, 0.6, 200) * z, rng.uniform(-0.35, 0.35, 200) * z, z], axis=1)


@pytest.mark.parametrize("model", LENSES)
def test_projection_follows_the_published_formula(model: str) -> None:
    camera, points = camera_with(model), points_in_view()
    expected = np.stack(distort(camera, points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]), axis=1)
    np.testing.assert_allclose(camera.project(points), expected, atol=1e-6)


def test_a_point_projects_to_the_pixel_worked_by_hand() -> None:
    # u = 500 * 2 / 10 + 300.5, v = 480 * -1 / 10 + 190.25
    np.testing.assert_allclose(PINHOLE.project([[2.0, -1.0, 10.0]]), [[400.5, 142.25]])


def test_no_points_project_to_no_pixels() -> None:
    assert PINHOLE.project(np.empty((0, 3))).shape == (0, 2)


def test_rays_project_to_the_centres_of_their_pixels() -> None:
    v, u = np.mgrid[:360, :640]
    pixels = PINHOLE.project(PINHOLE.rays().reshape(-1, 3) * 7.5)
    np.testing.assert_allclose(pixels, np.stack([u, v], axis=-1).reshape(-1, 2), atol=1e-3)


def test_rays_of_a_distorted_camera_are_refused() -> None:
    with pytest.raises(CameraError, match="use undistorted"):
        camera_with("plumb_bob").rays()


def test_halving_the_size_moves_the_principal_point_by_the_rule_worked_by_hand() -> None:
    half = PINHOLE.resized(width=320, height=180)
    # The outer edge stays at -0.5: (300.5 + 0.5) / 2 - 0.5 and (190.25 + 0.5) / 2 - 0.5.
    assert (half.fx, half.fy, half.cx, half.cy) == (250.0, 240.0, 150.0, 94.875)
    assert (half.width, half.height) == (320, 180)


@pytest.mark.parametrize("size", [(320, 180), (200, 90), (960, 720)])
def test_resizing_agrees_with_what_cv2_resize_does_to_an_image_of_its_own_rays(size: tuple[int, int]) -> None:
    width, height = size
    resized_rays = cv2.resize(PINHOLE.rays(), size, interpolation=cv2.INTER_LINEAR)
    inside = np.s_[4:-4, 4:-4]
    expected = PINHOLE.resized(width=width, height=height).rays()
    np.testing.assert_allclose(resized_rays[inside], expected[inside], atol=1e-5)


def test_cropping_is_slicing_an_image_of_the_rays() -> None:
    crop = PINHOLE.cropped(left=100, top=50, width=300, height=200)
    np.testing.assert_allclose(crop.rays(), PINHOLE.rays()[50:250, 100:400], atol=1e-6)


def test_flipping_mirrors_an_image_of_the_rays() -> None:
    mirrored = PINHOLE.rays()[:, ::-1] * np.float32([-1, 1, 1])
    np.testing.assert_allclose(PINHOLE.flipped().rays(), mirrored, atol=1e-6)


def test_the_same_calibration_is_the_same_camera() -> None:
    assert {camera_with("plumb_bob"): 1}[camera_with("plumb_bob")] == 1


@pytest.mark.parametrize(("name", "D"), [("plumb_bob", [0.0] * 5), ("", []), ("equidistant", [0.0] * 4)])
def test_zero_coefficients_are_no_distortion(name: str, D: list[float]) -> None:
    camera = CameraModel.from_calibration(width=640, height=360, K=PINHOLE.K, distortion_model=name, distortion=D)
    assert camera == PINHOLE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"K": np.zeros((3, 3))}, r"fx=0.0, fy=0.0, expected positive pixels; the camera is not calibrated"),
        ({"K": [-500, 0, 300, 0, 480, 190, 0, 0, 1]}, "fx=-500.0"),
        ({"K": [np.nan, 0, 300, 0, 480, 190, 0, 0, 1]}, "not finite"),
        ({"K": np.eye(4)}, "K has 16 numbers, expected 9"),
        ({"K": [500, 0, 1300, 0, 480, 190, 0, 0, 1]}, "principal point .* far outside the 640x360 image"),
        ({"width": 0}, "image size is 0x360, expected at least 1x1"),
        (
            {"distortion_model": "plumb_bob", "distortion": [0.1] * 3},
            "has 3 coefficients, expected 4 or 5",
        ),
        ({"distortion_model": "thin_prism", "distortion": [0.1]}, "'thin_prism', expected one of none, plumb_bob"),
        ({"distortion_model": "", "distortion": [0.1] * 5}, "distortion model is '', expected one of none"),
        ({"distortion_model": "plumb_bob", "distortion": [np.inf] * 5}, "not finite"),
    ],
)
def test_a_calibration_that_no_camera_has_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        CameraModel.from_calibration(**{"width": 640, "height": 360, "K": PINHOLE.K, **changes})
