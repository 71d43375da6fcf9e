"""LiDAR sweeps in the camera: hand-worked projections, a made scene with hidden returns, a made drive."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.lidar import (
    LidarError,
    Trajectory,
    check_fits,
    depth_image,
    interpolate_pose,
    pose_matrix,
    project,
    remove_occluded,
    sweep_to_world,
    transform,
)

CAMERA = CameraModel(width=80, height=48, fx=60.0, fy=62.0, cx=37.5, cy=20.25)
T_CAMERA_LIDAR = np.array([[0, -1, 0, 0], [0, 0, -1, -0.3], [1, 0, 0, -0.1], [0, 0, 0, 1.0]])


def turn(axis: str, angle: float, translation: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    pose = np.eye(4)
    pose[:3, :3] = {
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }[axis]
    pose[:3, 3] = translation
    return pose


def test_a_lidar_point_lands_on_the_hand_worked_pixel() -> None:
    # 10 m ahead, 1 m left, level with the LiDAR: (-1, -0.3, 9.9) in the camera.
    points = transform(np.array([[10.0, 1.0, 0.0, 0.5]]), T_CAMERA_LIDAR)
    np.testing.assert_allclose(points, [[-1.0, -0.3, 9.9]])
    returns = project(points, CAMERA)
    # u = 37.5 - 60 / 9.9 = 31.44, v = 20.25 - 62 * 0.3 / 9.9 = 18.37
    assert (returns.column.tolist(), returns.row.tolist(), returns.z.tolist()) == ([31], [18], [9.9])


def test_points_behind_beside_and_not_finite_are_in_no_image() -> None:
    points = [[0, 0, -5], [0, 0, 0], [50, 0, 5], [np.nan, 0, 5], [0, np.inf, 5], [0, 0, 5.0]]
    assert project(points, CAMERA).index.tolist() == [5]


def test_each_pixel_gets_its_nearest_return_and_the_others_none() -> None:
    depth = depth_image([[0, 0, 7.0], [0, 0, 4.0], [0, 0, 9.0]], CAMERA)
    assert depth.dtype == np.float32
    assert depth.shape == (48, 80)
    assert depth[20, 38] == 4.0  # cx = 37.5 rounds to the even pixel
    assert np.isnan(depth).sum() == depth.size - 1


def street_sweep(lidar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a sweep of a flat road 1.6 m below the camera, a box 8 m ahead and a wall at 30 m.

    Each ray from the LiDAR is followed to the first surface, by hand: the optical frame's x, y and z.

    Returns:
        (N, 3) points and (N,) bool: a straight line from the camera to the point meets the box.
    """
    elevation, azimuth = np.meshgrid(np.radians(np.arange(-24, 4, 0.4)), np.radians(np.arange(-40, 40, 0.2)))
    rays = np.stack(
        [np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], axis=-1
    ).reshape(-1, 3)

    def box_distance(origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            near = (np.array([-1.0, 0.0, 8.0]) - origin) / directions
            far = (np.array([1.0, 1.6, 10.0]) - origin) / directions
        enter, leave = np.minimum(near, far).max(axis=-1), np.maximum(near, far).min(axis=-1)
        return np.where((enter < leave) & (enter > 0), enter, np.inf)

    with np.errstate(divide="ignore"):
        road = np.where(rays[:, 1] > 0, (1.6 - lidar[1]) / rays[:, 1], np.inf)
        wall = (30.0 - lidar[2]) / rays[:, 2]
    distance = np.minimum(np.minimum(road, wall), box_distance(lidar, rays))
    points = lidar + rays * distance[:, None]
    is_hidden = box_distance(np.zeros(3), points) < 0.999
    return points, is_hidden


@pytest.mark.parametrize("lidar", [(0.0, -0.5, -0.2), (0.5, -0.4, 0.0)])
def test_returns_hidden_behind_a_box_go_and_the_road_stays(lidar: tuple[float, float, float]) -> None:
    camera = CameraModel(width=1240, height=376, fx=720.0, fy=720.0, cx=609.5, cy=172.9)
    points, is_hidden = street_sweep(np.array(lidar))
    inside = project(points, camera).index
    assert is_hidden[inside].sum() > 40  # the LiDAR does look over the box
    kept = {tuple(point) for point in remove_occluded(points, camera)}
    is_kept = np.array([tuple(point) in kept for point in points[inside]])
    hidden = is_hidden[inside]
    assert is_kept[hidden].mean() < 0.1
    assert is_kept[~hidden].mean() > 0.98
    on_road = ~hidden & (points[inside, 1] > 1.59)
    assert is_kept[on_road].mean() > 0.995


def test_real_sweeps_keep_nearly_all_returns(shared_data: Path) -> None:
    folder = shared_data / "kitti_drive"
    calibration = json.loads((folder / "calibration.json").read_text())
    camera = CameraModel.from_calibration(width=1242, height=375, K=calibration["K"])
    sweep = np.load(folder / "lidar" / "000010.npy")
    points = transform(sweep, np.array(calibration["T_camera_lidar"]))
    assert check_fits(points, camera, "000010") > 0.99
    assert 0.85 < len(remove_occluded(points, camera)) / len(points) < 0.995


def test_a_sweep_that_misses_the_image_is_refused_with_the_numbers() -> None:
    ahead = np.stack([np.linspace(-2, 2, 50), np.zeros(50), np.full(50, 8.0)], axis=1)
    assert check_fits(np.vstack([ahead, -ahead]), CAMERA, "sweep 3") == 1.0
    with pytest.raises(LidarError, match=r"sweep 3: of 50 LiDAR returns 0 are in front .* is inverted"):
        check_fits(-ahead, CAMERA, "sweep 3")
    with pytest.raises(LidarError, match=r"50 are in front of the camera and 0\.0 % of these inside its 80x48"):
        check_fits(ahead + np.array([0, 20.0, 0]), CAMERA, "sweep 3")


def test_a_quaternion_turns_as_it_says_and_must_be_of_length_one() -> None:
    half = 0.35
    pose = pose_matrix((1, 2, 3), rotation_wxyz=(math.cos(half), 0, 0, math.sin(half)))
    np.testing.assert_allclose(pose, turn("z", 0.7, (1, 2, 3)), atol=1e-12)
    # 120 degrees about the diagonal: x goes to y, y to z, z to x.
    pose = pose_matrix((0, 0, 0), rotation_wxyz=(0.5, 0.5, 0.5, 0.5))
    np.testing.assert_allclose(pose[:3, :3] @ [1, 2, 3], [3, 1, 2], atol=1e-12)
    for broken in [(0, 0, 0, 0), (1, 1, 0, 0), (1, 0, 0), (math.nan, 0, 0, 1)]:
        with pytest.raises(LidarError, match="expected a unit quaternion w x y z"):
            pose_matrix((0, 0, 0), rotation_wxyz=broken)


def test_half_way_between_two_poses_is_half_the_turn_and_half_the_way() -> None:
    start, end = turn("z", 0.2, (1, 2, 3)), turn("z", 0.8, (3, 2, -1))
    np.testing.assert_allclose(interpolate_pose(start, end, 0.5), turn("z", 0.5, (2, 2, 1)), atol=1e-12)
    np.testing.assert_allclose(interpolate_pose(start, end, 1.5), turn("z", 1.1, (4, 2, -3)), atol=1e-12)


def test_a_sweep_taken_while_turning_and_driving_is_straight_in_the_world() -> None:
    # A post at each of these places, seen once from a LiDAR that drives 1.5 m and turns 0.1 rad in the sweep.
    posts = np.random.default_rng(1).uniform(-20, 20, size=(200, 3))
    parts = np.linspace(0, 1, 200)
    start, end = turn("z", 0.4, (5, -2, 1)), turn("z", 0.5, (6.5, -2, 1))
    seen = []
    for post, part in zip(posts, parts, strict=True):
        pose = turn("z", 0.4 + 0.1 * part, (5 + 1.5 * part, -2, 1))
        seen.append(pose[:3, :3].T @ (post - pose[:3, 3]))
    np.testing.assert_allclose(sweep_to_world(seen, parts, start, end), posts, atol=1e-9)
    still = sweep_to_world(seen, parts, start, start)
    np.testing.assert_allclose(still, transform(seen, start), atol=1e-9)


def test_a_trajectory_gives_the_pose_between_its_own() -> None:
    poses = np.stack([turn("x", 0.1 * i, (i, 0, 0)) for i in range(4)])
    trajectory = Trajectory(np.array([0, 100, 300, 400], dtype=np.int64), poses)
    np.testing.assert_allclose(trajectory.pose(200), turn("x", 0.15, (1.5, 0, 0)), atol=1e-12)
    np.testing.assert_allclose(trajectory.pose(300), poses[2], atol=1e-12)
    np.testing.assert_allclose(trajectory.pose(450), turn("x", 0.35, (3.5, 0, 0)), atol=1e-12)
    assert trajectory.covers(450, 50)
    assert not trajectory.covers(451, 50)
    with pytest.raises(LidarError, match="two or more poses"):
        Trajectory(np.array([5, 5], dtype=np.int64), poses[:2])


def test_projection_follows_lens_distortion_as_opencv_does() -> None:
    lens = CameraModel(80, 48, 60.0, 62.0, 37.5, 20.25, "plumb_bob", (-0.2, 0.05, 0.001, 0.002, 0.0))
    point = np.array([[1.5, -0.8, 4.0]])
    expected, _ = cv2.projectPoints(point, np.zeros(3), np.zeros(3), lens.K, np.array(lens.distortion))
    returns = project(point, lens)
    assert [returns.column[0], returns.row[0]] == np.rint(expected).reshape(2).astype(int).tolist()
