"""Every test's surroundings: a private DDS domain on this host, and no silent skip of ROS where it is required."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Set before rclpy is imported; child processes inherit it.
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_LOG_DIR", tempfile.mkdtemp(prefix="recon3d_ros_log_"))
for variable in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
    os.environ.setdefault(variable, str(ROOT / "config" / "fastdds.xml"))


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI") and importlib.util.find_spec("rclpy") is None:
        raise pytest.UsageError("CI needs rclpy: pip install -r requirements/ros-jazzy.txt")


@pytest.fixture
def shared_data() -> Path:
    """The folder of real recordings beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real recordings are not at {folder.name} beside the checkout (../shared/data)")
    return folder
