"""Clouds of several cameras merged: one wall stays one wall, and nothing that only one camera sees is lost."""

from __future__ import annotations

import numpy as np

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.lidar import pose_matrix
from recon3d_ros.core.merge import CameraCloud, kept_points, overlap
from recon3d_ros.core.transforms import move

CAMERA = CameraModel(width=64, height=40, fx=40.0, fy=42.0, cx=30.0, cy=22.0)  # 77 degrees wide
AHEAD = pose_matrix((0, 0, 0), rotation_wxyz=(0.5, -0.5, 0.5, -0.5))  # optical z is the base's x


def turned(degrees: float) -> np.ndarray:
    """Returns the place of a camera at the base's origin that looks to the left by an angle."""
    a = np.radians(degrees) / 2
    return pose_matrix((0, 0, 1.5), rotation_wxyz=(np.cos(a), 0, 0, np.sin(a))) @ AHEAD


def seen(range_m: float, T_base_camera: np.ndarray, *, hole: bool = False) -> CameraCloud:
    """Returns what a camera sees that puts everything on a sphere around it."""
    rays = CAMERA.rays()
    depth = (range_m / np.linalg.norm(rays, axis=-1)).astype(np.float32)
    if hole:
        depth[:] = np.nan
    points = (rays * depth[..., None]).reshape(-1, 3)
    return CameraCloud(move(points[np.isfinite(points[:, 2])], T_base_camera), depth, CAMERA, T_base_camera)


def azimuths(points: np.ndarray) -> np.ndarray:
    return np.degrees(np.arctan2(points[:, 1], points[:, 0]))


def test_where_two_views_overlap_each_direction_is_left_to_one_camera():
    # Both see the overlap, at ranges that differ by a fifth, as networks do.
    left, right = seen(10.0, turned(25)), seen(12.0, turned(-25))
    kept = kept_points([left, right])
    of_left, of_right = azimuths(left.points[kept[0]]), azimuths(right.points[kept[1]])
    assert 0.6 < np.mean(kept[0]) < 0.95
    # The seam: both cameras have straight ahead equally far from their middle, up to the offset of cx.
    level = np.abs(left.points[:, 2] - 1.5) < 0.5
    assert azimuths(left.points[kept[0] & level]).min() > -4
    level = np.abs(right.points[:, 2] - 1.5) < 0.5
    assert azimuths(right.points[kept[1] & level]).max() < 4
    # Nothing that only one of them sees is gone.
    assert of_left.max() > 60 and of_right.min() < -60


def test_points_hidden_from_the_better_camera_are_kept():
    behind = seen(20.0, turned(25))  # sees the overlap far behind what stands before the other camera
    before = seen(5.0, turned(-25))
    kept_behind, kept_before = kept_points([behind, before])
    assert kept_behind.all()
    assert 0.6 < kept_before.mean() < 1.0, "the more central view looks through the near points"


def test_a_camera_without_a_depth_there_takes_nothing_away():
    left, blind = seen(10.0, turned(25)), seen(10.0, turned(-25), hole=True)
    kept = kept_points([left, blind])
    assert kept[0].all() and len(kept[1]) == 0


def test_cameras_back_to_back_do_not_overlap():
    front, rear = seen(10.0, turned(0)), seen(10.0, turned(180))
    assert not overlap(front, rear)
    assert all(keep.all() for keep in kept_points([front, rear]))
    assert overlap(front, seen(10.0, turned(50)))


def test_points_on_the_very_edge_of_the_other_image_are_looked_up_within_it():
    # u / z may be 639.5 in float32 where u < 639.5 z, and is then rounded to the even 640.
    wide = CameraModel(width=640, height=480, fx=500.0, fy=500.0, cx=330.0, cy=250.0)
    depth = np.full((480, 640), 50.0, dtype=np.float32)
    rng = np.random.default_rng(0)
    z = rng.uniform(2.0, 40.0, 200_000)
    pixels = np.stack([639.5 - rng.uniform(0, 1e-4, z.size), rng.uniform(0, 479, z.size)], axis=1)
    rays = np.column_stack([(pixels - (wide.cx, wide.cy)) / wide.fx, np.ones(z.size)])
    points = (rays * z[:, None]).astype(np.float32)
    beside = np.eye(4)
    beside[0, 3] = 0.3
    clouds = [CameraCloud(points, depth, wide, pose) for pose in (beside, np.eye(4))]
    assert kept_points(clouds)[0].all(), "nobody sees its border better than another camera its inside"
