"""The rviz2 configuration against the live node: each display finds its topic, its type and a QoS that fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("onnx", reason="onnx, which makes the model of these tests, is not installed")

from onnx_models import write_model
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from ros_harness import RosHarness

RVIZ = Path(__file__).resolve().parents[1] / "rviz" / "recon3d.rviz"
MANAGER = yaml.safe_load(RVIZ.read_text(encoding="utf-8"))["Visualization Manager"]
MESSAGE_TYPES = {
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
    "rviz_default_plugins/PointCloud2": "sensor_msgs/msg/PointCloud2",
}
DISPLAYS = {display["Name"]: display for display in MANAGER["Displays"]}
ON_TOPICS = [name for name, display in DISPLAYS.items() if "Topic" in display]


def subscription_qos(display: dict[str, Any]) -> QoSProfile:
    """Returns the QoS that rviz2 subscribes with."""
    topic = display["Topic"]
    return QoSProfile(
        depth=topic["Depth"],
        history=HistoryPolicy.get_from_short_key(topic["History Policy"].lower().replace(" ", "_")),
        reliability=ReliabilityPolicy.get_from_short_key(topic["Reliability Policy"].lower().replace(" ", "_")),
        durability=DurabilityPolicy.get_from_short_key(topic["Durability Policy"].lower().replace(" ", "_")),
        liveliness=LivelinessPolicy.AUTOMATIC,
    )


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RosHarness]:
    """A configured node with its default topics."""
    model = write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")
    harness = RosHarness(model=str(model))
    harness.node.trigger_configure()
    yield harness
    harness.close()


def test_the_view_shows_an_image_its_depth_and_its_cloud() -> None:
    shown = [DISPLAYS[name]["Class"].removeprefix("rviz_default_plugins/") for name in ON_TOPICS]
    assert sorted(shown) == ["Image", "Image", "PointCloud2"]
    assert all(display["Enabled"] for display in DISPLAYS.values())


@pytest.mark.parametrize("name", ON_TOPICS)
def test_a_display_connects_to_the_live_node(harness: RosHarness, name: str) -> None:
    display = DISPLAYS[name]
    topic = display["Topic"]["Value"]
    harness.wait_for(lambda: harness.tester.count_publishers(topic) > 0, f"a publisher on {topic}")
    (publisher,) = harness.tester.get_publishers_info_by_topic(topic)
    assert publisher.topic_type == MESSAGE_TYPES[display["Class"]]
    compatibility, reason = qos_check_compatible(publisher.qos_profile, subscription_qos(display))
    assert compatibility == QoSCompatibility.OK, reason


def test_the_depth_display_has_a_fixed_range() -> None:
    # rviz2's automatic range casts to uint16 and takes +Inf, which is sky here, as the largest value.
    assert DISPLAYS["Depth"]["Normalize Range"] is False
    assert DISPLAYS["Depth"]["Min Value"] < DISPLAYS["Depth"]["Max Value"]
