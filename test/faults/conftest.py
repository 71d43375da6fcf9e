"""Faults need a small model and a report."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")

from onnx_models import write_model
from world import report

__all__ = ["report"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose depth is a formula of the image; its input is 64 x 32."""
    return write_model(tmp_path_factory.mktemp("model") / "tiny.onnx", height=32, width=64)
