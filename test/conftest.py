"""Every test's surroundings: a private DDS domain on this host, and no silent skip of ROS where it is required."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path

import pytest

from recon3d_ros.core.fusion import import_open3d

ROOT = Path(__file__).resolve().parents[1]
# Tests skip where these are absent, which must not happen unseen.
NEEDED_IN_CI = {"rclpy": "ros-jazzy", "rosbags": "runtime", "torch": "training", "open3d": "dev"}

# Set before rclpy is imported; child processes inherit it.
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_LOG_DIR", tempfile.mkdtemp(prefix="recon3d_ros_log_"))
for variable in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
    os.environ.setdefault(variable, str(ROOT / "config" / "fastdds.xml"))


def pytest_configure(config: pytest.Config) -> None:
    for module, requirements in NEEDED_IN_CI.items():
        if os.environ.get("CI") and importlib.util.find_spec(module) is None:
            raise pytest.UsageError(f"CI needs {module}: pip install -r requirements/{requirements}.txt")
    if os.environ.get("CI"):
        import_open3d()  # its wheel needs a system library: where that is missing, dozens of tests would skip


@pytest.fixture
def shared_data() -> Path:
    """The folder of real recordings beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real recordings are not at {folder.name} beside the checkout (../shared/data)")
    return folder


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose depth is a formula of the image (onnx_models); its input is 64 x 32."""
    from onnx_models import write_model

    return write_model(tmp_path_factory.mktemp("model") / "tiny.onnx", height=32, width=64)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Takes the test's rows of docs/reliability.md."""
    return Report(request.node.name)


class Report:
    """Rows of docs/reliability.md, written to the file that FAULT_REPORT names."""

    def __init__(self, test: str) -> None:
        self._test = test

    def __call__(self, fault: str, seen: str, recovery: float | None, frames: str = "") -> None:
        """Notes what the user sees, and the seconds until good frames flow again (None: they never stopped)."""
        took = "-" if recovery is None else f"{recovery:.1f}"
        if path := os.environ.get("FAULT_REPORT"):
            with Path(path).open("a") as file:
                file.write(f"| {fault} | {seen} | {took} | {frames} | `{self._test}` |\n")
