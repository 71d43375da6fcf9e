"""What consumers read from the node's messages, by their own documentation and source.

Nav2: ros-navigation/navigation2, nav2_costmap_2d/plugins/obstacle_layer.cpp (parameters, QoS, inf_is_valid) and
    src/observation_buffer.cpp (PointCloud2Iterator<float> "z", heights, the origin of rays).
LaserScan: ros-perception/laser_geometry, projectLaser: x = r cos(angle), y = r sin(angle), z = 0.
RTAB-Map: introlab/rtabmap_ros, rtabmap_sync/src/nodelets/rgbd_sync.cpp (topics, exact sync), and
    rtabmap_conversions (encodings accepted of image and depth, equal sizes).
depthimage_to_laserscan, depth_image_proc: convertDepth of 16UC1 and 32FC1, image_geometry's PinholeCameraModel.
Autoware: its planning nodes subscribe to /perception/obstacle_segmentation/pointcloud, x y z in base_link.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")
pytest.importorskip("onnx", reason="onnx, which makes the model of these tests, is not installed")

from onnx_models import write_model
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from ros_harness import RosHarness
from sensor_msgs.msg import PointField
from street_scene import CX, CY, FRONT, FX, FY, HEIGHT, REAR, WIDTH, Street, street_depth

from recon3d_ros.ros.parameters import DepthNodeParameters

CONFIG = Path(__file__).resolve().parents[1] / "config"
PARAMETERS = DepthNodeParameters()
SENSOR_DATA, RELIABLE = (
    QoSProfile(
        depth=50,
        reliability=reliability,
        durability=DurabilityPolicy.VOLATILE,
        liveliness=LivelinessPolicy.AUTOMATIC,
    )
    for reliability in (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE)
)
TOPICS = (
    "points", "obstacles", "front/points", "front/obstacles", "front/clearing", "front/scan",
    "front/image_rect", "front/depth/image_rect", "front/depth/camera_info",
)  # fmt: skip
# nav2_costmap_2d's defaults of an observation source: with any of them the layer would take nothing of ours.
NAV2_TRAPS = {
    "data_type": "LaserScan",
    "max_obstacle_height": 0.0,
    "obstacle_max_range": 2.5,
    "raytrace_max_range": 3.0,
}
NAV2_SOURCE_KEYS = {
    "topic", "sensor_frame", "observation_persistence", "expected_update_rate", "data_type", "min_obstacle_height",
    "max_obstacle_height", "inf_is_valid", "marking", "clearing", "obstacle_max_range", "obstacle_min_range",
    "raytrace_max_range", "raytrace_min_range",
}  # fmt: skip


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory):
    """A node with two cameras in the street, after a frame of each; only the front one's outputs are collected."""
    model = write_model(tmp_path_factory.mktemp("model") / "tiny.onnx", height=HEIGHT, width=WIDTH)
    harness = RosHarness(
        model=str(model),
        cameras=["front", "rear"],
        static_transforms=f"{FRONT}; {REAR}",
        diagnostics_period=0.1,
        scan_max_range=6.0,  # nearer than the wall: all is free so far
        scan_min_height=0.1,
    )
    street = Street(harness, TOPICS)
    street.send("front", stamp=(9, 70))
    street.send("rear", stamp=(9, 70))
    for topic in TOPICS:
        street.get(topic)
    yield street
    harness.close()


def offered_qos(street: Street, topic: str) -> QoSProfile:
    (info,) = street.harness.tester.get_publishers_info_by_topic(f"/{topic}")
    return info.qos_profile


def z_as_nav2_reads_it(cloud: Any) -> np.ndarray:
    """Returns what PointCloud2Iterator<float>(cloud, "z") passes over: the data in steps of point_step."""
    (field,) = [field for field in cloud.fields if field.name == "z"]
    assert field.datatype == PointField.FLOAT32 and field.count == 1
    data = np.frombuffer(cloud.data, np.uint8)
    count = cloud.height * cloud.width
    assert len(data) == count * cloud.point_step, "the iterator knows no row padding"
    return data.reshape(count, cloud.point_step)[:, field.offset : field.offset + 4].copy().view("<f4")[:, 0]


