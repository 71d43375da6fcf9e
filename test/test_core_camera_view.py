"""One camera's view: the scale outlives what it is measured by, and options change between two frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.camera_view import CameraView, Place, ViewOptions
from recon3d_ros.core.cloud_filters import CloudFilterOptions
from recon3d_ros.core.masks import MaskError
from recon3d_ros.core.mounting import Mounting
from recon3d_ros.core.obstacles import GROUND, OBSTACLE, SplitOptions
from recon3d_ros.core.pipeline import DepthFrame
from recon3d_ros.core.preprocess import Rectifier
from recon3d_ros.core.scan import ScanOptions

CAMERA = CameraModel(width=128, height=64, fx=60.0, fy=62.0, cx=61.0, cy=24.0)
RECTIFIER = Rectifier(CAMERA, width=128, height=64)
HEIGHT, WALL = 1.6, 12.0
LEVEL = Mounting.level(HEIGHT)
HERE = Place(T_base_camera=LEVEL.T_base_camera, mounting=LEVEL)
OPTIONS = ViewOptions("ground", 0.5, 80.0, CloudFilterOptions(), SplitOptions(), ScanOptions())


def frame(scale: float = 1.0) -> DepthFrame:
    """Returns a level road and a wall across it, as a network sees them that is off by a factor."""
    below = np.maximum(np.arange(64) - CAMERA.cy, 1e-6)
    depth = np.repeat(np.minimum(HEIGHT * CAMERA.fy / below, WALL)[:, None], 128, axis=1) * scale
    return DepthFrame(np.zeros((64, 128, 3), np.uint8), depth.astype(np.float32), None, CAMERA, {})


def test_the_scale_is_held_while_the_cameras_place_is_not_known():
    view = CameraView(OPTIONS)
    for index in range(8):
        seen = view.see(frame(0.8), RECTIFIER, 1.0 + 0.1 * index, HERE)
    assert seen.estimate.scale == pytest.approx(1.25, rel=0.05) and not seen.estimate.is_held
    held = view.see(frame(0.8), RECTIFIER, 1.8, Place())
    assert held.estimate.is_held and "place" in held.estimate.reason
    assert held.estimate.scale == seen.estimate.scale
    np.testing.assert_allclose(held.frame.depth, seen.frame.depth)


def test_a_mode_without_anything_to_go_by_leaves_the_depth_and_says_so():
    seen = CameraView(replace(OPTIONS, scale_mode="lidar")).see(frame(), RECTIFIER, 1.0, Place())
    assert seen.estimate.scale == 1.0 and seen.estimate.is_held and "LiDAR" in seen.estimate.reason
    np.testing.assert_array_equal(seen.frame.depth, frame().depth)


def test_options_that_change_keep_the_scale():
    view = CameraView(OPTIONS)
    for index in range(8):
        before = view.see(frame(0.8), RECTIFIER, 1.0 + 0.1 * index, HERE)
    view.set_options(replace(OPTIONS, max_range=10.0, filters=CloudFilterOptions(voxel_size=0.5)))
    after = view.see(frame(0.8), RECTIFIER, 1.8, HERE)
    assert after.estimate.scale == pytest.approx(before.estimate.scale, rel=0.02)
    assert np.isposinf(after.frame.depth[0]).all(), "the wall at 12 m is out of range now"


def test_ranges_are_those_of_the_metric_depth():
    view = CameraView(replace(OPTIONS, max_range=13.0))
    for index in range(8):
        seen = view.see(frame(0.5), RECTIFIER, 1.0 + 0.1 * index, HERE)
    assert np.isfinite(seen.frame.depth[0]).all(), "12 m, seen at 6 m and scaled by 2"


def test_labels_fit_the_cloud_pixel_by_pixel():
    view = CameraView(replace(OPTIONS, scale_mode="model"))
    seen = view.see(frame(), RECTIFIER, 1.0, HERE)
    cloud = view.cloud(seen, colors=False, stride=2, organised=True)
    labels = view.labels(seen, view.road(seen), stride=2)
    assert labels.shape == cloud.points.shape[:2] == (32, 64)
    z = cloud.points[..., 1] * -1 + HEIGHT  # height over the road of a level camera
    assert (labels[z < 0.05] == GROUND).all()
    assert (labels[(z > 0.5) & (z < 2.5)] == OBSTACLE).all()


def test_the_scale_outlives_a_mounting_that_moves_with_the_springs():
    view = CameraView(OPTIONS)
    for index in range(20):
        mounting = Mounting.level(HEIGHT + 0.01 * (-1) ** index)
        seen = view.see(frame(0.8), RECTIFIER, 1.0 + 0.1 * index, Place(mounting=mounting))
    assert seen.estimate.sigma < 0.05, "twenty frames say more than one"
    blind = replace(frame(), depth=np.full((64, 128), np.nan, np.float32))
    held = view.see(blind, RECTIFIER, 3.0, Place(mounting=Mounting.level(HEIGHT - 0.005)))
    assert held.estimate.is_held and held.estimate.scale == pytest.approx(1.25, rel=0.03)


def test_a_lidar_whose_mounting_moves_goes_on_with_its_scale():
    view = CameraView(replace(OPTIONS, scale_mode="lidar"))
    y, z = np.meshgrid(np.linspace(-4, 4, 40), np.linspace(-1, 1, 20))
    wall = np.stack([y, z, np.full_like(y, WALL)], axis=-1).reshape(-1, 3)
    for index in range(10):
        T_camera_lidar = np.eye(4)
        T_camera_lidar[0, 3] = 0.01 * index
        view.add_sweep(wall, 1.0 + 0.1 * index, T_camera_lidar)
        seen = view.see(frame(0.8), RECTIFIER, 1.0 + 0.1 * index, HERE)
    T_camera_lidar = np.eye(4)
    view.add_sweep(wall[:10], 2.0, T_camera_lidar)  # too few returns for a measurement
    held = view.see(frame(0.8), RECTIFIER, 2.0, HERE)
    assert held.estimate.scale == pytest.approx(seen.estimate.scale) == pytest.approx(1.25, rel=0.03)


def test_the_road_is_that_of_the_frame_after_the_scale_mode_has_changed():
    view = CameraView(OPTIONS)
    for index in range(8):
        view.see(frame(0.8), RECTIFIER, 1.0 + 0.1 * index, HERE)
    view.set_options(replace(OPTIONS, scale_mode="lidar"))
    seen = view.see(frame(), RECTIFIER, 1.8, HERE)  # no sweep has come: the depth is as the network says
    assert view.road(seen).height == pytest.approx(HEIGHT, rel=0.02), "not the one of the last frame, seen at 0.8"


def test_the_scale_goes_by_what_the_ego_mask_leaves():
    # A load bed before the camera, level and nearer below it than the road, over all of the near rows.
    bed = frame()
    bed.depth[40:] *= 0.8
    corners = ((0.0, 40.0), (127.0, 40.0), (127.0, 63.0), (0.0, 63.0))
    masked = CameraView(replace(OPTIONS, filters=CloudFilterOptions(ego_mask=(corners,))))
    plain = CameraView(OPTIONS)
    for index in range(8):
        with_mask = masked.see(bed, RECTIFIER, 1.0 + 0.1 * index, HERE)
        without = plain.see(bed, RECTIFIER, 1.0 + 0.1 * index, HERE)
    assert with_mask.estimate.scale == pytest.approx(1.0, rel=0.03)
    assert without.estimate.scale > 1.1, "the scene shows the difference"


def test_a_mask_that_is_refused_leaves_the_scale_untouched():
    outside = ((0.0, 0.0), (500.0, 0.0), (500.0, 60.0))
    view = CameraView(replace(OPTIONS, filters=CloudFilterOptions(ego_mask=(outside,))))
    with pytest.raises(MaskError):
        view.see(frame(0.8), RECTIFIER, 1.0, HERE)
    view.set_options(OPTIONS)
    again = view.see(frame(0.8), RECTIFIER, 1.0, HERE)
    assert again.estimate == CameraView(OPTIONS).see(frame(0.8), RECTIFIER, 1.0, HERE).estimate


def test_the_vehicle_s_own_box_is_no_obstacle_of_the_scan_either():
    bonnet = frame()
    # 0.6 to 1.2 m high, 3 m ahead of the camera and 0.5 m to either side of it.
    bonnet.depth[32:45, 51:72] = 3.0
    for box, expected in (((), 3.0), ((2.0, -1.0, 0.0, 4.0, 1.0, 1.5), WALL)):
        options = replace(OPTIONS, scale_mode="model", filters=CloudFilterOptions(ego_box=box))
        view = CameraView(options)
        scan = view.scan(view.see(bonnet, RECTIFIER, 1.0, HERE), LEVEL.T_base_camera)
        angles = scan.angle_min + scan.angle_increment * np.arange(len(scan.ranges))
        ahead = np.abs(angles) < 0.1
        np.testing.assert_allclose(scan.ranges[ahead] * np.cos(angles[ahead]), expected, rtol=0.01)
