"""Filters of depth and points against planes and steps of known shape, and against slow, plain geometry."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from road_scenes import mounting, road_depth

import recon3d_ros
from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import RayTable
from recon3d_ros.core.cloud_filters import CloudFilter, CloudFilterOptions, FilterError
from recon3d_ros.core.drive import load_drive
from recon3d_ros.core.edges import flying_pixels
from recon3d_ros.core.masks import MaskError
from recon3d_ros.core.preprocess import Rectifier

CAMERA = CameraModel(width=160, height=60, fx=90.0, fy=93.0, cx=74.5, cy=26.25)
RECTIFIER = Rectifier(CAMERA, width=160, height=60)
T_BASE_CAMERA = mounting(1.3, 0.4, 1.6, yaw=10.0, pitch=7.0, roll=3.0)
nan, inf = np.nan, np.inf


def plane_depth(normal: tuple[float, float, float], distance: float) -> npt.NDArray[np.float32]:
    """Returns the depth of the plane with normal . p = distance, optical frame; +Inf where it is not ahead."""
    with np.errstate(divide="ignore"):
        depth = distance / (CAMERA.rays().astype(np.float64) @ np.array(normal))
    return np.where(depth > 0, depth, inf).astype(np.float32)


def random_depth() -> npt.NDArray[np.float32]:
    depth = np.random.default_rng(1).uniform(1, 40, (60, 160)).astype(np.float32)
    depth[5, 7], depth[9, 11] = nan, inf
    return depth


def plain_points(depth: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Returns the (N, 3) finite points in the order of the pixels, by the projection's formula."""
    v, u = np.nonzero(np.isfinite(depth))
    z = depth[v, u].astype(np.float64)
    return np.stack([(u - CAMERA.cx) / CAMERA.fx * z, (v - CAMERA.cy) / CAMERA.fy * z, z], axis=1)


def filtered(depth: npt.NDArray[np.float32], **options: Any) -> npt.NDArray[np.float32]:
    cloud_filter = CloudFilter(CloudFilterOptions(**options))
    return cloud_filter.cloud(depth, CAMERA, T_base_camera=T_BASE_CAMERA, organised=False).points


# Flying pixels


@pytest.mark.parametrize(
    ("normal", "distance"),
    [
        ((0.0, 1.0, 0.0), 1.65),  # the road
        ((0.05, 0.99, -0.08), 1.65),  # a road that falls and leans
        ((1.0, 0.0, 0.02), 3.0),  # a wall along the road
        ((0.6, 0.1, 0.8), 12.0),
        ((0.0, 0.0, 1.0), 7.0),
    ],
)
def test_no_pixel_of_a_plane_is_an_edge_however_steeply_it_is_seen(
    normal: tuple[float, float, float], distance: float
) -> None:
    depth = plane_depth(normal, distance)
    depth[depth > 1000] = nan  # where a float32 no longer tells it from the horizon
    assert np.isfinite(depth).sum() > 2000
    assert not flying_pixels(depth, 0.05).any()


@pytest.mark.parametrize("max_depth", [10.0, 40.0, 80.0])
def test_a_road_that_goes_on_beyond_the_range_is_kept_to_its_last_row(max_depth: float) -> None:
    for normal in ((0.0, 1.0, 0.0), (0.3, 0.95, 0.0), (1.0, 0.0, 0.02)):
        depth = plane_depth(normal, 1.65)
        depth[depth > max_depth] = inf
        assert np.isinf(depth).any()
        assert not flying_pixels(depth, 0.05).any()


@pytest.mark.parametrize("is_vertical", [False, True], ids=["beside", "below"])
@pytest.mark.parametrize("width", [1, 3, 5])
def test_of_a_smeared_step_the_pixels_in_between_go_and_both_surfaces_stay(is_vertical: bool, width: int) -> None:
    depth = np.full((60, 160), 18.0, dtype=np.float32)
    line = depth if not is_vertical else depth.T
    line[:, :30] = 6.0
    parts = np.arange(1, width + 1) / (width + 1)
    line[:, 30 : 30 + width] = 1 / (1 / 6.0 + parts * (1 / 18.0 - 1 / 6.0))
    is_between = (depth > 6.0) & (depth < 18.0)
    np.testing.assert_array_equal(flying_pixels(depth, 0.1), is_between)


