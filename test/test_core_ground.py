"""The road in the camera's view: made roads of known height, tilt and bend, vehicles about, a real drive."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from roads import Road, noisy, see

from recon3d_ros.core.ground import fit_ground, nominal_plane
from recon3d_ros.core.lidar import depth_image
from recon3d_ros.core.mounting import Mounting, MountingError
from recon3d_ros.core.truth import TrueFrames

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
LEVEL = Mounting.level(1.5)


def rise(plane: object) -> tuple[float, float]:
    """Returns the fitted pitch (positive: nose down) and roll (positive: left side up), degrees."""
    x, _, z = plane.normal  # type: ignore[attr-defined]
    return -math.degrees(math.asin(z)), -math.degrees(math.asin(x))


def test_a_level_road_lies_as_far_below_the_camera_as_it_was_made() -> None:
    plane = fit_ground(see(Road())[0], LEVEL).plane
    assert plane is not None
    assert plane.height == pytest.approx(1.5, abs=0.002)
    np.testing.assert_allclose(plane.normal, (0, -1, 0), atol=1e-3)
    assert plane.inlier_share > 0.99


@pytest.mark.parametrize("true_ratio", [0.6, 0.85, 1.0, 1.3, 1.8])
def test_depth_in_a_wrong_scale_gives_the_height_in_that_scale(true_ratio: float) -> None:
    points = noisy(see(Road())[0], 0.02) * np.float32(true_ratio)
    plane = fit_ground(points, LEVEL).plane
    assert plane is not None
    assert plane.height == pytest.approx(1.5 * true_ratio, rel=0.01)


@pytest.mark.parametrize(("pitch", "roll"), [(1.0, 0.0), (-2.0, 0.5), (0.5, -1.5), (3.0, 0.0)])
def test_a_vehicle_that_pitches_and_rolls_is_followed(pitch: float, roll: float) -> None:
    points, _ = see(Road(pitch=math.radians(pitch), roll=math.radians(roll)))
    plane = fit_ground(noisy(points, 0.03), LEVEL).plane
    assert plane is not None
    # Not wholly: the fit holds on to level, since a network's constant error looks like a tilt.
    assert rise(plane) == pytest.approx((pitch, roll), abs=0.7)
    # The camera is 1.5 m ahead of the base: nose down it comes nearer to the road.
    assert plane.height == pytest.approx(1.5 - 1.5 * math.sin(math.radians(pitch)), rel=0.07)


def test_vehicles_on_most_of_the_picture_do_not_move_the_road() -> None:
    boxes = ((5.0, 9.0, 1.2, 3.5, 1.6), (6.5, 18.0, -9.0, -1.3, 3.5), (11.0, 15.0, -0.9, 0.9, 1.5))
    points, labels = see(Road(boxes=boxes))
    assert (labels == 2).sum() > 1.5 * (labels == 1).sum()
    plane = fit_ground(noisy(points, 0.03), LEVEL).plane
    assert plane is not None
    assert plane.height == pytest.approx(1.5, rel=0.03)
    assert rise(plane) == pytest.approx((0.0, 0.0), abs=0.7)


def test_a_road_that_bends_into_a_hill_gives_the_height_near_the_vehicle() -> None:
    plane = fit_ground(see(Road(bend=1 / 300))[0], LEVEL).plane
    assert plane is not None
    assert plane.height == pytest.approx(1.5, rel=0.06)


def test_the_same_points_give_the_same_plane() -> None:
    points = noisy(see(Road(pitch=0.01))[0], 0.05)
    first, second = fit_ground(points, LEVEL).plane, fit_ground(points, LEVEL).plane
    assert first is not None and second is not None
    assert first.height == second.height
    np.testing.assert_array_equal(first.normal, second.normal)


def test_a_lorry_that_hides_the_road_is_no_road() -> None:
    points, labels = see(Road(boxes=((4.0, 12.0, -8.0, 8.0, 3.5),)))
    assert (labels == 1).sum() == 0
    fit = fit_ground(noisy(points, 0.02), LEVEL)
    assert fit.plane is None
    assert "level points" in fit.reason


def test_an_empty_image_and_a_road_far_below_are_no_road() -> None:
    nothing = np.full((48, 160, 3), np.nan, np.float32)
    assert "0 level points" in fit_ground(nothing, LEVEL).reason
    assert fit_ground(see(Road(height=4.0))[0], LEVEL).plane is None


def test_heights_above_the_plane_are_those_above_the_road() -> None:
    plane = nominal_plane(Mounting.level(1.5))
    points = np.array([[[0, 1.5, 5], [2, 0.5, 8], [0, -1, 3], [np.nan] * 3]], np.float32)
    np.testing.assert_allclose(plane.heights(points), [[0, 1, 2.5, np.nan]], atol=1e-6)
    assert plane.scaled(2.0).height == 3.0


def test_a_camera_that_looks_down_has_its_height_and_up_from_its_transform() -> None:
    mounting = Mounting.level(1.2, pitch=math.radians(10))
    # 10 degrees down, the optical axis meets the road at 1.2 / sin(10) = 6.911 m.
    axis = mounting.T_base_camera @ np.array([0, 0, 6.9105, 1.0])
    assert axis[2] == pytest.approx(0.0, abs=1e-3)
    assert mounting.height == 1.2
    assert nominal_plane(mounting).heights(np.array([[[0, 0, 6.9105]]], np.float32))[0, 0] == pytest.approx(
        0, abs=1e-3
    )


def test_a_camera_mounted_looking_down_finds_the_road_by_its_mounting() -> None:
    angle = math.radians(12.0)
    points, _ = see(Road(pitch=angle))
    height = 1.5 * math.cos(angle) - 1.5 * math.sin(angle)  # the made camera is 1.5 m ahead of what it turns about
    wrong = fit_ground(points, Mounting.level(height))
    assert wrong.plane is None
    assert wrong.reason == "the road is tilted by 12 degrees; correct the camera's pitch and roll"
    plane = fit_ground(points, Mounting.level(height, pitch=angle)).plane
    assert plane is not None
    assert plane.height == pytest.approx(height, rel=0.01)
    assert rise(plane) == pytest.approx((12.0, 0.0), abs=0.1)


@pytest.mark.parametrize("height", [0.0, -1.5, 25.0, math.nan])
def test_a_camera_on_or_under_the_road_is_refused(height: float) -> None:
    with pytest.raises(MountingError, match=r"the camera is .* m above the road|finite"):
        Mounting.level(height)


def test_a_transform_that_is_none_is_refused() -> None:
    transposed = Mounting.level(1.5).T_base_camera.T
    with pytest.raises(MountingError, match="transposed"):
        Mounting(transposed)
    with pytest.raises(MountingError, match="4x4"):
        Mounting(np.eye(3))


@pytest.mark.skipif(not (SHARED / "kitti_drive").is_dir(), reason="shared/data/kitti_drive is not here")
def test_the_lidar_of_a_real_drive_sees_the_road_1_65_m_below_the_camera() -> None:
    true = next(iter(TrueFrames(SHARED / "kitti_drive")))
    # The sweep as a picture whose pixels are about as far apart as its rings, 0.4 degrees.
    camera = true.camera.resized(width=414, height=75)
    depth = depth_image(true.points, camera)
    plane = fit_ground(camera.rays() * depth[..., None], Mounting.level(1.5)).plane
    assert plane is not None
    assert plane.height == pytest.approx(1.65, abs=0.05)
