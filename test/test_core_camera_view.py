"""One camera's view: the scale outlives what it is measured by, and options change between two frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.camera_view import CameraView, Place, ViewOptions
from recon3d_ros.core.cloud_filters import CloudFilterOptions
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
