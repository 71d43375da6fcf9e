"""Depth images of a ball on a known place, seen from all around, by ray and sphere alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import drives
import numpy as np
import numpy.typing as npt
import pytest
from drives import ros_message, write_bag

from recon3d_ros.core.fusion import import_open3d
from recon3d_ros.core.fusion_settings import FusionError

HEIGHT, WIDTH = 90, 140
K = np.array([[110.0, 0.0, 66.5], [0.0, 112.0, 47.25], [0.0, 0.0, 1.0]])
CENTER, RADIUS = np.array([1.0, -2.0, 0.5]), 0.4  # metres
COLOR = (200, 60, 30)  # RGB
START, STEP = 1_700_000_000_000_000_000, 100_000_000  # nanoseconds
# The optical frame in base_link: x forward, y left, z up, one metre above it; its quaternion (x y z w) by hand.
R_BASE_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
Q_BASE_OPTICAL = (-0.5, 0.5, -0.5, 0.5)


def open3d_or_skip() -> Any:
    """Returns the module; skips the test, or the module that is being collected, where it cannot be imported."""
    try:
        return import_open3d()
    except FusionError as error:
        pytest.skip(str(error), allow_module_level=True)


def look_at(eye: npt.ArrayLike, target: npt.ArrayLike = CENTER) -> npt.NDArray[np.float64]:
    """Returns T_world_camera of an upright camera (the world's z is up) that looks from one point to another."""
    eye = np.asarray(eye, dtype=np.float64)
    forward = np.asarray(target) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = eye
    return pose


def around(count: int = 24, distance: float = 1.5) -> list[npt.NDArray[np.float64]]:
    """Returns poses spread evenly over the sphere of views around the ball (a Fibonacci lattice)."""
    rows = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * rows / count), np.pi * (1 + 5**0.5) * rows
    directions = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1)
    return [look_at(CENTER + distance * direction) for direction in directions]


def ball_depth(pose: npt.NDArray[np.float64], *, far: float = np.nan) -> npt.NDArray[np.float32]:
    """Returns the (HEIGHT, WIDTH) float32 depth of the ball, metres along z; `far` beside it."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1], np.ones(rows.shape)], axis=-1)
    center = pose[:3, :3].T @ (CENTER - pose[:3, 3])
    a, b, c = (rays**2).sum(-1), rays @ center, center @ center - RADIUS**2
    root = b**2 - a * c
    with np.errstate(invalid="ignore"):
        return np.where(root >= 0, (b - np.sqrt(root)) / a, far).astype(np.float32)


def write_recording(folder: Path, count: int = 24, *, layout: str = "drive") -> Path:
    """Writes depth, colour and poses of the ball, as a drive or in the layout of 7-Scenes."""
    color = np.full((HEIGHT, WIDTH, 3), COLOR[::-1], dtype=np.uint8)
    poses = around(count)
    for index, pose in enumerate(poses):
        depth_mm = np.rint(np.nan_to_num(1000 * ball_depth(pose))).astype(np.uint16)
        if layout == "drive":
            files = {"depth": f"depth/{index:06d}.png", "color": f"image/{index:06d}.png"}
        else:
            files = {"depth": f"{index:06d}.depth.png", "color": f"{index:06d}.color.png"}
            np.savetxt(folder / f"{index:06d}.pose.txt", pose)
        for name, image in (("depth", depth_mm), ("color", color)):
            path = folder / files[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), image)
    if layout == "drive":
        content = {"width": WIDTH, "height": HEIGHT, "K": K.tolist()}
        (folder / "calibration.json").write_text(json.dumps(content))
        np.savetxt(folder / "poses.txt", [pose[:3].reshape(-1) for pose in poses])
    else:
        np.savetxt(folder / "intrinsics.txt", K)
    return folder


def transform(parent: str, child: str, position: Any, xyzw: Any, stamp_ns: int) -> Any:
    message = ros_message(
        "geometry_msgs/msg/TransformStamped",
        header=drives.header(stamp_ns, parent),
        child_frame_id=child,
        transform=ros_message(
            "geometry_msgs/msg/Transform",
            translation=ros_message("geometry_msgs/msg/Vector3", **dict(zip("xyz", position, strict=True))),
            rotation=ros_message("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", xyzw, strict=True))),
        ),
    )
    return ros_message("tf2_msgs/msg/TFMessage", transforms=[message])


def quaternion(rotation: np.ndarray) -> tuple[float, ...]:
    """Returns x y z w by trimesh, which the code under test does not use."""
    import trimesh

    w, x, y, z = trimesh.transformations.quaternion_from_matrix(rotation)
    return x, y, z, w


def write_depth_bag(
    path: Path,
    *,
    encoding: str = "16UC1",
    unit: float = 1000.0,
    tf_from: int = 0,
    tf_late: int = 0,
    has_tf: bool = True,
    info_height: int = HEIGHT,
) -> Path:
    """Writes the ball's depth with CameraInfo, /tf of base_link in odom, and /tf_static of the camera."""
    messages: list[tuple[str, Any, int]] = []
    mount = transform("base_link", "camera_optical_frame", (0.0, 0.0, 1.0), Q_BASE_OPTICAL, START)
    messages.append(("/tf_static", mount, START))
    T_base_camera = np.eye(4)
    T_base_camera[:3, :3], T_base_camera[2, 3] = R_BASE_OPTICAL, 1.0
    for index, pose in enumerate(around(24)):
        stamp = START + index * STEP
        depth = np.nan_to_num(ball_depth(pose)) * unit
        pixels = np.rint(depth).astype(np.uint16) if encoding == "16UC1" else depth.astype(np.float32)
        info = {"width": WIDTH, "height": info_height, "k": K.reshape(-1)}
        info["p"] = np.hstack([K, np.zeros((3, 1))]).reshape(-1)
        messages.append(("/camera/depth/camera_info", drives.camera_info_message(stamp, **info), stamp))
        messages.append(("/camera/depth/image", drives.image_message(pixels, stamp, encoding=encoding), stamp))
        if has_tf and index >= tf_from:
            T = pose @ np.linalg.inv(T_base_camera)
            messages.append(
                ("/tf", transform("odom", "base_link", T[:3, 3], quaternion(T), stamp + tf_late * STEP), stamp)
            )
    return write_bag(path, messages)
