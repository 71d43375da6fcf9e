"""A real drive through the live node with the shipped network, against stored numbers of its outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from replay_summary import SUMMARY, differences, summaries


def test_every_sixth_frame_of_the_drive_gives_what_was_stored(shared_data: Path) -> None:
    stored = json.loads(SUMMARY.read_text())
    assert len(stored) == 78
    wrong = {
        index: found
        for index, row in summaries(range(0, 78, 6))
        if (found := differences(row, stored[str(index)]))
    }
    assert wrong == {}
