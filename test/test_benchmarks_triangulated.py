"""The stand-in for the truth where a drive has poses but no LiDAR."""

from __future__ import annotations

import numpy as np

from benchmarks.triangulated import triangulate
from recon3d_ros.core.camera import CameraModel

CAMERA = CameraModel.from_calibration(
    width=640, height=360, K=[[440.0, 0.0, 325.0], [0.0, 442.0, 174.0], [0.0, 0.0, 1.0]]
)


def views_of(points: np.ndarray, T_view_first: np.ndarray) -> np.ndarray:
    """Returns the (V, N, 2) pixels of points in views, by the pinhole equation."""
    in_view = np.einsum("vij,nj->vni", T_view_first[:, :3, :3], points) + T_view_first[:, None, :3, 3]
    return in_view[..., :2] / in_view[..., 2:] * [CAMERA.fx, CAMERA.fy] + [CAMERA.cx, CAMERA.cy]


def backward_views(count: int) -> np.ndarray:
    """Returns T_view_first of a camera that came 1.2 m forward a frame, turning a little."""
    views = np.tile(np.eye(4), (count, 1, 1))
    for index in range(count):
        angle = 0.01 * index
        views[index, :3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        views[index, 2, 3] = 1.2 * index
    return views


def test_points_seen_from_known_poses_come_back_and_a_moving_one_betrays_itself() -> None:
    points = np.array([[2.0, 1.0, 9.0], [-6.0, -2.0, 40.0], [3.0, 0.5, 4.0], [4.0, 1.0, 15.0]])
    poses = backward_views(6)
    pixels = views_of(points, poses)
    pixels[3:, 2] = np.nan  # lost on its way
    pixels[4, 3] += [6.0, 0.0]  # moved on its own
    found, residual, sigma = triangulate(pixels, poses, CAMERA)
    np.testing.assert_allclose(found[:3], points[:3], rtol=1e-3)
    assert residual[:3].max() < 0.01 < 2.0 < residual[3]
    assert sigma[0] < sigma[1]  # the farther, the less certain
