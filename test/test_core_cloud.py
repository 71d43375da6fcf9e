"""Depth to points: by hand, against the projection, and at the edges of the range."""

from __future__ import annotations

import numpy as np

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import RayTable, back_project, dense_points, limit_range

CAMERA = CameraModel(width=60, height=40, fx=50.0, fy=48.0, cx=27.5, cy=21.25)
nan, inf = np.nan, np.inf


def random_depth() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.5, 80, (40, 60)).astype(np.float32)


def test_a_pixel_becomes_the_point_worked_by_hand() -> None:
    depth = np.zeros((40, 60), dtype=np.float32)
    depth[10, 50] = 4.0
    # x = (50 - 27.5) * 4 / 50, y = (10 - 21.25) * 4 / 48
    np.testing.assert_allclose(back_project(depth, CAMERA.rays())[10, 50], [1.8, -0.9375, 4.0], rtol=1e-6)


def test_back_projecting_then_projecting_is_the_identity() -> None:
    depth = random_depth()
    points = back_project(depth, CAMERA.rays())
    v, u = np.mgrid[:40, :60]
    np.testing.assert_allclose(CAMERA.project(points), np.stack([u, v], -1).reshape(-1, 2), atol=1e-4)
    np.testing.assert_array_equal(points[..., 2], depth)


def test_a_wall_seen_at_an_angle_stays_flat() -> None:
    normal, distance = np.array([0.6, 0.0, 0.8]), 7.0
    rays = CAMERA.rays()
    depth = (distance / (rays @ normal)).astype(np.float32)
    np.testing.assert_allclose(back_project(depth, rays) @ normal, distance, rtol=1e-5)


def test_no_surface_is_no_point() -> None:
    depth = random_depth()
    depth[3, 4], depth[5, 6], depth[7, 8] = nan, inf, -inf
    points = back_project(depth, CAMERA.rays())
    missing = np.isnan(points).all(axis=-1)
    assert sorted(zip(*np.nonzero(missing), strict=True)) == [(3, 4), (5, 6), (7, 8)]
    assert np.isfinite(points[~missing]).all()


def test_depth_out_of_range_follows_rep_117() -> None:
    depth = np.array([[0.5, 1.0, 1.5], [79.0, 80.0, 81.0], [nan, inf, -inf]], dtype=np.float32)
    limited = limit_range(depth, min_range=1.0, max_range=80.0)
    np.testing.assert_array_equal(limited, [[nan, 1.0, 1.5], [79.0, 80.0, inf], [nan, inf, nan]])
    assert limited.dtype == np.float32


def test_a_dense_cloud_keeps_the_existing_points_and_their_colours_in_order() -> None:
    points = np.arange(36, dtype=np.float32).reshape(3, 4, 3)
    colors = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    points[1, 2] = nan
    kept, kept_colors = dense_points(points, colors)
    expected = np.delete(np.arange(36).reshape(12, 3), 6, axis=0)
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_array_equal(kept_colors, expected)
    assert dense_points(points)[1] is None


def test_a_cloud_without_points_is_empty() -> None:
    assert dense_points(np.full((3, 4, 3), nan, dtype=np.float32))[0].shape == (0, 3)


def test_a_ray_table_follows_a_change_of_calibration_and_of_stride() -> None:
    table, depth = RayTable(), random_depth()
    other = CameraModel(width=60, height=40, fx=80.0, fy=79.0, cx=31.0, cy=18.0)
    for camera, stride in ((CAMERA, 1), (CAMERA, 7), (other, 7), (CAMERA, 1)):
        points = table.points(depth, camera, stride=stride)
        v, u = np.mgrid[:40:stride, :60:stride]
        np.testing.assert_allclose(camera.project(points), np.stack([u, v], -1).reshape(-1, 2), atol=1e-4)
        np.testing.assert_array_equal(points[..., 2], depth[::stride, ::stride])
