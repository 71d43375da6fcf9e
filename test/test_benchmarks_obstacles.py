"""Obstacles missed, phantoms, and a free lane: worked by hand on a level road."""

import numpy as np
import pytest

from benchmarks.obstacles import is_lane_blocked, missed_and_phantom
from recon3d_ros.core.camera import CameraModel

HEIGHT = 1.65
CAMERA = CameraModel(64, 48, 50.0, 50.0, 30.0, 20.0)


def road(camera: CameraModel) -> np.ndarray:
    """Returns the exact depth of an empty level road: z = height * fy / (v - cy), infinite above the horizon."""
    rows = np.arange(camera.height) - camera.cy
    z = np.where(rows > 0, HEIGHT * camera.fy / np.maximum(rows, 1e-9), np.inf)
    return np.repeat(z[:, None], camera.width, axis=1).astype(np.float32)


def test_an_empty_road_is_a_free_lane_and_a_wall_ahead_is_not():
    depth = road(CAMERA)
    assert not is_lane_blocked(depth, CAMERA, HEIGHT)
    wall = depth.copy()
    wall[10:28] = 8.0  # rows 10 to 27 at 8 m: from 0.53 m above the road upwards
    assert is_lane_blocked(wall, CAMERA, HEIGHT)
    assert not is_lane_blocked(np.where(wall == 8.0, np.float32(14.0), wall), CAMERA, HEIGHT), "beyond 12 m"
    beside = depth.copy()
    beside[10:28, 40:] = 8.0  # from x = (40 - 30) / 50 * 8 = 1.6 m on
    assert not is_lane_blocked(beside, CAMERA, HEIGHT)


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, (0.0, 0.0)), (1.3, (1.0, 0.0)), (0.7, (0.0, 1.0)), (np.inf, (1.0, 0.0))]
)
def test_points_shown_too_far_are_missed_and_those_too_near_are_phantoms(factor: float, expected):
    # 30 returns 1 m above the road at 10 m, from 1.5 m left to 1.5 m right, and as many on the road itself.
    x = np.linspace(-1.5, 1.5, 30)
    obstacle = np.stack([x, np.full(30, HEIGHT - 1.0), np.full(30, 10.0)], axis=1)
    on_road = np.stack([x, np.full(30, HEIGHT), np.full(30, 10.0)], axis=1)
    depth = road(CAMERA)
    depth[20 + round(50 * (HEIGHT - 1.0) / 10)] = 10.0 * factor
    found = missed_and_phantom(depth, CAMERA, np.concatenate([obstacle, on_road]), HEIGHT)
    assert found == expected


def test_an_image_with_too_few_points_of_obstacles_is_not_judged():
    points = np.array([[0.0, HEIGHT - 1.0, 10.0]] * 19)
    assert missed_and_phantom(road(CAMERA), CAMERA, points, HEIGHT) is None
