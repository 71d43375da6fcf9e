"""The preview picture: colours mean distances, and the cloud lies where the points are."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.colors import INVALID, SKY, color_depth
from recon3d_ros.core.pipeline import DepthFrame
from recon3d_ros.tools.preview import GROUND_COLOR, PANEL_HEIGHT, Moments, preview_rows, top_view

CAMERA = CameraModel(width=160, height=60, fx=80.0, fy=80.0, cx=70.0, cy=25.0)


# What the view from above makes of the colours (200, 40, 10) and (1, 250, 2): two thirds, and a third of white.
RED, GREEN = (217, 111, 91), (85, 251, 85)


def make_frame(
    depth: float, *, color: tuple[int, int, int] = (200, 40, 10), camera: CameraModel = CAMERA
) -> DepthFrame:
    image = np.full((camera.height, camera.width, 3), color, dtype=np.uint8)
    return DepthFrame(image, np.full((camera.height, camera.width), depth, np.float32), None, camera, {})


def hue(color: np.ndarray) -> float:  # type: ignore[type-arg]
    return colorsys.rgb_to_hsv(*(color / 255.0))[0]


def test_near_is_red_and_far_is_blue_and_between_they_follow_in_order() -> None:
    depth = np.geomspace(3, 60, 12, dtype=np.float32)[None]
    hues = [hue(color) for color in color_depth(depth)[0]]
    assert hues == sorted(hues)
    assert hues[0] < 0.08 and hues[-1] > 0.55


def test_invalid_is_black_and_sky_has_a_colour_of_its_own() -> None:
    colors = color_depth(np.array([[np.nan, np.inf, 0.5, 500.0]], dtype=np.float32))[0]
    assert tuple(colors[0]) == INVALID
    assert tuple(colors[1]) == SKY
    np.testing.assert_array_equal(colors[2], color_depth(np.array([[2.0]], np.float32))[0, 0])
    np.testing.assert_array_equal(colors[3], color_depth(np.array([[80.0]], np.float32))[0, 0])


def test_colours_do_not_depend_on_what_else_is_in_the_picture() -> None:
    alone = color_depth(np.array([[10.0]], np.float32))[0, 0]
    np.testing.assert_array_equal(color_depth(np.array([[10.0, 2.0, 79.0]], np.float32))[0, 0], alone)


def test_from_above_a_wall_at_20_metres_is_drawn_half_way_up_in_its_own_colour() -> None:
    view = top_view(make_frame(20.0))
    is_wall = (view == RED).all(axis=-1)
    rows, columns = np.nonzero(is_wall)
    scale = PANEL_HEIGHT / 40.0
    assert rows.min() == pytest.approx(PANEL_HEIGHT - 20 * scale, abs=2) and rows.max() - rows.min() == 1
    # The left edge of the image lies at x = (0 - 70) / 80 * 20 m, the right one at (159 - 70) / 80 * 20 m.
    assert columns.min() == pytest.approx(view.shape[1] / 2 - 17.5 * scale, abs=1)
    assert columns.max() == pytest.approx(view.shape[1] / 2 + 22.25 * scale, abs=2)


def test_points_beyond_the_picture_and_invalid_ones_are_left_out() -> None:
    for depth in (41.0, 1000.0, np.inf, np.nan):
        view = top_view(make_frame(depth))
        assert not (view == RED).all(axis=-1).any()
        assert (view == GROUND_COLOR).all(axis=-1).mean() > 0.8


def test_of_two_points_above_each_other_the_higher_is_seen() -> None:
    frame = make_frame(10.0)
    frame.image[: CAMERA.height // 2] = (1, 250, 2)
    view = top_view(frame)
    assert (view == GREEN).all(axis=-1).any()
    assert not (view == RED).all(axis=-1).any()


def test_each_frame_is_a_row_of_three_panels() -> None:
    one, three = preview_rows([make_frame(5.0)]), preview_rows([make_frame(z) for z in (5.0, np.inf, np.nan)])
    assert one.dtype == np.uint8 and one.shape[0] == PANEL_HEIGHT
    assert one.shape[1] > 2 * 160 * PANEL_HEIGHT // 60
    assert three.shape[1] == one.shape[1] and 3 * PANEL_HEIGHT < three.shape[0] < 3.2 * PANEL_HEIGHT
    np.testing.assert_array_equal(three[:PANEL_HEIGHT], one)


def test_frames_of_any_shape_are_rows_of_one_picture() -> None:
    portrait, panorama = CAMERA.resized(width=96, height=416), CAMERA.resized(width=3232, height=32)
    frames = [make_frame(5.0, camera=camera) for camera in (CAMERA, portrait, panorama)]
    picture = preview_rows(frames)
    assert 3 * PANEL_HEIGHT < picture.shape[0] < 3.2 * PANEL_HEIGHT
    assert picture.shape[1] < 4500
    for frame in frames:
        row = preview_rows([frame])
        assert (row == (200, 40, 10)).all(axis=-1).any() and (row == color_depth(np.array([5.0]))[0]).any()


@pytest.mark.parametrize("count", [1, 2, 3, 11, 12, 13, 100, 1000])
def test_moments_of_any_recording_are_spread_over_it(count: int) -> None:
    moments = Moments()
    for index in range(count):
        moments.add(make_frame(index + 1.0))
    seen = [int(frame.depth[0, 0]) - 1 for frame in moments.spread(3)]
    assert len(seen) == min(count, 3) and seen == sorted(set(seen)) and seen[0] == 0
    assert seen[-1] >= 0.75 * (count - 1)
    if count > 2:
        assert 0.25 * count <= seen[1] + 1 <= 0.75 * count
