"""The depth node's parameters."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")

import dataclasses

from rclpy.parameter import Parameter
from ros_harness import RosHarness

from recon3d_ros.ros.parameters import DepthNodeParameters, ParameterError


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
        ({"backend": "magic"}, "onnxruntime"),
        ({"min_range": 90.0}, "less than max_range"),
        ({"cameras": ["a", "a"]}, "different names"),
        ({"cameras": ["a", "b"], "image_topic": "/image"}, "absolute"),
        ({"mxa_range": 3.0}, "mxa_range"),
        ({"cameras": ["bad name!"]}, "no ROS topic name"),
        ({"image_topic": "a b"}, "no ROS topic name"),
    ],
    ids=lambda value: str(value),
)
def test_a_wrong_override_stops_the_node_and_says_what_is_expected(override, words):
    with pytest.raises(ParameterError, match=words):
        RosHarness(**override)


def test_a_live_parameter_is_checked_before_it_is_taken(harness):
    results = harness.node.set_parameters([Parameter("max_range", value=0.1)])
    assert not results[0].successful
    assert "min_range" in results[0].reason
    assert harness.node.parameters.max_range == DepthNodeParameters().max_range


def test_a_set_up_parameter_cannot_change_while_the_node_runs(harness):
    results = harness.node.set_parameters([Parameter("model", value="other.onnx")])
    assert not results[0].successful
    assert "read-only" in results[0].reason
