"""The static transforms of a vehicle with one calibrated camera (REP 103, REP 105)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.calibration import Calibration

BASE_FRAME = "base_link"
LIDAR_FRAME = "lidar"
# Optical (x right, y down, z forward) to base (x forward, y left, z up).
R_BASE_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

Transform = tuple[str, str, npt.NDArray[np.float64]]


def static_transforms(calibration: Calibration, camera_frame: str) -> list[Transform]:
    """Returns (parent, child, T_parent_child) of each transform that the calibration knows.

    base_link lies on the ground below the camera, which looks level along its x axis; without a camera
    height it is left out.

    Args:
        calibration: of the drive.
        camera_frame: the camera's optical frame.
    """
    transforms: list[Transform] = []
    if calibration.camera_height_m is not None:
        T_base_camera = np.eye(4)
        T_base_camera[:3, :3] = R_BASE_OPTICAL
        T_base_camera[2, 3] = calibration.camera_height_m
        transforms.append((BASE_FRAME, camera_frame, T_base_camera))
    if calibration.T_camera_lidar is not None:
        transforms.append((camera_frame, LIDAR_FRAME, calibration.T_camera_lidar))
    return transforms
