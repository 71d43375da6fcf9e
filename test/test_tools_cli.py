"""The `recon3d` command itself."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from drives import write_drive
from onnx_models import write_model

import recon3d_ros
from recon3d_ros.tools import cli
from recon3d_ros.tools.bag_make import make_bag

ROOT = Path(__file__).resolve().parents[1]

# Every package that `recon3d --help` must do without.
BLOCK = """
import sys
for name in ("rclpy", "torch", "onnxruntime", "numpy", "cv2", "rosbags", "tqdm"):
    sys.modules[name] = None
from recon3d_ros.tools import cli
cli.main(["--help"])
"""


def test_help_needs_nothing_but_python_and_is_fast() -> None:
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", BLOCK], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(command in result.stdout for command in cli.COMMANDS)
    assert time.perf_counter() - start < 5


def run_without_ros(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.modules['rclpy'] = None; from recon3d_ros.tools import cli; "
    code += f"sys.exit(cli.main({list(arguments)}))"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["replay", "run", "bag", "eval"])
def test_every_command_explains_itself_without_ros(command: str) -> None:
    result = run_without_ros(command, "-h")
    assert result.returncode == 0, result.stderr
    assert f"usage: recon3d {command}" in result.stdout


def test_replay_without_ros_says_how_to_get_it(tmp_path: Path) -> None:
    result = run_without_ros("replay", "bag")
    assert result.returncode == 2
    assert "needs ROS 2: source /opt/ros" in result.stderr and "Traceback" not in result.stderr


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.strip() == f"recon3d {recon3d_ros.__version__}"


def test_a_wrong_command_is_refused() -> None:
    with pytest.raises(SystemExit) as error:
        cli.main(["walk"])
    assert error.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["run", "nowhere", "-o", "out"], "nowhere: does not exist"),
        (["run", "{drive}", "-o", "{tmp}/out", "--model", "{tmp}/none.onnx"], "cannot be read"),
        (["run", "{drive}", "-o", "{tmp}/out", "--stride", "0"], "--stride is 0, expected 1 or more"),
        (["run", "{drive}", "-o", "{tmp}/out", "--calibration", "{tmp}/none.yaml"], "none.yaml"),
        (["bag", "info", "{drive}"], "is no rosbag2"),
        (["replay", "{drive}", "--rate", "-1"], "--rate is -1, expected a positive number"),
        (["replay", "{drive}", "--remap", "a:=b"], "expected /from:=/to"),
    ],
)
def test_a_users_error_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    drive, model = write_drive(tmp_path / "drive", 1), write_model(tmp_path / "tiny.onnx")
    filled = [argument.format(drive=drive, tmp=tmp_path) for argument in arguments]
    if arguments[0] == "run" and "--model" not in filled:
        filled += ["--model", str(model)]
    assert cli.main(filled) == 2
    error = capsys.readouterr().err
    assert reason in error and error.startswith(f"recon3d {arguments[0]}: ") and error.count("\n") == 1


def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        cli.main(["--debug", "bag", "info", str(tmp_path / "nowhere")])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--min-range", "5", "--max-range", "5"], "--min-range is 5 and --max-range 5"),
        (["--max-range", "-1"], "--max-range -1"),
        (["--min-range", "nan"], "--min-range is nan"),
    ],
)
def test_ranges_that_leave_nothing_are_refused(
    tmp_path: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = write_drive(tmp_path / "drive", 1)
    assert cli.main(["run", str(drive), "-o", str(tmp_path / "out"), *arguments]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_fewer_than_no_threads_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drive = write_drive(tmp_path / "drive", 1)
    assert cli.main(["run", str(drive), "-o", str(tmp_path / "out"), "--threads", "-3"]) == 2
    assert "threads is -3, expected 0 or more" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "replay"])
@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf"])
def test_a_pace_that_is_none_is_refused(command: str, rate: str, tmp_path: Path) -> None:
    where = ["-o", str(tmp_path)] if command == "demo" else [str(tmp_path / "bag")]
    result = run_without_ros(command, *where, "--rate", rate)
    assert result.returncode == 2
    assert f"--rate is {rate}, expected a positive number" in result.stderr


def test_eval_of_a_bag_says_how_to_write_it_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_bag(write_drive(tmp_path / "drive", 1), tmp_path / "bag")
    assert cli.main(["eval", str(tmp_path / "bag")]) == 2
    assert "is a rosbag2; write it out first" in capsys.readouterr().err


def test_a_file_that_holds_no_parameters_gives_no_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")
    (tmp_path / "vehicle.yaml").write_text("- no\n- parameters\n", encoding="utf-8")
    command = ["policy", "--params-file", str(tmp_path / "vehicle.yaml"), "-o", str(tmp_path / "policy.xml")]
    assert cli.main(command) == 2
    assert "Couldn't parse params file" in capsys.readouterr().err
    assert not (tmp_path / "policy.xml").exists()
