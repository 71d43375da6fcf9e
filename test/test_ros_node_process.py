"""The node as a process of its own: it says why it cannot start, and stops cleanly."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")

from onnx_models import write_model

from recon3d_ros.ros.node_process import NodeProcess


def wait_for(condition, what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"max_range": "far"}, "expecting type 'DOUBLE'"),
        ({"mxa_range": 3.0}, "'mxa_range' is unknown"),
        ({"cameras": []}, "'cameras'"),
        ({"cameras": "[left"}, "parse parameter override"),
        ({"model": "nowhere.onnx"}, "nowhere.onnx: cannot be read"),
        ({"qos_overrides./camera/points.publisher.reliability": "sure"}, "policy `reliability`: `sure`"),
    ],
    ids=["type", "name", "empty", "syntax", "model", "qos"],
)
def test_a_node_that_cannot_start_ends_with_status_1_and_its_reason(tmp_path: Path, parameters, words):
    log = tmp_path / "node.log"
    with NodeProcess(parameters, log=log) as process:
        wait_for(lambda: process.poll() is not None, "the node to end")
        assert process.poll() == 1
    assert words in log.read_text()
    assert "Traceback" not in log.read_text()


def test_ctrl_c_ends_a_running_node_with_status_0(tmp_path: Path):
    log = tmp_path / "node.log"
    process = NodeProcess({"model": str(write_model(tmp_path / "model.onnx"))}, log=log)
    wait_for(lambda: "configured" in log.read_text(), "the node to be configured")
    time.sleep(0.5)
    assert process.stop() == 0
    assert "Traceback" not in log.read_text()


def test_the_node_starts_in_the_folder_above_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "recon3d_ros").mkdir()
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "node.log"
    with NodeProcess({}, log=log) as process:
        wait_for(lambda: "configured: street_lite0" in log.read_text() or process.poll() is not None, "the node")
        assert process.poll() is None, log.read_text()
