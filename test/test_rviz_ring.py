"""The rviz2 layout of a six-camera ring against a live node with six cameras: every display finds its topic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("onnx", reason="onnx, which makes the model of these tests, is not installed")

from onnx_models import write_model
from rclpy.qos import QoSCompatibility, qos_check_compatible
from ros_harness import RosHarness
from test_rviz import MESSAGE_TYPES, subscription_qos

RVIZ = Path(__file__).resolve().parents[1] / "rviz" / "ring.rviz"
TEXT = RVIZ.read_text(encoding="utf-8")
CAMERAS = re.search(r'cameras:="([^"]+)"', TEXT)[1].split(", ")


def displays(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields the displays that subscribe to a topic, those in groups too."""
    for item in items:
        if "Topic" in item:
            yield item
        yield from displays(item.get("Displays", []))


ON_TOPICS = list(displays(yaml.safe_load(TEXT)["Visualization Manager"]["Displays"]))


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RosHarness]:
    """A configured node with the cameras that the layout's launch line names."""
    model = write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")
    harness = RosHarness(model=str(model), cameras=CAMERAS)
    harness.node.trigger_configure()
    yield harness
    harness.close()


def test_it_shows_the_merged_clouds_and_an_image_of_each_camera() -> None:
    topics = [display["Topic"]["Value"] for display in ON_TOPICS if display["Enabled"]]
    assert len(CAMERAS) == 6
    assert topics == ["/points", "/obstacles", *(f"/{camera}/image_rect" for camera in CAMERAS)]


@pytest.mark.parametrize("display", ON_TOPICS, ids=lambda display: display["Name"])
def test_a_display_connects_to_the_live_node(harness: RosHarness, display: dict[str, Any]) -> None:
    topic = display["Topic"]["Value"]
    harness.wait_for(lambda: harness.tester.count_publishers(topic) > 0, f"a publisher on {topic}")
    (publisher,) = harness.tester.get_publishers_info_by_topic(topic)
    assert publisher.topic_type == MESSAGE_TYPES[display["Class"]]
    compatibility, reason = qos_check_compatible(publisher.qos_profile, subscription_qos(display))
    assert compatibility == QoSCompatibility.OK, reason
