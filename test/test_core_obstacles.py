"""Road and obstacles told apart on made roads: level, tilted, bent, with kerbs and bridges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from roads import BOX, ROAD, Road, noisy, see

from recon3d_ros.core.ground import GroundPlane, fit_ground
from recon3d_ros.core.mounting import Mounting
from recon3d_ros.core.obstacles import GROUND, NEITHER, OBSTACLE, SplitOptions, split_ground

CAR = (12.0, 16.0, -1.0, 1.0, 1.5)
PEDESTRIAN = (9.0, 9.4, 2.0, 2.6, 1.8)
MOUNTING = Mounting.level(1.5)


def road_of(points: np.ndarray) -> GroundPlane:
    plane = fit_ground(points, MOUNTING).plane
    assert plane is not None
    return plane


def shares(road: Road, noise: float = 0.02) -> tuple[float, float]:
    """Returns how much of the road was called an obstacle, and of the boxes' points above 0.4 m ground."""
    points, truth = see(road)
    points = noisy(points, noise)
    labels = split_ground(points, road_of(points))
    # A box's point 0.4 m or more above the road, by the road's own height there (tilts are small: x is z + 1.5).
    x = points[..., 2] + 1.5
    rise = road.slope * x + 0.5 * road.bend * x**2
    is_box = (truth == BOX) & (points[..., 1] < 1.1 - rise - abs(road.pitch) * x - abs(road.roll) * 3.0)
    assert is_box.sum() > 50 and (truth == ROAD).sum() > 2000
    return float((labels[truth == ROAD] == OBSTACLE).mean()), float((labels[is_box] == GROUND).mean())


@pytest.mark.parametrize(
    "road",
    [
        Road(boxes=(CAR, PEDESTRIAN)),
        Road(pitch=math.radians(3.0), boxes=(CAR, PEDESTRIAN)),
        Road(pitch=math.radians(-2.5), boxes=(CAR, PEDESTRIAN)),
        Road(roll=math.radians(1.5), boxes=(CAR, PEDESTRIAN)),
        Road(bend=1 / 400, boxes=(CAR, PEDESTRIAN)),
        Road(bend=-1 / 400, boxes=(CAR, PEDESTRIAN)),
        Road(slope=0.05, boxes=(CAR, PEDESTRIAN)),
    ],
    ids=["level", "nose down", "nose up", "rolled", "dip", "crest", "ramp"],
)
def test_the_road_stays_road_and_boxes_stay_obstacles(road: Road) -> None:
    road_as_obstacle, box_as_ground = shares(road)
    assert road_as_obstacle < 0.02
    assert box_as_ground < 0.05


def test_without_the_fit_a_bump_would_turn_the_road_into_an_obstacle() -> None:
    points, truth = see(Road(pitch=math.radians(3.0)))
    level = GroundPlane(MOUNTING.up, MOUNTING.height, 1.0, 0.0, 0.0)
    fitted = split_ground(points, road_of(points))
    assert (fitted[truth == ROAD] == OBSTACLE).mean() < 0.01
    assert (level.heights(points)[truth == ROAD] > 0.2).mean() > 0.1


def test_labels_are_by_height() -> None:
    # Columns 3 m ahead of the camera, 1.5 m above the road: 1 m below it, a kerb, a man, a bridge, nothing.
    y = np.array([2.5, 1.45, 1.2, 0.0, -2.0, np.nan], np.float32)
    points = np.stack([np.zeros(6), y, np.where(np.isnan(y), np.nan, 3.0)], axis=-1)[None].repeat(2, axis=0)
    labels = split_ground(points.astype(np.float32), GroundPlane(MOUNTING.up, 1.5, 1.0, 0.0, 0.0))
    assert labels.dtype == np.uint8
    assert labels[0].tolist() == [NEITHER, GROUND, OBSTACLE, OBSTACLE, NEITHER, NEITHER]


def test_heights_of_obstacles_are_options() -> None:
    points = np.array([[[0, 1.2, 3.0], [0, -2.0, 3.0]]] * 2, np.float32)
    plane = GroundPlane(MOUNTING.up, 1.5, 1.0, 0.0, 0.0)
    assert split_ground(points, plane, SplitOptions(min_height=0.4))[0].tolist() == [GROUND, NEITHER]
    assert split_ground(points, plane, SplitOptions(max_height=4.0))[0].tolist() == [OBSTACLE, OBSTACLE]
    with pytest.raises(ValueError, match="min_height < max_height"):
        SplitOptions(min_height=2.0, max_height=1.0)


def test_far_depth_too_near_by_half_does_not_raise_the_road() -> None:
    """What the shipped network does beyond 30 m: the same ray, a nearer point, so one above the road."""
    points, truth = see(Road())
    z = points[..., 2]
    short = np.where(z > 15, 15 + 0.5 * (z - 15), z) / z
    points = (points * short[..., None]).astype(np.float32)
    labels = split_ground(points, road_of(points))
    far = (truth == ROAD) & (z > 15) & (z < 40)
    assert (road_of(points).heights(points)[far] > 0.2).mean() > 0.2
    assert (labels[far] == GROUND).mean() > 0.95
