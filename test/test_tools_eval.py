"""`recon3d eval`: truth by hand, baselines by brute force."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from drives import write_drive
from onnx_models import METRES_PER_FOCAL_PX, METRES_PER_GREY, write_model

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.drive import load_drive
from recon3d_ros.core.pipeline import DepthFrame
from recon3d_ros.tools import cli
from recon3d_ros.tools.depth_error import (
    JudgedPixels,
    best_cap,
    best_constant,
    errors_by_range,
    ground_plane,
    judged_pixels,
    true_points,
)

CAMERA = CameraModel(width=40, height=24, fx=30.0, fy=31.0, cx=18.5, cy=9.875)


def judged(target: list[float], *, rows: list[float] | None = None, prediction: object = None) -> JudgedPixels:
    values = np.array(target)
    predicted = np.full_like(values, np.nan) if prediction is None else np.array(prediction, dtype=float)
    return JudgedPixels(values, predicted, np.array(rows if rows else [0.0] * len(target)), CAMERA)


def test_lidar_returns_are_compared_at_the_pixel_they_project_to(tmp_path: Path) -> None:
    drive = load_drive(write_drive(tmp_path / "drive", 1))
    points = true_points(drive, drive.images[0], CAMERA)
    assert points is not None
    # The LiDAR is 0.3 m above and 0.1 m behind: (10, 0, 0) there is x 0, y -0.3, z 9.9 in the camera.
    np.testing.assert_allclose(points[0], [0.0, -0.3, 9.9], atol=1e-6)
    depth = np.arange(24 * 40, dtype=np.float32).reshape(24, 40) + 1
    pixels = judged_pixels(
        DepthFrame(np.zeros((24, 40, 3), np.uint8), depth, None, CAMERA, {}), points, max_depth=1e9
    )
    # By hand, the first: u = 18.5 + 30 * 0 = 18.5 -> 18 (to even), v = 9.875 + 31 * -0.3 / 9.9 = 8.936 -> 9;
    # the second, (-1, 0.2, 4.9): u = 12.38, v = 11.14; the third, (3, -1.3, 19.9): u = 23.02, v = 7.85;
    # the fourth, (-8, 0.7, 39.9): u = 12.48, v = 10.42.
    np.testing.assert_allclose(pixels.target, [9.9, 4.9, 19.9, 39.9], rtol=1e-6)
    np.testing.assert_array_equal(pixels.row, [9, 11, 8, 10])
    np.testing.assert_array_equal(pixels.prediction, [depth[9, 18], depth[11, 12], depth[8, 23], depth[10, 12]])


def test_exact_depth_of_half_the_size_is_placed_by_its_own_camera(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", 1)
    (drive / "lidar" / "000000.npy").unlink()
    camera = CameraModel(width=80, height=48, fx=60.0, fy=62.0, cx=37.5, cy=20.25)
    points = true_points(load_drive(drive), drive / "image" / "000000.png", camera)
    assert points is not None and len(points) == 24 * 39  # the first column is invalid
    pixels = CAMERA.project(points)  # the camera of half the size
    np.testing.assert_allclose(pixels.reshape(24, 39, 2)[5, 3], [4, 5], atol=1e-4)
    np.testing.assert_allclose(points.reshape(24, 39, 3)[5, 3, 2], 9.0, rtol=1e-6)


def test_out_of_range_predictions_count_as_the_models_maximum_and_out_of_range_truth_is_left_out() -> None:
    depth = np.full((24, 40), np.inf, dtype=np.float32)
    points = np.array([[0, 0, 0.9], [0, 0, 50.0], [0, 0, 81.0], [100.0, 0, 10.0]])
    pixels = judged_pixels(
        DepthFrame(np.zeros((24, 40, 3), np.uint8), depth, None, CAMERA, {}), points, max_depth=70.0
    )
    np.testing.assert_array_equal(pixels.target, [50.0])
    np.testing.assert_array_equal(pixels.prediction, [70.0])


def test_the_best_constant_is_the_one_that_brute_force_finds() -> None:
    rng = np.random.default_rng(3)
    frames = [judged(list(np.exp(rng.normal(2.3, 0.8, count)).clip(1, 80))) for count in (50, 200, 17)]

    def error(c: float) -> float:
        return float(np.mean([np.mean(np.abs(c - frame.target) / frame.target) for frame in frames]))

    tried = np.arange(1.0, 80.0, 0.005)
    brute = min(tried, key=error)
    assert best_constant(frames) == pytest.approx(brute, abs=0.02)
    assert error(best_constant(frames)) <= error(brute) + 1e-9


def test_the_ground_plane_is_right_on_flat_ground_and_capped_above_the_horizon() -> None:
    # By hand: 10 rows below the horizon, z = 31 * 1.5 / 10 = 4.65 m.
    frame = judged([1.0, 1.0, 1.0], rows=[19.875, 10.875, 3.0])
    np.testing.assert_allclose(ground_plane(frame, camera_height=1.5, cap=30.0), [4.65, 30.0, 30.0])
    wall = judged([12.0] * 9, rows=list(range(9)))
    assert best_cap([wall], 1.5) == 12.0


def test_errors_by_range_average_over_frames_and_leave_invalid_predictions_out() -> None:
    frames = [
        judged([5.0, 20.0], prediction=[10.0, 20.0]),
        judged([5.0, 50.0, 8.0], prediction=[5.0, 25.0, np.nan]),
    ]
    errors = dict(errors_by_range(frames, lambda frame: frame.prediction))
    assert errors[(1.0, 10.0)]["abs_rel"] == pytest.approx((1.0 + 0.0) / 2)
    assert errors[(10.0, 30.0)]["abs_rel"] == 0.0
    assert errors[(30.0, 80.0)]["abs_rel"] == 0.5
    assert errors[(1.0, 80.0)]["abs_rel"] == pytest.approx((0.5 + 0.25) / 2)


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


def test_the_command_prints_tables_and_json(
    tmp_path: Path, perfect_drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "tiny.onnx", height=24, width=40)
    assert cli.main(["eval", str(perfect_drive), "--model", str(model), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["frames"] == 2 and result["invalid_share"] == 0.0
    near = result["table"]["network"]["1-10 m"]
    # The grey levels end at 255, which is 6.6 m in this model: rows of 4, 5 and 6 m are exact to half a level, and
    # those of 7, 8, 9 and 10 m all read 6.6 m.
    assert near["abs_rel"] == pytest.approx(np.mean([0, 0, 0, 0.4 / 7, 1.4 / 8, 2.4 / 9, 3.4 / 10]), abs=2e-3)
    assert near["delta1"] == pytest.approx(5 / 7)
    assert len(result["table"]) == 3

    assert cli.main(["eval", str(perfect_drive), "--model", str(model), "--camera-height", "1.2"]) == 0
    printed = capsys.readouterr().out
    assert "flat ground 1.2 m below" in printed and "| network | " in printed and "| abs_rel / delta1 |" in printed


def test_a_drive_without_truth_is_refused(
    tmp_path: Path, perfect_drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (perfect_drive / "depth").iterdir():
        file.unlink()
    model = write_model(tmp_path / "tiny.onnx", height=24, width=40)
    assert cli.main(["eval", str(perfect_drive), "--model", str(model)]) == 2
    assert "no true depth; expected lidar/NNNNNN.npy or depth/NNNNNN.png" in capsys.readouterr().err


def test_the_baselines_of_a_real_drive_are_those_found_by_brute_force(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "tiny.onnx", height=96, width=320)
    assert cli.main(["eval", str(shared_data / "kitti_drive"), "--model", str(model), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    # Computed apart from this package: every LiDAR return inside the image, constants tried one after another.
    assert result["frames"] == 78
    assert result["constant"] == pytest.approx(5.7, abs=0.15)
    name = next(name for name in result["table"] if name.startswith("best constant"))
    assert result["table"][name]["1-80 m"]["abs_rel"] == pytest.approx(0.334, abs=0.004)
    assert result["table"][name]["1-80 m"]["delta1"] == pytest.approx(0.376, abs=0.006)
