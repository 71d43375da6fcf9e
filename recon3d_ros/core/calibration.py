"""Calibration files: our calibration.json and the camera_info YAML of ROS's camera_calibration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.camera_info import DISTORTION_ALIASES

# A real calibration file has a thousand bytes, and lists in lists; what has more only keeps the reader busy.
MAX_BYTES = 2**14
MAX_DEPTH = 16


@dataclass(frozen=True, eq=False)
class Calibration:
    """What is known of a recorded camera.

    Attributes:
        camera: intrinsics and distortion of the recorded images.
        T_camera_lidar: (4, 4), p_camera = T_camera_lidar @ p_lidar, metres; None without a LiDAR.
        rate_hz: images a second, or None.
        camera_height_m: of the camera above the ground, or None.
    """

    camera: CameraModel
    T_camera_lidar: npt.NDArray[np.float64] | None = None
    rate_hz: float | None = None
    camera_height_m: float | None = None


def load_calibration(path: Path | str) -> Calibration:
    """Returns the calibration in a file.

    Args:
        path: a .json file with width, height, K (3x3) and optionally distortion_model, D, T_camera_lidar (4x4),
            rate_hz and camera_height_m; or a YAML file with the same keys or with those of camera_calibration
            (image_width, image_height, camera_matrix, distortion_model, distortion_coefficients).

    Raises:
        CameraError: if the file cannot be read, lacks a key, or is not the calibration of a camera.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CameraError(f"{path}: has {size} bytes, expected a calibration file of at most {MAX_BYTES}")
        content = path.read_bytes()
    except OSError as error:
        raise CameraError(f"{path}: cannot be read ({error.strerror}); give a calibration file") from error
    try:
        text = content.decode()
        # YAML is not quite a superset of JSON: it reads 1e-05 as a string and refuses tabs.
        keys = json.loads(text) if path.suffix == ".json" else _read_yaml(text)
    except (ValueError, RecursionError) as error:
        raise CameraError(f"{path}: is neither JSON nor YAML: {error}") from error
    if not isinstance(keys, dict):
        raise CameraError(f"{path}: holds no keys, expected width, height and K")
    try:
        return _calibration(_from_camera_info(keys) if "camera_matrix" in keys else keys)
    except KeyError as error:
        raise CameraError(f"{path}: lacks {error}; it has {', '.join(map(str, keys))}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise CameraError(f"{path}: {error}") from error


def _read_yaml(text: str) -> Any:
    """Returns what a YAML text says; raises ValueError where it is none."""
    import yaml  # here: the core loads without it, and a node takes its calibration from messages

    depth = 0
    try:
        for event in yaml.parse(text):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            # A few aliases of aliases make a value of any size.
            if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
                raise ValueError(f"it has an alias (*name) or more than {MAX_DEPTH} lists in lists")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _calibration(content: dict[str, Any]) -> Calibration:
    model = content.get("distortion_model") or "none"
    camera = CameraModel.from_calibration(
        width=content["width"],
        height=content["height"],
        K=content["K"],
        distortion_model=DISTORTION_ALIASES.get(model, model),
        distortion=content.get("D") or (),
    )
    transform = content.get("T_camera_lidar")
    return Calibration(
        camera=camera,
        T_camera_lidar=None if transform is None else _rigid_transform(transform),
        rate_hz=_positive(content, "rate_hz"),
        camera_height_m=_positive(content, "camera_height_m"),
    )


def _from_camera_info(content: dict[str, Any]) -> dict[str, Any]:
    """Returns the keys of a ROS camera_info file under our names."""
    return {
        "width": content["image_width"],
        "height": content["image_height"],
        "K": content["camera_matrix"]["data"],
        "distortion_model": content.get("distortion_model"),
        "D": content.get("distortion_coefficients", {}).get("data"),
    }


def _rigid_transform(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise CameraError(f"T_camera_lidar has shape {matrix.shape}, expected (4, 4)")
    rotation = matrix[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
        raise CameraError("T_camera_lidar's upper left 3x3 is not a rotation")
    if not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0.0, 0.0, 0.0, 1.0)):
        raise CameraError(
            f"T_camera_lidar's last row is {matrix[3].tolist()}, expected 0 0 0 1 below a finite translation in "
            "metres; it may be transposed"
        )
    return matrix


def _positive(content: dict[str, Any], key: str) -> float | None:
    if content.get(key) is None:
        return None
    value = float(content[key])
    if not value > 0:
        raise CameraError(f"{key} is {value}, expected a positive number")
    return value
