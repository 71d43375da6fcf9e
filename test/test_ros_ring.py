"""Six real cameras with real extrinsics, as a bag, through the live node: one cloud around the vehicle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from ros_harness import RosHarness
from sensor_msgs.msg import PointCloud2

from recon3d_ros.core.ring import load_ring
from recon3d_ros.core.transforms import transform_text
from recon3d_ros.ros.messages import points_from_msg
from recon3d_ros.ros.replay import BagReplay
from recon3d_ros.tools.ring_bag import frame_of, make_ring_bag
from recon3d_ros.tools.transforms import BASE_FRAME


def degrees_covered(points: np.ndarray) -> int:
    """Returns in how many of 360 degrees around the base there are points."""
    return len(np.unique(np.degrees(np.arctan2(points[:, 1], points[:, 0])).astype(int)))


def test_six_cameras_give_one_cloud_all_around_whose_road_is_level(tmp_path: Path, shared_data: Path) -> None:
    ring = shared_data / "nuscenes_ring"
    cameras = load_ring(ring)
    assert len(cameras) == 6
    make_ring_bag(ring, tmp_path / "bag", repeat=3, compressed=True)
    transforms = "; ".join(transform_text(BASE_FRAME, frame_of(c), c.T_base_camera) for c in cameras)
    harness = RosHarness(
        cameras=[camera.name for camera in cameras],
        compressed=True,
        cloud_stride=4,
        cloud_fields="xyz",
        static_transforms=transforms,
    )
    try:
        clouds = harness.collect("/points", PointCloud2)
        assert harness.node.start()
        with BagReplay(harness.tester, tmp_path / "bag", rate=0.5) as replay:
            harness.wait_for(lambda: replay.wait_for_subscribers(0.1), "the node to subscribe", 20.0)
            harness.wait_until_connected([], ["/points"])
            replay.run()
        harness.wait_for(lambda: clouds, "a merged cloud", 60.0)

        def best() -> np.ndarray:
            return max(map(points_from_msg, clouds), key=degrees_covered)

        harness.wait_for(lambda: degrees_covered(best()) > 330, "a cloud all around the vehicle", 60.0)
        points = best()
        assert clouds[-1].header.frame_id == BASE_FRAME
        # The road before and behind the vehicle, where all ways of reading the extrinsics but one would tilt it.
        for side in (1, -1):
            is_road = (side * points[:, 0] > 9) & (side * points[:, 0] < 14) & (np.abs(points[:, 1]) < 2)
            assert np.count_nonzero(is_road) > 30
            assert abs(np.median(points[is_road, 2])) < 0.5
    finally:
        harness.close()
