"""The ego mask: polygons on the raw image, through lens, crop and resize."""

from __future__ import annotations

import lenses
import numpy as np
import pytest

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.masks import MaskError, check_polygon, ego_mask, parse_polygon
from recon3d_ros.core.preprocess import Rectifier


def test_a_polygon_is_read_from_text() -> None:
    assert parse_polygon("0 300, 620.5 280,640 375 , 0 375") == ((0, 300), (620.5, 280), (640, 375), (0, 375))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "two numbers"),
        ("0 0, 10 0", "2 corners, expected 3 or more"),
        ("0 0, 10 0, 10", "two numbers"),
        ("0 0, 10 0, 10 1 0", "two numbers"),
        ("0 0, ten 0, 10 10", "could not convert"),
        ("0 0, nan 0, 10 10", "not finite"),
        ("0 0, 10 10, 10 0, 0 10", "crosses itself"),
        ("0 0, 10 0, 10 10, 5 0, 0 10", "crosses itself"),  # a corner on another side
        ("0 0, 10 0, 10 0, 0 10", "twice in a row"),
        ("0 0, 10 0, 0 10, 0 0", "twice in a row"),
        ("0 0, 10 10, 20 20", "area"),
        ("0 0, 20 20, 10 10", "area"),
        ("0 0, 1 0, 0 1", "area"),
    ],
)
def test_what_is_no_simple_polygon_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(MaskError, match=reason):
        parse_polygon(text)


def test_either_order_of_the_corners_and_a_bay_are_fine() -> None:
    bonnet = ((0.0, 90.0), (30.0, 60.0), (50.0, 80.0), (70.0, 60.0), (99.0, 90.0))
    check_polygon(bonnet)
    check_polygon(bonnet[::-1])


@pytest.mark.parametrize("corner", [(-1.0, 50.0), (50.0, 91.0), (160.5, 20.0), (20.0, -0.6)])
def test_a_corner_outside_the_image_is_refused(corner: tuple[float, float]) -> None:
    rectifier = Rectifier(CameraModel(160, 90, 120.0, 120.0, 74.0, 41.0), width=64, height=36)
    with pytest.raises(MaskError, match="outside the 160x90 image"):
        ego_mask([((10.0, 10.0), (40.0, 10.0), corner)], rectifier)


def test_a_polygon_up_to_the_border_covers_it_however_the_border_is_named() -> None:
    rectifier = Rectifier(CameraModel(160, 90, 120.0, 120.0, 74.0, 41.0), width=160, height=90)
    for right, bottom in ((159.0, 89.0), (159.5, 89.5), (160.0, 90.0)):
        mask = ego_mask([((0.0, 60.0), (right, 60.0), (right, bottom), (0.0, bottom))], rectifier)
        np.testing.assert_array_equal(mask, np.mgrid[:90, :160][0] >= 60)


@pytest.mark.parametrize("model", ["plumb_bob", "equidistant"])
def test_the_mask_lies_where_the_lens_puts_the_polygon(model: str) -> None:
    camera = CameraModel(320, 200, 150.0, 152.0, 148.0, 108.0, model, lenses.LENSES[model])
    rectifier = Rectifier(camera, width=128, height=64)
    box = (60.0, 90.0, 240.0, 170.0)  # raw pixels: left, top, right, bottom
    triangle = ((10.0, 10.0), (40.0, 10.0), (10.0, 40.0))
    corners = ((box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3]))
    mask = ego_mask([corners, triangle], rectifier)

    out = rectifier.camera
    v, u = np.mgrid[: out.height, : out.width]
    raw_u, raw_v = lenses.distort(camera, (u - out.cx) / out.fx, (v - out.cy) / out.fy)

    def inside(margin: float) -> np.ndarray:
        in_box = (raw_u > box[0] - margin) & (raw_u < box[2] + margin)
        in_box &= (raw_v > box[1] - margin) & (raw_v < box[3] + margin)
        in_triangle = (raw_u > 10 - margin) & (raw_v > 10 - margin) & (raw_u + raw_v < 50 + 2 * margin)
        return np.asarray(in_box | in_triangle)

    assert inside(0.0).sum() > 500
    assert mask[inside(0.0)].all()
    assert not mask[~inside(1.5)].any()
