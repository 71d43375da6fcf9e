"""`recon3d eval`: truth by hand, and on real recordings against figures found apart from this package."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from drives import write_drive
from onnx_models import METRES_PER_FOCAL_PX, METRES_PER_GREY, write_model

from recon3d_ros.tools import cli


@pytest.fixture
def tiny_model(tmp_path: Path) -> str:
    return str(write_model(tmp_path / "tiny.onnx", height=24, width=40))


@pytest.fixture
def perfect_drive(tmp_path: Path) -> Path:
    """A drive of whose images the tiny model reads the exact depth: 4 m + 1 m for each two rows."""
    drive = write_drive(tmp_path / "drive", 2)
    metres = (4.0 + np.arange(24)).repeat(2)
    grey = np.rint((metres - METRES_PER_FOCAL_PX * 30.0) / METRES_PER_GREY).clip(0, 255)
    for index in range(2):
        (drive / "lidar" / f"{index:06d}.npy").unlink()
        image = grey[:, None, None].repeat(80, axis=1).repeat(3, axis=2).astype(np.uint8)
        cv2.imwrite(str(drive / "image" / f"{index:06d}.png"), image)
    return drive


def test_the_command_writes_every_figure_as_json(tmp_path: Path, perfect_drive: Path, tiny_model: str) -> None:
    file = tmp_path / "figures.json"
    assert cli.main(["eval", str(perfect_drive), "--model", tiny_model, "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    network = result["methods"]["network"]
    assert network["frames"] == 2 and network["invalid_share"] == 0.0 and len(result["methods"]) == 3
    # The grey levels end at 255, which is 6.6 m in this model: rows of 4, 5 and 6 m are exact to half a level, and
    # those of 7, 8 and 9 m all read 6.6 m (10 m lies in the next range).
    near = network["metric"]["1-10 m"]
    assert near["abs_rel"] == pytest.approx(np.mean([0, 0, 0, 0.4 / 7, 1.4 / 8, 2.4 / 9]), abs=2e-3)
    assert near["delta1"] == pytest.approx(5 / 6)
    assert result["seen_share"] == pytest.approx(1.0)
    assert not list(tmp_path.glob(".*partial*"))


def test_the_command_prints_tables(
    perfect_drive: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", str(perfect_drive), "--model", tiny_model, "--camera-height", "1.2"]) == 0
    printed = capsys.readouterr().out
    assert "flat ground 1.20 m below" in printed
    for row in ("| network | ", "| network, median scaled | ", "| abs_rel / delta1 |"):
        assert row in printed


def test_ground_and_what_stands_on_it_are_judged_apart(
    tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # The camera is 1.5 m and the LiDAR 1.8 m above the ground: returns 0.5 m and 1 m below the LiDAR, at 5 m and
    # at 40 m, are of what stands on it, one 1.8 m below the LiDAR at 20 m of the ground itself.
    drive = write_drive(tmp_path / "drive", 1)
    sweep = np.array([[5, 1, -0.5, 0], [40, 8, -1, 0], [20, 0, -1.8, 0]], dtype=np.float32)
    np.save(drive / "lidar" / "000000.npy", sweep)
    file = tmp_path / "figures.json"
    assert cli.main(["eval", str(drive), "--model", tiny_model, "--json", str(file)]) == 0
    surfaces = json.loads(file.read_text())["surfaces"]
    assert surfaces["ground"]["pixels"] == {"1-80 m": 1, "1-10 m": 0, "10-30 m": 1, "30-80 m": 0}
    assert surfaces["above the ground"]["pixels"] == {"1-80 m": 2, "1-10 m": 1, "10-30 m": 0, "30-80 m": 1}
    assert "| above the ground | 0.667 | " in capsys.readouterr().out


def test_the_worst_frame_is_pictured_first(tmp_path: Path, perfect_drive: Path, tiny_model: str) -> None:
    cv2.imwrite(str(perfect_drive / "image" / "000001.png"), np.full((48, 80, 3), 255, np.uint8))
    pictures = tmp_path / "pictures"
    assert cli.main(["eval", str(perfect_drive), "--model", tiny_model, "--pictures", str(pictures)]) == 0
    assert sorted(file.name for file in pictures.iterdir()) == ["01_000001.jpg", "02_000000.jpg"]


def test_pictures_are_not_mixed_with_those_of_another_run(
    tmp_path: Path, perfect_drive: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "01_000000.jpg").touch()
    command = ["eval", str(perfect_drive), "--model", tiny_model, "--pictures", str(tmp_path / "old")]
    assert cli.main(command) == 2
    assert "old: is not empty; give another folder for the pictures" in capsys.readouterr().err


def test_a_drive_without_truth_is_refused(
    perfect_drive: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (perfect_drive / "depth").iterdir():
        file.unlink()
    assert cli.main(["eval", str(perfect_drive), "--model", tiny_model]) == 2
    assert "no true depth; expected lidar/NNNNNN.npy or depth/NNNNNN.png" in capsys.readouterr().err


def test_lidar_that_never_falls_into_the_image_is_refused(
    tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    far_above = [[0, -1, 0, 0], [0, 0, -1, 50], [1, 0, 0, 0], [0, 0, 0, 1]]
    drive = write_drive(tmp_path / "drive", 1, T_camera_lidar=far_above)
    assert cli.main(["eval", str(drive), "--model", tiny_model]) == 2
    assert "000000.png: of 4 LiDAR returns 4 are in front of the camera and 0.0 %" in capsys.readouterr().err


def test_an_unreadable_image_is_skipped_and_said(
    perfect_drive: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (perfect_drive / "image" / "000001.png").write_bytes(b"no picture")
    assert cli.main(["eval", str(perfect_drive), "--model", tiny_model]) == 1
    captured = capsys.readouterr()
    assert "1 frames" in captured.out and "skipped: 1 x" in captured.err and "000001.png" in captured.err


def test_the_baselines_of_a_real_drive_are_those_found_by_brute_force(tmp_path: Path, shared_data: Path) -> None:
    model = write_model(tmp_path / "tiny.onnx", height=96, width=320)
    file = tmp_path / "figures.json"
    drive = str(shared_data / "kitti_drive")
    assert cli.main(["eval", drive, "--model", str(model), "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    # Computed apart from this package: every LiDAR return inside the image, constants tried one after another.
    assert result["methods"]["network"]["frames"] == 78
    assert result["constant"] == pytest.approx(5.7, abs=0.15)
    name = next(name for name in result["methods"] if name.startswith("best constant"))
    metrics = result["methods"][name]["metric"]["1-80 m"]
    assert metrics["abs_rel"] == pytest.approx(0.334, abs=0.004)
    assert metrics["delta1"] == pytest.approx(0.376, abs=0.006)


def test_a_real_camera_ring_is_judged_by_camera(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "tiny.onnx", height=108, width=192)  # 16:9, as the cameras: nothing is cropped
    file = tmp_path / "figures.json"
    ring = str(shared_data / "nuscenes_ring")
    assert cli.main(["eval", ring, "--model", str(model), "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    names = [f"cam_{name}" for name in ("back", "back_left", "back_right", "front", "front_left", "front_right")]
    assert list(result["cameras"]) == names
    # The best constant over the whole images, found apart from this package, is about 7 m: 0.43 to 0.46 and 0.25.
    assert result["seen_share"] > 0.99
    assert result["constant"] == pytest.approx(6.8, abs=0.3)
    name = next(name for name in result["methods"] if name.startswith("best constant"))
    assert result["methods"][name]["metric"]["1-80 m"]["abs_rel"] == pytest.approx(0.45, abs=0.02)
    assert "abs_rel / delta1 by camera" in capsys.readouterr().out