def test_a_thin_pole_whose_picture_is_all_edge_stays() -> None:
    depth = np.full((60, 160), 30.0, dtype=np.float32)
    for offset, z in ((0, 6.0), (1, 9.0), (2, 18.0)):
        depth[:, [80 - offset, 80 + offset]] = z
    removed = flying_pixels(depth, 0.1)
    assert not removed[:, 80].any()
    assert removed[10:-10, [78, 79, 81, 82]].all()


def test_an_object_that_fades_into_the_sky_keeps_its_own_depth_only() -> None:
    depth = np.full((60, 160), inf, dtype=np.float32)
    depth[:, :50] = 12.0
    depth[:, 50:54] = [15.0, 22.0, 40.0, 75.0]
    depth[50:, :] = 4.0  # the road, far enough from the rows looked at
    removed = flying_pixels(depth, 0.1)
    assert removed[:40, 50:53].all()
    assert not removed[:40, :50].any()


def test_on_a_street_whose_exact_depth_is_smeared_what_flies_goes_and_surfaces_stay() -> None:
    drive = load_drive(Path(recon3d_ros.__file__).parent / "demo_drive")
    depth_mm = drive.depth_mm(drive.images[30])
    assert depth_mm is not None
    exact = np.where(depth_mm > 0, depth_mm / 1000, inf).astype(np.float32)
    smeared = 1 / np.maximum(cv2.GaussianBlur(1 / exact, (0, 0), 2.0), np.float32(1e-6))
    smeared[smeared > 60] = inf
    # Flying: no surface within 13x13 pixels, which the blur reaches over, is within 10 % of it.
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(exact, 6, mode="edge"), (13, 13))
    is_point = np.isfinite(smeared)
    is_near = np.abs(windows / np.where(is_point, smeared, 1)[..., None, None] - 1) < 0.1
    flies = is_point & ~is_near.any(axis=(-2, -1))
    removed = flying_pixels(smeared, 0.15)
    assert flies.sum() > 500
    assert removed[flies].mean() > 0.85
    assert removed[is_point & ~flies].mean() < 0.1


def test_unknown_neighbours_accuse_no_pixel() -> None:
    depth = plane_depth((0.0, 1.0, 0.0), 1.65)
    depth[depth > 60] = nan
    depth[np.random.default_rng(0).uniform(size=depth.shape) < 0.2] = nan
    assert not flying_pixels(depth, 0.05).any()
    assert not flying_pixels(np.full((60, 160), nan, dtype=np.float32), 0.05).any()
    assert not flying_pixels(np.full((60, 160), inf, dtype=np.float32), 0.05).any()


@pytest.mark.parametrize("shape", [(1, 1), (4, 200), (200, 4), (8, 9)])
def test_images_smaller_than_the_reach_have_no_edges_that_cannot_be_told(shape: tuple[int, int]) -> None:
    assert not flying_pixels(np.full(shape, 5.0, dtype=np.float32), 0.1).any()


# Cleaning the depth


def test_what_cannot_be_trusted_is_unknown_to_all_and_the_rest_stays_as_it_was() -> None:
    depth = random_depth()
    confidence = np.full(depth.shape, 0.9, dtype=np.float32)
    confidence[20, 30], confidence[9, 11], confidence[21, 50] = 0.4, 0.2, nan  # the second is sky
    polygon = ((100.0, 40.0), (150.0, 40.0), (150.0, 59.0), (100.0, 59.0))
    before = depth.copy()
    cleaned = CloudFilter(CloudFilterOptions(min_confidence=0.5, ego_mask=(polygon,))).clean(
        depth, RECTIFIER, confidence
    )
    np.testing.assert_array_equal(depth, before)
    expected = depth.copy()
    expected[20, 30] = expected[9, 11] = expected[21, 50] = nan
    expected[40:60, 100:151] = nan
    np.testing.assert_array_equal(cleaned, expected)