@pytest.mark.parametrize("topic", TOPICS)
def test_a_sensor_data_subscription_connects_to_every_output(street: Street, topic: str) -> None:
    for wanted in (SENSOR_DATA, RELIABLE):
        compatibility, reason = qos_check_compatible(offered_qos(street, topic), wanted)
        assert compatibility == QoSCompatibility.OK, reason


@pytest.mark.parametrize("topic", ["points", "obstacles", "front/points", "front/obstacles", "front/clearing"])
def test_nav2_and_pcl_read_each_cloud(street: Street, topic: str) -> None:
    cloud = street.get(topic)
    assert (cloud.header.stamp.sec, cloud.header.stamp.nanosec) == (9, 70)
    assert cloud.header.frame_id == ("front_optical_frame" if topic.startswith("front/") else "base_link")
    assert [(f.name, f.offset, f.datatype) for f in cloud.fields][:3] == [
        ("x", 0, PointField.FLOAT32), ("y", 4, PointField.FLOAT32), ("z", 8, PointField.FLOAT32),
    ]  # fmt: skip
    assert cloud.point_step in (16, 32) and cloud.row_step == cloud.width * cloud.point_step
    assert not cloud.is_bigendian
    z = z_as_nav2_reads_it(cloud)
    assert len(z) and (np.isfinite(z).all() if cloud.is_dense else np.isfinite(z).any())


def test_nav2_marks_the_obstacle_cloud_within_its_heights(street: Street) -> None:
    layer = costmap()["voxel_layer"]
    source = layer["obstacles"]
    z = z_as_nav2_reads_it(street.get("obstacles"))
    kept = (z >= source["min_obstacle_height"]) & (z <= source["max_obstacle_height"])
    assert kept.mean() > 0.2
    assert source["max_obstacle_height"] <= layer["origin_z"] + layer["z_voxels"] * layer["z_resolution"]


def test_nav2_clears_by_the_scan_and_does_not_mark_its_end(street: Street) -> None:
    scan, source = street.get("front/scan"), costmap()["obstacle_layer"]["front_scan"]
    ranges = np.array(scan.ranges)
    assert scan.angle_min + (len(ranges) - 1) * scan.angle_increment == pytest.approx(scan.angle_max, abs=1e-4)
    free = np.isposinf(ranges)
    assert free.mean() > 0.5, "the wall is beyond the scan's range: the view is free"
    # laserScanValidInfCallback puts +Inf at range_max - 1e-4; projectLaser takes ranges below range_max.
    assert source["inf_is_valid"] is True
    end = np.where(free, scan.range_max - 1e-4, ranges)
    projected = end[np.isfinite(end) & (end < scan.range_max)]
    assert len(projected) >= free.sum()
    assert source["min_obstacle_height"] < 0 < source["max_obstacle_height"], "projectLaser puts z at 0"


def test_nav2_clears_by_clearing_points_between_its_heights(street: Street) -> None:
    cloud, source = street.get("front/clearing"), costmap()["voxel_layer"]["front_free"]
    assert source["sensor_frame"] == cloud.header.frame_id, "rays start where the camera is"
    assert source["marking"] is False and source["clearing"] is True
    assert source["min_obstacle_height"] <= PARAMETERS.scan_min_height
    assert source["max_obstacle_height"] >= PARAMETERS.scan_max_height


