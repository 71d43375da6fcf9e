"""Calibration files: our JSON, ROS's YAML, and files that are neither."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recon3d_ros.core.calibration import load_calibration
from recon3d_ros.core.camera import CameraError, CameraModel

CONTENT = {
    "width": 640,
    "height": 360,
    "K": [[500.0, 0.0, 300.5], [0.0, 480.0, 190.25], [0.0, 0.0, 1.0]],
    "distortion_model": "plumb_bob",
    "D": [-0.28, 0.07, 1e-05, -2e-06, 0.0],
    "T_camera_lidar": [[0.0, -1.0, 0.0, 0.1], [0.0, 0.0, -1.0, -0.2], [1.0, 0.0, 0.0, -0.3], [0.0, 0.0, 0.0, 1.0]],
    "rate_hz": 10,
    "camera_height_m": 1.65,
}
CAMERA = CameraModel(640, 360, 500.0, 480.0, 300.5, 190.25, "plumb_bob", (-0.28, 0.07, 1e-05, -2e-06, 0.0))
# As camera_calibration's cameracalibrator writes it.
ROS_YAML = """
image_width: 640
image_height: 360
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [500., 0., 300.5, 0., 480., 190.25, 0., 0., 1.]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.28, 0.07, 1e-05, -2e-06, 0.0]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1., 0., 0., 0., 1., 0., 0., 0., 1.]
projection_matrix:
  rows: 3
  cols: 4
  data: [450., 0., 301., 0., 0., 440., 191., 0., 0., 0., 1., 0.]
"""


def write(folder: Path, text: str, name: str = "calibration.json") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json_gives_camera_lidar_rate_and_height(tmp_path: Path, indent: int | str | None) -> None:
    calibration = load_calibration(write(tmp_path, json.dumps(CONTENT, indent=indent)))
    assert calibration.camera == CAMERA
    np.testing.assert_array_equal(calibration.T_camera_lidar, CONTENT["T_camera_lidar"])
    assert (calibration.rate_hz, calibration.camera_height_m) == (10.0, 1.65)


def test_what_a_file_does_not_say_is_none(tmp_path: Path) -> None:
    content = {key: CONTENT[key] for key in ("width", "height", "K")}
    calibration = load_calibration(write(tmp_path, json.dumps(content)))
    assert calibration.camera == CAMERA.undistorted()
    assert calibration.T_camera_lidar is calibration.rate_hz is calibration.camera_height_m is None


def test_a_camera_info_yaml_of_ros_gives_the_raw_camera(tmp_path: Path) -> None:
    assert load_calibration(write(tmp_path, ROS_YAML, "front.yaml")).camera == CAMERA


def test_our_keys_in_yaml_are_read_too(tmp_path: Path) -> None:
    text = "{width: 640, height: 360, K: [[500, 0, 300.5], [0, 480, 190.25], [0, 0, 1]]}"
    assert load_calibration(write(tmp_path, text, "front.yaml")).camera == CAMERA.undistorted()


def test_the_recorded_drives_calibration_is_read(shared_data: Path) -> None:
    calibration = load_calibration(shared_data / "kitti_drive" / "calibration.json")
    assert (calibration.camera.width, calibration.camera.height) == (1242, 375)
    assert calibration.camera.fx == pytest.approx(721.5377)
    assert calibration.camera_height_m == 1.65


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"K": None}, "calibration.json: K has 1 numbers, expected 9"),
        ({"K": [[0.0] * 3] * 3}, "calibration.json: focal lengths are fx=0.0"),
        ({"width": "wide"}, "calibration.json: invalid literal"),
        ({"T_camera_lidar": [[1, 0], [0, 1]]}, r"T_camera_lidar has shape \(2, 2\), expected \(4, 4\)"),
        ({"T_camera_lidar": (2 * np.eye(4)).tolist()}, "T_camera_lidar's upper left 3x3 is not a rotation"),
        ({"T_camera_lidar": np.diag([-1.0, 1, 1, 1]).tolist()}, "is not a rotation"),
        ({"T_camera_lidar": np.transpose(CONTENT["T_camera_lidar"]).tolist()}, "it may be transposed"),
        ({"T_camera_lidar": np.diag([1.0, 1, 1, np.nan]).tolist()}, r"last row is \[0\.0, 0\.0, 0\.0, nan\]"),
        ({"rate_hz": 0}, "rate_hz is 0.0, expected a positive number"),
        ({"camera_height_m": -1.5}, "camera_height_m is -1.5, expected a positive number"),
    ],
)
def test_a_wrong_value_is_refused_with_the_files_name(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        load_calibration(write(tmp_path, json.dumps({**CONTENT, **changes})))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", json.dumps({"height": 1}), "a.json: lacks 'width'; it has height"),
        ("a.json", "{", "a.json: is neither JSON nor YAML"),
        ("a.yaml", "a: [", "a.yaml: is neither JSON nor YAML"),
        ("a.yaml", "just text", "a.yaml: holds no keys, expected width, height and K"),
        ("a.yaml", "camera_matrix: {data: [1]}", "a.yaml: lacks 'image_width'"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        load_calibration(write(tmp_path, text, name))


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(CameraError, match=r"nowhere.json: cannot be read \(No such file"):
        load_calibration("nowhere.json")