def test_a_model_without_confidence_keeps_all_pixels() -> None:
    cleaned = CloudFilter(CloudFilterOptions(min_confidence=0.5)).clean(random_depth(), RECTIFIER, None)
    np.testing.assert_array_equal(cleaned, random_depth())


def test_an_edge_is_found_although_its_neighbours_are_masked_or_unsure() -> None:
    depth = np.full((60, 160), 18.0, dtype=np.float32)
    depth[:, :30], depth[:, 30] = 6.0, 9.0
    confidence = np.ones(depth.shape, dtype=np.float32)
    confidence[:, 31:36] = 0.0
    cleaned = CloudFilter(CloudFilterOptions(edge_threshold=0.1, min_confidence=0.5)).clean(
        depth, RECTIFIER, confidence
    )
    assert np.isnan(cleaned[:, 30]).all()


def test_a_mask_follows_the_camera() -> None:
    other = Rectifier(dataclasses.replace(CAMERA, fx=70.0), width=80, height=30)
    polygon = ((0.0, 50.0), (160.0, 50.0), (160.0, 60.0), (0.0, 60.0))
    cloud_filter = CloudFilter(CloudFilterOptions(ego_mask=(polygon,)))
    for rectifier, first_row in ((RECTIFIER, 50), (other, 25), (RECTIFIER, 50)):
        height, width = rectifier.camera.height, rectifier.camera.width
        cleaned = cloud_filter.clean(np.ones((height, width), dtype=np.float32), rectifier)
        np.testing.assert_array_equal(np.isnan(cleaned).all(axis=1), np.arange(height) >= first_row)
        assert np.isfinite(cleaned[: first_row - 1]).all()


# Selecting the points


def test_without_options_the_points_are_those_of_the_ray_table() -> None:
    depth = random_depth()
    colors = np.random.default_rng(0).integers(0, 255, (60, 160, 3), np.uint8)
    cloud = CloudFilter().cloud(depth, CAMERA, colors=colors, stride=3)
    np.testing.assert_allclose(cloud.points, RayTable().points(depth, CAMERA, stride=3), rtol=1e-6)
    np.testing.assert_array_equal(cloud.colors, colors[::3, ::3])


def test_the_range_is_the_distance_along_the_ray() -> None:
    depth = random_depth()
    points = plain_points(depth)
    distance = np.linalg.norm(points, axis=1)
    expected = points[(distance >= 4.0) & (distance <= 20.0)]
    np.testing.assert_allclose(filtered(depth, min_range=4.0, max_range=20.0), expected, rtol=1e-5)
    np.testing.assert_allclose(filtered(depth, min_range=4.0), points[distance >= 4.0], rtol=1e-5)
    assert len(filtered(depth, max_range=0.5)) == 0


def test_height_band_and_ego_box_are_of_the_base_frame_for_a_camera_mounted_askew() -> None:
    depth = random_depth()
    depth[:, :40] /= 10
    points = plain_points(depth)
    base = points @ T_BASE_CAMERA[:3, :3].T + T_BASE_CAMERA[:3, 3]
    in_band = (base[:, 2] >= 0.2) & (base[:, 2] <= 2.5)
    np.testing.assert_allclose(filtered(depth, min_height=0.2, max_height=2.5), points[in_band], rtol=1e-5)
    low, high = np.array([-1.0, -1.5, 0.0]), np.array([4.0, 2.5, 1.9])
    in_box = ((base >= low) & (base <= high)).all(axis=1)
    assert 50 < in_box.sum() < len(points) - 50
    np.testing.assert_allclose(filtered(depth, ego_box=(*low, *high)), points[~in_box], rtol=1e-5)


def test_a_level_camera_has_its_horizon_in_the_band_or_not_at_all() -> None:
    camera = dataclasses.replace(CAMERA, cy=26.0)  # row 26 looks along the band
    depth = np.full((60, 160), 10.0, dtype=np.float32)
    for low, high, is_in in ((1.0, 2.0, True), (1.6, 2.0, True), (2.0, 3.0, False), (0.0, 1.5, False)):
        cloud = CloudFilter(CloudFilterOptions(min_height=low, max_height=high)).cloud(
            depth, camera, T_base_camera=mounting(0.0, 0.0, 1.6)
        )
        assert np.isfinite(cloud.points[26]).all() == is_in


