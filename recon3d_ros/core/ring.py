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

from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.drive import IMAGE_SUFFIXES, DriveError, load_sweep
from recon3d_ros.core.lidar import LidarError, Points, Pose, pose_matrix, transform


@dataclass(frozen=True, eq=False)
class RingCamera:
    """A camera of the ring at its moment.

    Attributes:
        name: of the camera.
        image: its file.
        camera: of the image.
        camera_height: above the base, which lies on the ground, metres.
        points: (N, 3) the LiDAR's returns, metres, this camera's optical frame at its own stamp.
        T_base_camera: (4, 4), p_base = T_base_camera @ p_optical.
        T_map_base: (4, 4) of the vehicle at the camera's stamp.
        stamp_ns: of the image; 0 where the calibration has no stamp_us.
    """

    name: str
    image: Path
    camera: CameraModel
    camera_height: float
    points: Points
    T_base_camera: Pose
    T_map_base: Pose
    stamp_ns: int


def is_ring(folder: Path) -> bool:
    """Returns whether a folder's calibration.json is that of a ring."""
    try:
        content = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and any(_is_sensor(entry) for entry in content.values())


def load_ring(folder: Path) -> list[RingCamera]:
    """Returns the cameras of a ring, by their names.

    Raises:
        DriveError: if the calibration lacks a key, or an image or the one sweep is missing.
        CameraError: if a K is not that of a camera.
        LidarError: if a rotation is no unit quaternion.
    """
    content = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    sensors = {name: entry for name, entry in content.items() if _is_sensor(entry)}
    lidars = [name for name, entry in sensors.items() if entry.get("K") is None]
    if len(lidars) != 1:
        raise DriveError(f"{folder}: calibration.json has {len(lidars)} sensors without a K, expected one LiDAR")
    try:
        sweep = load_sweep(folder / f"{lidars[0]}.npy")
        in_map = transform(sweep, _T_map_sensor(sensors[lidars[0]]))
        return [
            RingCamera(
                name=name,
                image=_image(folder, name),
                camera=_camera(sensor),
                camera_height=float(sensor["sensor_in_base"]["translation_m"][2]),
                points=transform(in_map, _T_sensor_map(sensor)),
                T_base_camera=_pose(sensor, "sensor_in_base"),
                T_map_base=_pose(sensor, "base_in_map"),
                stamp_ns=round(float(sensor.get("stamp_us", 0)) * 1e3),
            )
            for name, sensor in sorted(sensors.items())
            if name != lidars[0]
        ]
    except (KeyError, TypeError) as error:
        raise DriveError(
            f"{folder}: calibration.json: a sensor lacks {error}; expected K, size_wh, and sensor_in_base and "
            "base_in_map with translation_m and rotation_wxyz"
        ) from error
    except (CameraError, DriveError, LidarError):
        raise
    except (ValueError, IndexError, OverflowError) as error:
        raise DriveError(f"{folder}: calibration.json: {error}") from error


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


def _T_map_sensor(sensor: Mapping[str, Any]) -> Pose:
    return np.asarray(_pose(sensor, "base_in_map") @ _pose(sensor, "sensor_in_base"), dtype=np.float64)


def _pose(sensor: Mapping[str, Any], name: str) -> Pose:
    return pose_matrix(sensor[name]["translation_m"], rotation_wxyz=sensor[name]["rotation_wxyz"])


def _T_sensor_map(sensor: Mapping[str, Any]) -> Pose:
    return np.asarray(np.linalg.inv(_T_map_sensor(sensor)), dtype=np.float64)
