"""`recon3d view`: what it writes is read back by rerun's own tool."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="onnx, which makes the model of these tests, is not installed")

from drives import camera_messages, write_bag, write_drive
from onnx_models import write_model

from recon3d_ros.tools import cli

RERUN = "rerun-sdk is not installed: pip install -r requirements/view.txt"


def rerun(*arguments: str) -> str:
    command = [sys.executable, "-m", "rerun", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def rows_of(path: Path) -> Counter[str]:
    """Returns how many moments each entity has in a file."""
    chunks = re.findall(r"with (\d+) rows .*? - /(\S+) - data columns", rerun("rrd", "print", str(path)))
    rows: Counter[str] = Counter()
    for count, entity in chunks:
        rows[entity] += int(count)
    return rows


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_model(tmp_path / "tiny.onnx", height=24, width=40))


def test_every_moment_of_a_drive_has_image_depth_cloud_scale_and_timing(tmp_path: Path, model: str) -> None:
    pytest.importorskip("rerun", reason=RERUN)
    drive, file = write_drive(tmp_path / "drive", 3), tmp_path / "out" / "drive.rrd"
    assert cli.main(["view", str(drive), "-o", str(file), "--model", model, "--camera-height", "1.5"]) == 0
    rows = rows_of(file)
    for entity in ("view/image", "view/depth", "points", "scale/scale", "timing/infer"):
        assert rows[f"camera/{entity}"] == 3, entity
    rerun("rrd", "verify", str(file))  # raises where it is not whole
    assert [path.name for path in file.parent.iterdir()] == ["drive.rrd"]


def test_every_camera_of_a_bag_is_shown(tmp_path: Path, model: str) -> None:
    pytest.importorskip("rerun", reason=RERUN)
    messages = camera_messages(2, namespace="/front") + camera_messages(2, namespace="/left")
    bag, file = write_bag(tmp_path / "bag", sorted(messages, key=lambda item: item[2])), tmp_path / "bag.rrd"
    topics = [word for name in ("front", "left") for word in ("--image-topic", f"/{name}/image_raw")]
    assert cli.main(["view", str(bag), "-o", str(file), "--model", model, *topics]) == 0
    rows = rows_of(file)
    assert rows["front/points"] == rows["left/points"] == 2


def test_a_running_node_is_shown(tmp_path: Path, model: str) -> None:
    pytest.importorskip("rerun", reason=RERUN)
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")
    from recon3d_ros.ros.node_process import NodeProcess, use_ros_environment

    use_ros_environment()
    bag, file = write_bag(tmp_path / "bag", camera_messages(10)), tmp_path / "live.rrd"
    recon3d = [sys.executable, "-m", "recon3d_ros.tools.cli"]
    with NodeProcess({"model": model, "diagnostics_period": 0.1}, log=tmp_path / "node.log"):
        player = subprocess.Popen([*recon3d, "replay", str(bag), "--loop"], stdout=subprocess.DEVNULL)
        try:
            command = [*recon3d, "view", "--live", "camera", "--frames", "12", "-o", str(file)]
            subprocess.run(command, check=True, timeout=60)
        finally:
            player.terminate()
            player.wait()
    rows = rows_of(file)
    assert rows["camera/view/depth"] == rows["camera/points"] == rows["camera/scale/scale"] == 12
    assert rows["camera/timing/infer"] > 0


def test_a_recording_without_a_usable_image_leaves_no_file(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rerun", reason=RERUN)
    drive, file = write_drive(tmp_path / "drive", 1), tmp_path / "drive.rrd"
    (drive / "image" / "000000.png").write_bytes(b"no picture")
    assert cli.main(["view", str(drive), "-o", str(file), "--model", model]) == 2
    assert "no image can be used" in capsys.readouterr().err
    assert not list(tmp_path.glob("*rrd*")) and not list(tmp_path.glob(".*rrd*"))


def test_without_the_viewer_the_command_says_how_to_install_it(tmp_path: Path, model: str) -> None:
    drive = write_drive(tmp_path / "drive", 1)
    # None in sys.modules makes an import fail as if the package were not installed.
    code = (
        "import sys; sys.modules['rerun'] = None\n"
        "from recon3d_ros.tools import cli\n"
        f"sys.exit(cli.main(['view', {str(drive)!r}, '--model', {model!r}]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "the viewer is not installed: pip install 'recon3d_ros[view]'" in result.stderr


def test_without_a_screen_the_command_says_what_to_do(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rerun", reason=RERUN)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert cli.main(["view", str(write_drive(tmp_path / "drive", 1)), "--model", model]) == 2
    assert "write a file with -o FILE.rrd" in capsys.readouterr().err
