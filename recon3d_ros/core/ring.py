"""One moment of a ring of cameras around a LiDAR as a folder; each sensor has its own stamp, pose and intrinsics.

<camera>.jpg          one image of each camera
<lidar>.npy           (N, 3 or more) float32: x y z in metres, in the LiDAR's frame
calibration.json      of each of them: K and size_wh (null for the LiDAR), and translation_m and rotation_wxyz of
                      sensor_in_base and of base_in_map, the vehicle's pose at that sensor's stamp
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.drive import IMAGE_SUFFIXES, DriveError
from recon3d_ros.core.lidar import Points, Pose, transform


@dataclass(frozen=True, eq=False)
class RingCamera:
    """A camera of the ring at its moment.

    Attributes:
        name: of the camera.
        image: its file.
        camera: of the image.
        camera_height: above the base, which lies on the ground, metres.
        points: (N, 3) the LiDAR's returns, metres, this camera's optical frame at its own stamp.
    """

    name: str
    image: Path
    camera: CameraModel
    camera_height: float
    points: Points


def is_ring(folder: Path) -> bool:
    """Returns whether a folder's calibration.json is that of a ring."""
    try:
        content = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and any(_is_sensor(entry) for entry in content.values())


def load_ring(folder: Path) -> list[RingCamera]:
    """Returns the cameras of a ring, by their names.

    Raises:
        DriveError: if the calibration lacks a key, or an image or the one sweep is missing.
        CameraError: if a K is not that of a camera.
    """
    content = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    sensors = {name: entry for name, entry in content.items() if _is_sensor(entry)}
    lidars = [name for name, entry in sensors.items() if entry.get("K") is None]
    if len(lidars) != 1:
        raise DriveError(f"{folder}: calibration.json has {len(lidars)} sensors without a K, expected one LiDAR")
    try:
        sweep = _read_sweep(folder / f"{lidars[0]}.npy")
        in_map = transform(sweep, _T_map_sensor(sensors[lidars[0]]))
        return [
            RingCamera(
                name=name,
                image=_image(folder, name),
                camera=_camera(sensor),
                camera_height=float(sensor["sensor_in_base"]["translation_m"][2]),
                points=transform(in_map, _inverse(_T_map_sensor(sensor))),
            )
            for name, sensor in sorted(sensors.items())
            if name != lidars[0]
        ]
    except (KeyError, TypeError) as error:
        raise DriveError(
            f"{folder}: calibration.json: a sensor lacks {error}; expected K, size_wh, and sensor_in_base and "
            "base_in_map with translation_m and rotation_wxyz"
        ) from error


def _is_sensor(entry: object) -> bool:
    return isinstance(entry, dict) and "sensor_in_base" in entry


def _camera(sensor: Mapping[str, Any]) -> CameraModel:
    width, height = sensor["size_wh"]
    return CameraModel.from_calibration(width=width, height=height, K=sensor["K"])


def _image(folder: Path, name: str) -> Path:
    for suffix in IMAGE_SUFFIXES:
        if (folder / f"{name}{suffix}").exists():
            return folder / f"{name}{suffix}"
    raise DriveError(f"{folder}: has no {name}{IMAGE_SUFFIXES[0]}, the image of a camera in its calibration.json")


def _read_sweep(path: Path) -> npt.NDArray[np.float32]:
    try:
        sweep = np.load(path)
    except (OSError, ValueError) as error:
        raise DriveError(f"{path}: cannot be read ({error}), expected the LiDAR's sweep") from error
    if sweep.dtype != np.float32 or sweep.ndim != 2 or sweep.shape[1] < 3:
        raise DriveError(f"{path}: is {sweep.dtype}{list(sweep.shape)}, expected float32[N,3] or more columns")
    return np.asarray(sweep, dtype=np.float32)


def _T_map_sensor(sensor: Mapping[str, Any]) -> Pose:
    T_map_base, T_base_sensor = _pose(sensor["base_in_map"]), _pose(sensor["sensor_in_base"])
    return np.asarray(T_map_base @ T_base_sensor, dtype=np.float64)


def _inverse(T_target_source: Pose) -> Pose:
    """Returns T_source_target of a rigid (4, 4) transform."""
    T = np.eye(4)
    T[:3, :3] = T_target_source[:3, :3].T
    T[:3, 3] = -T_target_source[:3, :3].T @ T_target_source[:3, 3]
    return T


def _pose(pose: Mapping[str, Any]) -> Pose:
    """Returns the (4, 4) matrix of a translation and a unit quaternion (w x y z)."""
    quaternion = np.asarray(pose["rotation_wxyz"], dtype=np.float64)
    if quaternion.shape != (4,) or abs(np.linalg.norm(quaternion) - 1.0) > 1e-3:
        raise CameraError(f"rotation_wxyz is {quaternion.tolist()}, expected a unit quaternion w x y z")
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    T = np.eye(4)
    T[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    T[:3, 3] = pose["translation_m"]
    return T
