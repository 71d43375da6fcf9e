"""The depth node's parameters."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")

import dataclasses

from rclpy.parameter import Parameter
from ros_harness import RosHarness

from recon3d_ros.ros.parameter_field import ParameterError
from recon3d_ros.ros.parameters import DepthNodeParameters


@pytest.fixture
def harness():
    harness = RosHarness()
    yield harness
    harness.close()


def test_every_field_is_declared_with_its_default_and_a_description(harness):
    for item in dataclasses.fields(DepthNodeParameters):
        value = harness.node.get_parameter(item.name).value
        assert (tuple(value) if isinstance(item.default, tuple) else value) == item.default
        assert harness.node.describe_parameter(item.name).description.endswith(".")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"max_range": "far"}, "max_range"),
        ({"threads": -1}, "threads"),
        ({"crop_position": 1.5}, "crop_position"),
        ({"network_pixels": -1}, "network_pixels"),
        ({"network_pixels": 100_000_000}, "network_pixels"),
        ({"cameras": ["front"], "front.network_pixels": 2.5}, "expected a value like 122880"),
        ({"backend": "magic"}, "onnxruntime"),
        ({"min_range": 90.0}, "less than max_range"),
        ({"cameras": ["a", "a"]}, "different names"),
        ({"cameras": ["a", "b"], "image_topic": "/image"}, "absolute"),
        ({"mxa_range": 3.0}, "mxa_range"),
        ({"cameras": ["bad name!"]}, "no ROS topic name"),
        ({"image_topic": "a b"}, "no ROS topic name"),
        ({"cameras": ["front"], "front.mxa_range": 3.0}, "front.mxa_range"),
        ({"cameras": ["front"], "rear.max_range": 3.0}, "rear.max_range"),
        ({"cameras": ["front"], "front.threads": 2}, "front.threads"),
        ({"cameras": ["front"], "front.crop_position": 1.5}, "out of range"),
        ({"cameras": ["front"], "front.crop_position": "top"}, "expected a value like 0.5"),
        ({"cameras": ["front"], "front.scale_mode": "magic"}, "model, ground, lidar"),
        ({"cameras": ["a", "b"], "a.image_topic": "/c", "b.image_topic": "/c"}, "'a' and 'b' would both use /c"),
        ({"scale_mode": "lidar"}, "lidar_topic is empty"),
        ({"static_transforms": "a b 0 0 0 0 0 0 1; b a 0 0 0 0 0 0 1"}, "circle"),
        ({"ego_mask": "0 0, 10 0"}, "3 or more"),
        ({"ego_box": "0 0 0 1 1"}, "x_min y_min z_min"),
        ({"scan_min_height": 3.0}, "height band"),
    ],
    ids=lambda value: str(value),
)
def test_a_wrong_override_stops_the_node_and_says_what_is_expected(override, words):
    with pytest.raises(ParameterError, match=words):
        RosHarness(**override)


def test_the_pixels_of_the_network_are_set_before_the_node_drives(harness):
    results = harness.node.set_parameters([Parameter("network_pixels", value=50_000)])
    assert not results[0].successful and "read-only" in results[0].reason


def test_a_live_parameter_is_checked_before_it_is_taken(harness):
    results = harness.node.set_parameters([Parameter("max_range", value=0.1)])
    assert not results[0].successful
    assert "min_range" in results[0].reason
    assert harness.node.parameters.max_range == DepthNodeParameters().max_range


def test_a_set_up_parameter_cannot_change_while_the_node_runs(harness):
    results = harness.node.set_parameters([Parameter("model", value="other.onnx")])
    assert not results[0].successful
    assert "read-only" in results[0].reason


def test_a_camera_can_have_values_of_its_own_and_the_nodes_hold_for_the_others():
    overrides = {
        "cameras": ["front", "rear"],
        "max_range": 60.0,
        "rear.max_range": 20.0,
        "rear.image_topic": "/r/i",
    }
    harness = RosHarness(**overrides)
    try:
        own = harness.node._parameter_set.of
        assert (own("front").max_range, own("rear").max_range) == (60.0, 20.0)
        assert (own("front").image_topic, own("rear").image_topic) == ("image_raw", "/r/i")
        (result,) = harness.node.set_parameters([Parameter("max_range", value=50.0)])
        assert result.successful
        (result,) = harness.node.set_parameters([Parameter("front.max_range", value=70.0)])
        assert result.successful
        assert own("front").max_range == 60.0, "the set that a frame works with never changes"
        own = harness.node._parameter_set.of
        assert (own("front").max_range, own("rear").max_range) == (70.0, 20.0)
        (result,) = harness.node.set_parameters([Parameter("rear.image_topic", value="other")])
        assert not result.successful and "read-only" in result.reason
        (result,) = harness.node.set_parameters([Parameter("rear.max_range", Parameter.Type.NOT_SET)])
        assert not result.successful and "rear.max_range" in result.reason
    finally:
        harness.close()


def test_a_camera_that_changes_its_scale_mode_needs_what_the_mode_needs(harness):
    (result,) = harness.node.set_parameters([Parameter("camera.scale_mode", value="lidar")])
    assert not result.successful and "lidar_topic" in result.reason


def test_every_parameter_of_a_camera_is_described(harness):
    description = harness.node.describe_parameter("camera.ego_mask").description
    assert "Of this camera alone" in description and "Polygons" in description
