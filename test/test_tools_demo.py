"""recon3d demo: a bag through a live node of its own process, over real DDS."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from drives import write_drive
from onnx_models import write_model

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")

from recon3d_ros.bags.reader import BagReader
from recon3d_ros.tools.bag_make import make_bag


def demo(output: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user would, in a process and a DDS domain of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "ROS_DOMAIN_ID"}
    return subprocess.run(
        [sys.executable, "-m", "recon3d_ros.tools.cli", "demo", "-o", str(output), *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def table(text: str) -> dict[str, list[float]]:
    """Returns the numbers of each row of the tables in a text, by the row's name."""
    rows = re.findall(r"^\| (.+?) +\|((?: +[\d.-]+ \|)+)$", text, re.MULTILINE)
    return {name: [float(number) for number in numbers.split("|")[:-1]] for name, numbers in rows}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("demo")
    make_bag(write_drive(folder / "drive", count=30), folder / "bag", compressed=True)
    write_model(folder / "model.onnx", height=32, width=64)
    result = demo(folder / "out", "--bag", folder / "bag", "--model", folder / "model.onnx")
    assert result.returncode == 0, result.stdout + result.stderr
    return result, folder / "out"


def test_every_image_is_accounted_for(run):
    counts = table(run[0].stdout)
    assert counts["images in the replay"] == [30]
    assert counts["received by the node"][0] + counts["lost on the way to the node"][0] == 30
    out = counts["depth images out"][0]
    assert out == counts["received by the node"][0] - counts["dropped, a newer one had come"][0]
    assert counts["rejected"] == [0]
    assert out >= 20
    assert counts["point clouds out"][0] == out


def test_the_recording_holds_what_the_node_published(run):
    out = table(run[0].stdout)["depth images out"][0]
    with BagReader(run[1] / "out.mcap") as reader:
        counts = {topic.name: topic.count for topic in reader.topics.values()}
        seconds = (reader.end_ns - reader.start_ns) * 1e-9
    assert seconds < 60  # diagnostics from before the first /clock have the stamp 0
    for topic in ("depth/image_rect", "depth/camera_info", "points", "image_rect"):
        assert counts[f"/camera/{topic}"] == out
    assert counts["/tf_static"] == 1


def test_the_picture_shows_three_moments(run):
    picture = cv2.imread(str(run[1] / "preview.png"))
    assert picture is not None
    assert picture.std() > 5


def test_the_depth_error_is_that_of_the_published_depth_against_the_drives_own(run):
    # The true depth is 4 m plus 1 m for each of 24 rows of half size, but for its first column. The network's
    # 64 x 32 is the 80 x 48 image without 4 rows at the top and bottom, times 0.8; pixel centres are integers.
    rows, columns = np.mgrid[:24, 1:40]
    u = np.rint((2 * columns + 0.5 + 0.5) * 0.8 - 0.5).astype(int)
    v = np.rint((2 * rows + 0.5 - 4 + 0.5) * 0.8 - 0.5).astype(int)
    inside = (v >= 0) & (v < 32)
    true = (4.0 + rows)[inside]
    errors = []
    with BagReader(run[1] / "out.mcap") as reader:
        for message in reader.messages(["/camera/depth/image_rect"]):
            depth = np.frombuffer(reader.deserialise(message).data, np.float32).reshape(32, 64)
            errors.append(np.mean(np.abs(depth[v[inside], u[inside]] - true) / true))
    assert table(run[0].stdout)["against the exact depth"][0] == pytest.approx(np.mean(errors), abs=0.0006)


def test_a_model_that_cannot_be_read_ends_the_demo_with_the_nodes_reason(tmp_path: Path):
    make_bag(write_drive(tmp_path / "drive", count=2), tmp_path / "bag", compressed=True)
    (tmp_path / "model.onnx").write_bytes(b"")
    result = demo(tmp_path / "out", "--bag", tmp_path / "bag", "--model", tmp_path / "model.onnx")
    assert result.returncode != 0
    assert "model.onnx: is empty" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_a_real_drive_at_its_own_pace_loses_no_frame_uncounted(tmp_path: Path, shared_data: Path):
    make_bag(shared_data / "kitti_drive", tmp_path / "bag", compressed=True)
    write_model(tmp_path / "model.onnx", height=192, width=640)
    result = demo(tmp_path / "out", "--bag", tmp_path / "bag", "--model", tmp_path / "model.onnx")
    counts = table(result.stdout)
    assert counts["images in the replay"] == [78]
    assert counts["lost on the way to the node"] == [0]
    assert counts["depth images out"][0] + counts["dropped, a newer one had come"][0] == 78
