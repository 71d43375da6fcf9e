"""Depth images of a ball on a known place, seen from all around, by ray and sphere alone."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

HEIGHT, WIDTH = 90, 140
K = np.array([[110.0, 0.0, 66.5], [0.0, 112.0, 47.25], [0.0, 0.0, 1.0]])
CENTER, RADIUS = np.array([1.0, -2.0, 0.5]), 0.4  # metres
COLOR = (200, 60, 30)  # RGB


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
