"""The network's size for a camera: worked out by hand for the shapes that cameras have."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT
from fake_engine import FakeEngine

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.network_size import DEFAULT_NETWORK_PIXELS, network_size
from recon3d_ros.core.preprocess import crop_to_aspect

FREE = FakeEngine(None, height=192, width=640, has_free_size=True).info
FIXED = FakeEngine(None, height=48, width=200).info


def camera_of(width: int, height: int) -> CameraModel:
    return CameraModel(width, height, 0.7 * width, 0.7 * width, 0.45 * width, 0.55 * height)


@pytest.mark.parametrize(
    ("camera", "network"),
    [
        ((1242, 375), (640, 192)),  # KITTI: sqrt(122880 / 3.312) = 192.6; 192 * 3.312 = 635.9, 0.6 % short of 640
        ((640, 192), (640, 192)),
        ((1920, 1080), (448, 256)),  # 262.9 rows; 256 * 1.778 = 455.1
        ((1600, 900), (448, 256)),
        ((640, 480), (384, 288)),  # 303.6 rows; 288 * 1.333 = 384
        ((1280, 1024), (384, 320)),  # 313.5 rows; 320 * 1.25 = 400
        ((800, 800), (352, 352)),  # square
        ((480, 640), (288, 416)),  # portrait: 404.8 rows; 416 * 0.75 = 312
        ((1080, 1920), (256, 480)),
        ((3840, 480), (1024, 128)),  # panorama: 123.9 rows
        ((40, 30), (384, 288)),  # tiny: enlarged, as a model of a fixed size always did
    ],
)
def test_a_free_network_takes_the_shape_of_the_camera(camera: tuple[int, int], network: tuple[int, int]) -> None:
    assert network_size(FREE, camera_of(*camera)) == network[::-1]


@pytest.mark.parametrize("pixels", [60_000, DEFAULT_NETWORK_PIXELS, 500_000, 4_000_000])
def test_at_most_a_hundredth_of_the_rows_and_less_than_32_columns_are_cut(pixels: int) -> None:
    for width in range(300, 4200, 37):
        for height in range(200, 2200, 91):
            camera = camera_of(width, height)
            h, w = network_size(FREE, camera, pixels)
            assert h % 32 == w % 32 == 0
            kept = crop_to_aspect(camera, width=w, height=h)
            assert kept.height >= 0.99 * height - 1, (width, height)  # less than a row is lost in rounding
            assert (width - kept.width) * w / kept.width < 33, (width, height)
            assert 0.4 * pixels < h * w < 1.8 * pixels, (width, height)


@pytest.mark.parametrize(("width", "height"), [(60_000, 20), (20, 60_000), (8192, 8)])
def test_a_camera_that_is_a_strip_costs_no_more_than_another(width: int, height: int) -> None:
    camera = CameraModel(width, height, 4e4, 4e4, width / 2, height / 2)
    h, w = network_size(FREE, camera)
    assert min(h, w) == 32 and h * w < 1.6 * DEFAULT_NETWORK_PIXELS


def test_few_pixels_give_a_network_of_32_at_least() -> None:
    assert network_size(FREE, camera_of(640, 480), 1) == (32, 32)


def test_no_pixels_mean_the_default_size_and_a_fixed_model_has_its_own() -> None:
    for camera in (camera_of(640, 480), camera_of(1242, 375)):
        assert network_size(FREE, camera, 0) == (192, 640)
        assert network_size(FIXED, camera) == network_size(FIXED, camera, 0) == (48, 200)


def test_more_pixels_make_both_sides_longer() -> None:
    # 16:9 at four times the pixels: 525.8 rows, 544 or 512; 512 * 1.778 = 910.2, with 1 % more 919.3.
    assert network_size(FREE, camera_of(1920, 1080), 4 * DEFAULT_NETWORK_PIXELS) == (512, 896)


def test_the_sizes_that_the_documentation_names_are_these() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+x\d+.*?) \| (\d+)x(\d+) \| (\d+)x(\d+) \|$", text, re.MULTILINE)
    assert len(rows) == 4
    for cameras, *numbers in rows:
        width, height, more_width, more_height = map(int, numbers)
        for camera in re.findall(r"(\d+)x(\d+)", cameras):
            assert network_size(FREE, camera_of(*map(int, camera))) == (height, width)
            assert network_size(FREE, camera_of(*map(int, camera)), 245_760) == (more_height, more_width)