def test_the_costmap_file_overrides_every_default_that_would_drop_our_data() -> None:
    for layer in ("obstacle_layer", "voxel_layer"):
        parameters = costmap()[layer]
        for name in parameters["observation_sources"].split():
            source = parameters[name]
            assert set(source) <= NAV2_SOURCE_KEYS, name
            assert set(NAV2_TRAPS) <= set(source), name
            is_scan = source["topic"].endswith("scan")
            assert source["data_type"] == ("LaserScan" if is_scan else "PointCloud2")
            assert source["max_obstacle_height"] > source["min_obstacle_height"]
            assert 2.5 < source["obstacle_max_range"] < PARAMETERS.scan_max_range
            assert 3.0 < source["raytrace_max_range"] <= PARAMETERS.scan_max_range


def test_the_costmap_files_topics_are_those_of_the_node(street: Street) -> None:
    published = {publisher.topic_name for publisher in street.node.publishers}
    for layer in ("obstacle_layer", "voxel_layer"):
        parameters = costmap()[layer]
        topics = {parameters[name]["topic"] for name in parameters["observation_sources"].split()}
        assert topics <= published


@pytest.mark.parametrize("file", ["nav2_costmap.yaml", "rtabmap.yaml"])
def test_ros_itself_can_parse_the_file(file: str) -> None:
    import rclpy
    from rclpy.context import Context

    # rcl's parser knows a part of YAML only; it refuses aliases, for one.
    context = Context()
    rclpy.init(context=context, args=["--ros-args", "--params-file", str(CONFIG / file)])
    rclpy.shutdown(context=context)


def test_rtabmap_takes_image_depth_and_camera_info_as_one(street: Street) -> None:
    image, depth = street.get("front/image_rect"), street.get("front/depth/image_rect")
    info = street.get("front/depth/camera_info")
    assert image.encoding in ("mono8", "mono16", "rgb8", "bgr8", "bgra8", "rgba8")
    assert depth.encoding in ("16UC1", "32FC1", "mono16")
    assert (image.width, image.height) == (depth.width, depth.height) == (info.width, info.height)
    assert image.header == depth.header == info.header, "rgbd_sync with approx_sync: false compares stamps"
    sync = yaml.safe_load((CONFIG / "rtabmap.yaml").read_text())["/rgbd_sync"]["ros__parameters"]
    assert sync["approx_sync"] is False
    assert info.p[0] > 0 and info.p[3] == 0.0, "fx, and no baseline"


def test_depth_converters_find_the_wall_through_the_camera_info(street: Street) -> None:
    depth, info = street.get("front/depth/image_rect"), street.get("front/depth/camera_info")
    assert not any(info.d), "PinholeCameraModel takes the image as rectified"
    assert (info.k[0], info.k[4], info.k[2], info.k[5]) == (FX, FY, CX, CY)
    metres = np.frombuffer(depth.data, np.float32).reshape(depth.height, depth.step // 4)
    np.testing.assert_allclose(metres, street_depth(), atol=0.011)  # 32FC1 is metres along z


def test_autowares_topic_gets_the_obstacles_by_a_remapping(tmp_path: Path) -> None:
    import rclpy
    from rclpy.context import Context

    from recon3d_ros.ros.depth_node import DepthNode

    context, topic = Context(), "/perception/obstacle_segmentation/pointcloud"
    rclpy.init(context=context)
    model = write_model(tmp_path / "tiny.onnx")
    arguments = ["--ros-args", "-r", f"obstacles:={topic}", "-p", f"model:={model}"]
    node = DepthNode(context=context, cli_args=arguments)
    try:
        node.trigger_configure()
        (info,) = node.get_publishers_info_by_topic(topic)
        assert info.topic_type == "sensor_msgs/msg/PointCloud2"
        compatibility, reason = qos_check_compatible(info.qos_profile, SENSOR_DATA)
        assert compatibility == QoSCompatibility.OK, reason
        assert node.parameters.base_frame == "base_link"
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def costmap() -> dict[str, Any]:
    file = yaml.safe_load((CONFIG / "nav2_costmap.yaml").read_text(encoding="utf-8"))
    return file["local_costmap"]["local_costmap"]["ros__parameters"]