def test_a_dense_cloud_has_the_points_and_colours_of_the_organised_one() -> None:
    depth = road_depth(CAMERA, T_BASE_CAMERA, ((6.0, -1.0, 0.0, 8.0, 1.5, 1.8),), max_depth=40.0)
    colors = np.random.default_rng(0).integers(0, 255, (60, 160, 3), np.uint8)
    cloud_filter = CloudFilter(
        CloudFilterOptions(min_height=-0.2, max_height=3.0, max_range=30.0, voxel_size=0.3, outlier_radius=1.0)
    )
    for stride in (1, 2):
        grid = cloud_filter.cloud(depth, CAMERA, colors=colors, T_base_camera=T_BASE_CAMERA, stride=stride)
        dense = cloud_filter.cloud(
            depth, CAMERA, colors=colors, T_base_camera=T_BASE_CAMERA, stride=stride, organised=False
        )
        assert grid.points.shape == (60 // stride, 160 // stride, 3)
        assert grid.colors is not None
        is_point = np.isfinite(grid.points).all(axis=-1)
        assert is_point.sum() == (~np.isnan(grid.points).all(axis=-1)).sum() > 50
        np.testing.assert_array_equal(grid.points[is_point], dense.points)
        np.testing.assert_array_equal(grid.colors[is_point], dense.colors)


def test_tables_follow_a_change_of_mounting_and_of_camera() -> None:
    depth = random_depth()
    cloud_filter = CloudFilter(CloudFilterOptions(min_height=0.0, max_height=1.0))
    other = dataclasses.replace(CAMERA, fx=150.0)
    low = T_BASE_CAMERA - np.array([[0, 0, 0, 0]] * 2 + [[0, 0, 0, 1.0], [0, 0, 0, 0]])
    for camera, T in ((CAMERA, T_BASE_CAMERA), (CAMERA, low), (other, low), (CAMERA, T_BASE_CAMERA)):
        points = cloud_filter.cloud(depth, camera, T_base_camera=T, organised=False).points
        fresh = CloudFilter(cloud_filter.options).cloud(depth, camera, T_base_camera=T, organised=False).points
        np.testing.assert_array_equal(points, fresh)
        heights = points @ T[2, :3] + T[2, 3]
        assert (heights >= -1e-4).all()
        assert (heights <= 1 + 1e-4).all()


def test_a_frame_without_a_point_gives_an_empty_cloud() -> None:
    depth = np.full((60, 160), inf, dtype=np.float32)
    assert filtered(depth, voxel_size=0.2, outlier_radius=0.5).shape == (0, 3)


def test_a_height_band_without_a_mounting_is_refused() -> None:
    with pytest.raises(FilterError, match="T_base_camera is not known"):
        CloudFilter(CloudFilterOptions(max_height=2.0)).cloud(random_depth(), CAMERA)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"edge_threshold": -0.1}, "edge_threshold"),
        ({"min_confidence": 1.5}, "min_confidence"),
        ({"max_range": nan}, "max_range"),
        ({"min_range": 5.0, "max_range": 4.0}, "max_range"),
        ({"min_height": 2.0, "max_height": 1.0}, "max_height"),
        ({"max_height": inf}, "height band"),
        ({"voxel_size": 0.001}, "voxel_size"),
        ({"outlier_radius": 0.5, "outlier_neighbours": 0}, "outlier_neighbours"),
        ({"ego_box": (0.0, 0.0, 0.0, 1.0, 1.0)}, "ego_box"),
        ({"ego_box": (0.0, 0.0, 0.0, 1.0, 0.0, 1.0)}, "ego_box"),
        ({"ego_box": (0.0, 0.0, 0.0, 1.0, nan, 1.0)}, "ego_box"),
    ],
)
def test_options_that_no_filter_has_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(FilterError, match=reason):
        CloudFilterOptions(**options)


def test_a_bad_mask_is_refused_with_the_options() -> None:
    with pytest.raises(MaskError, match="crosses itself"):
        CloudFilterOptions(ego_mask=(((0.0, 0.0), (9.0, 9.0), (9.0, 0.0), (0.0, 9.0)),))
