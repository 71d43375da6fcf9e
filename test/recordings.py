"""Made data sets in the layouts of KITTI raw, nuScenes and depth folders, with known points."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 48, 80
K = [[60.0, 0.0, 37.5], [0.0, 62.0, 20.25], [0.0, 0.0, 1.0]]
# x forward, y left, z up to x right, y down, z forward.
R_OPTICAL_BASE = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
DRIVE = "2011_09_26/2011_09_26_drive_0001_sync"


def write_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size=(HEIGHT, WIDTH, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), pixels)


def write_kitti(root: Path, points_camera: np.ndarray, *, numbers: tuple[int, ...] = (5, 6)) -> Path:
    """Writes KITTI raw with a LiDAR 0.3 m above camera 0, and colour camera 2 0.06 m to the left of it.

    Args:
        root: Where to.
        points_camera: (N, 3) of each sweep, metres, in camera 2's frame.
        numbers: Of the frames.

    Returns:
        The split's file.
    """
    P = np.hstack([np.array(K), np.zeros((3, 1))])
    P[:, 3] = np.array(K) @ [0.06, 0, 0]  # camera 2 sees everything 0.06 m farther to the right
    day = root / "2011_09_26"
    day.mkdir(parents=True)
    text = ["calib_time: 09-Jan-2012 13:57:47", "S_rect_02: 80 48", "R_rect_00: 1 0 0 0 1 0 0 0 1"]
    text.append("P_rect_02: " + " ".join(map(str, P.reshape(-1))))
    (day / "calib_cam_to_cam.txt").write_text("\n".join(text) + "\n")
    rotation = " ".join(map(str, R_OPTICAL_BASE.reshape(-1)))
    (day / "calib_velo_to_cam.txt").write_text(f"R: {rotation}\nT: 0 -0.3 0\n")
    points_velodyne = (points_camera - [0.06, -0.3, 0]) @ R_OPTICAL_BASE
    for number in numbers:
        write_image(root / DRIVE / "image_02" / "data" / f"{number:010d}.png", number)
        sweep = np.hstack([points_velodyne, np.zeros((len(points_velodyne), 1))]).astype("<f4")
        path = root / DRIVE / "velodyne_points" / "data" / f"{number:010d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep.tofile(path)
    split = root / "split.txt"
    split.write_text("".join(f"{DRIVE} {number} l\n" for number in numbers))
    return split


def quaternion_about_z(angle: float) -> list[float]:
    return [math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)]


def write_nuscenes(root: Path, points_map: np.ndarray) -> Path:
    """Writes one sample: the vehicle drives 2 m forward and turns 0.1 rad between sweep and image.

    The vehicle is at (10, 20) looking along the map's x axis at the sweep; the camera is 1.5 m above its base and
    looks forward, the LiDAR 1.8 m above it and turned by 90 degrees to the left.
    """
    tables = {
        "sensor": [
            {"token": "s-cam", "channel": "CAM_FRONT"},
            {"token": "s-lidar", "channel": "LIDAR_TOP"},
        ],
        "calibrated_sensor": [
            # The optical frame in the base: the quaternion of R_OPTICAL_BASE transposed, worked out by hand.
            {
                "token": "c-cam",
                "sensor_token": "s-cam",
                "translation": [0, 0, 1.5],
                "rotation": [0.5, -0.5, 0.5, -0.5],
                "camera_intrinsic": K,
            },
            {
                "token": "c-lidar",
                "sensor_token": "s-lidar",
                "translation": [0, 0, 1.8],
                "rotation": quaternion_about_z(math.pi / 2),
                "camera_intrinsic": [],
            },
        ],
        "ego_pose": [
            {"token": "e-sweep", "translation": [10, 20, 0], "rotation": quaternion_about_z(0.0)},
            {"token": "e-image", "translation": [12, 20, 0], "rotation": quaternion_about_z(0.1)},
        ],
        "sample_data": [
            {
                "token": "d-cam",
                "sample_token": "sample",
                "ego_pose_token": "e-image",
                "calibrated_sensor_token": "c-cam",
                "filename": "samples/CAM_FRONT/a.png",
                "timestamp": 100_000,
                "is_key_frame": True,
                "width": WIDTH,
                "height": HEIGHT,
            },
            {
                "token": "d-lidar",
                "sample_token": "sample",
                "ego_pose_token": "e-sweep",
                "calibrated_sensor_token": "c-lidar",
                "filename": "samples/LIDAR_TOP/a.pcd.bin",
                "timestamp": 0,
                "is_key_frame": True,
                "width": 0,
                "height": 0,
            },
        ],
    }
    (root / "v1.0-mini").mkdir(parents=True)
    for name, rows in tables.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
    write_image(root / "samples" / "CAM_FRONT" / "a.png")
    x, y, z = (points_map - [10, 20, 1.8]).T
    sweep = np.zeros((len(points_map), 5), dtype="<f4")
    sweep[:, :3] = np.stack([y, -x, z], axis=1)  # into a frame that is turned by 90 degrees to the left
    path = root / "samples" / "LIDAR_TOP" / "a.pcd.bin"
    path.parent.mkdir(parents=True)
    sweep.tofile(path)
    return root
