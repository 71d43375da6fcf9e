"""Images with known depth, from drives and camera rings: truth worked by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drives import make_image, write_drive

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.drive import DriveError, load_drive
from recon3d_ros.core.lidar import LidarError
from recon3d_ros.core.ring import is_ring, load_ring
from recon3d_ros.core.truth import TrueFrames, true_points

CAMERA = CameraModel(width=40, height=24, fx=30.0, fy=31.0, cx=18.5, cy=9.875)
HALF = math.sqrt(0.5)
# Quaternions w x y z: none; a quarter turn to the left; optical axes of cameras that look forward and to the left.
NONE, LEFT = [1.0, 0.0, 0.0, 0.0], [HALF, 0.0, 0.0, HALF]
LOOKS_FORWARD, LOOKS_LEFT = [0.5, -0.5, 0.5, -0.5], [HALF, -HALF, 0.0, 0.0]
RING_K = [[60.0, 0.0, 37.5], [0.0, 62.0, 20.25], [0.0, 0.0, 1.0]]


def sensor(
    translation: list[float],
    rotation: list[float],
    base: list[float],
    *,
    turn: list[float] = NONE,
    K: Any = RING_K,
) -> dict[str, Any]:
    return {
        "stamp_us": 0,
        "size_wh": K and [80, 48],
        "K": K,
        "sensor_in_base": {"translation_m": translation, "rotation_wxyz": rotation},
        "base_in_map": {"translation_m": base, "rotation_wxyz": turn},
    }


def write_ring(folder: Path, **changes: Any) -> Path:
    """Writes a LiDAR 2 m above the base, a camera that looks forward and one that looks to the left."""
    folder.mkdir()
    sensors = {
        "lidar": sensor([0.0, 0.0, 2.0], NONE, [100.0, 50.0, 0.0], K=None),
        # One metre further on along the map's x when this image was taken.
        "front": sensor([1.0, 0.0, 1.5], LOOKS_FORWARD, [101.0, 50.0, 0.0]),
        # The vehicle had turned by a quarter to its left, so that this camera looks back along the map's x.
        "left": sensor([0.0, 0.5, 1.6], LOOKS_LEFT, [100.0, 50.0, 0.0], turn=LEFT),
        **changes,
    }
    for name in ("front", "left"):
        cv2.imwrite(str(folder / f"{name}.jpg"), make_image(1))
    # Straight ahead, 12 m; half right ahead; and behind.
    sweep = np.array([[12, 0, 0, 1], [10, -2, -0.5, 1], [-20, 1, 0.25, 1]], dtype=np.float32)
    np.save(folder / "lidar.npy", sweep)
    (folder / "calibration.json").write_text(json.dumps({k: v for k, v in sensors.items() if v is not None}))
    return folder


def test_a_rings_points_are_moved_by_each_cameras_pose_at_its_own_stamp(tmp_path: Path) -> None:
    front, left = load_ring(write_ring(tmp_path / "ring"))
    assert (front.name, left.name) == ("front", "left")
    # In the map the points are (112, 50, 2), (110, 48, 1.5) and (80, 51, 2.25). The front camera is at
    # (102, 50, 1.5): x right is -y, y down is -z, z forward is x.
    np.testing.assert_allclose(front.points, [[0, -0.5, 10], [2, 0, 8], [-1, -0.75, -22]], atol=1e-5)
    # The left camera is at (99.5, 50, 1.6) and looks along -x of the map: right is +y, down -z, forward -x.
    np.testing.assert_allclose(left.points, [[0, -0.4, -12.5], [-2, 0.1, -10.5], [1, -0.65, 19.5]], atol=1e-5)
    assert (front.camera_height, left.camera_height) == (1.5, 1.6)


def test_the_frames_of_a_ring_carry_their_cameras_names(tmp_path: Path) -> None:
    frames = list(TrueFrames(write_ring(tmp_path / "ring")))
    assert [(f.name, f.camera_name, f.camera_height) for f in frames] == [
        ("front", "front", 1.5),
        ("left", "left", 1.6),
    ]
    assert frames[0].camera == CameraModel(80, 48, 60.0, 62.0, 37.5, 20.25)
    assert frames[0].image.data.shape == (48, 80, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lidar": None}, "has 0 sensors without a K, expected one LiDAR"),
        ({"extra": sensor([0, 0, 1], LOOKS_FORWARD, [0, 0, 0])}, "has no extra.jpg"),
        ({"front": {"K": RING_K, "sensor_in_base": {}}}, "a sensor lacks 'size_wh'"),
        ({"front": sensor([0, 0, 1], [1.0, 1.0, 0.0, 0.0], [0, 0, 0])}, "expected a unit quaternion w x y z"),
        ({"front": sensor([0, 0, 1], [math.nan] * 4, [0, 0, 0])}, "expected a unit quaternion w x y z"),
    ],
)
def test_a_ring_that_lacks_something_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((DriveError, LidarError), match=message):
        load_ring(write_ring(tmp_path / "ring", **changes))


@pytest.mark.parametrize("part", [0.0, 0.5, 0.95])
def test_a_sweep_that_is_cut_off_is_refused(tmp_path: Path, part: float) -> None:
    ring, drive = write_ring(tmp_path / "ring"), write_drive(tmp_path / "drive", 1)
    for sweep in (ring / "lidar.npy", drive / "lidar" / "000000.npy"):
        content = sweep.read_bytes()
        sweep.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DriveError, match=r"lidar\.npy: cannot be read"):
        load_ring(ring)
    with pytest.raises(DriveError, match=r"000000\.npy: cannot be read"):
        list(TrueFrames(drive))


def test_a_drive_is_no_ring(tmp_path: Path) -> None:
    assert not is_ring(write_drive(tmp_path / "drive", 1))
    assert not is_ring(tmp_path / "nothing")


def test_lidar_is_brought_into_the_camera(tmp_path: Path) -> None:
    drive = load_drive(write_drive(tmp_path / "drive", 1))
    points = true_points(drive, drive.images[0], CAMERA)
    assert points is not None
    # The LiDAR is 0.3 m above and 0.1 m behind: (10, 0, 0) there is x 0, y -0.3, z 9.9 in the camera.
    np.testing.assert_allclose(points[0], [0.0, -0.3, 9.9], atol=1e-6)


def test_exact_depth_of_half_the_size_is_placed_by_its_own_camera(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", 1)
    (drive / "lidar" / "000000.npy").unlink()
    camera = CameraModel(width=80, height=48, fx=60.0, fy=62.0, cx=37.5, cy=20.25)
    points = true_points(load_drive(drive), drive / "image" / "000000.png", camera)
    assert points is not None and len(points) == 24 * 39  # the first column is invalid
    pixels = CAMERA.project(points)  # the camera of half the size
    np.testing.assert_allclose(pixels.reshape(24, 39, 2)[5, 3], [4, 5], atol=1e-4)
    np.testing.assert_allclose(points.reshape(24, 39, 3)[5, 3, 2], 9.0, rtol=1e-6)


def test_the_calibrations_height_stands_unless_another_is_given(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", 1)
    assert [f.camera_height for f in TrueFrames(drive)] == [1.5]
    assert [f.camera_height for f in TrueFrames(drive, camera_height=2.0)] == [2.0]
    with pytest.raises(DriveError, match="height is 0, expected metres above the ground"):
        TrueFrames(drive, camera_height=0)


def test_images_of_another_size_than_their_camera_are_skipped_and_then_named(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", 1)
    cv2.imwrite(str(drive / "image" / "000000.png"), make_image(0, height=24, width=40))
    frames = TrueFrames(drive)
    with pytest.raises(DriveError, match=r"no true depth.*skipped 1 x.*000000\.png"):
        list(frames)
    assert sum(frames.skipped.values()) == 1


def test_a_drive_without_calibration_is_refused(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", 1)
    (drive / "calibration.json").unlink()
    with pytest.raises(DriveError, match=r"has no calibration\.json"):
        TrueFrames(drive)


def test_lidar_that_is_behind_the_camera_is_refused(tmp_path: Path) -> None:
    backwards = [[0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 0], [0, 0, 0, 1]]
    with pytest.raises(LidarError, match="of 4 LiDAR returns 0 are in front of the camera"):
        list(TrueFrames(write_drive(tmp_path / "drive", 1, T_camera_lidar=backwards)))
