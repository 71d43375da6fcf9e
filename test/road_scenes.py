"""Made scenes of known shape: boxes on a flat road, seen by a camera that is mounted in any way."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel

Box = tuple[float, float, float, float, float, float]  # x_min y_min z_min x_max y_max z_max, base frame


def mounting(
    x: float, y: float, z: float, *, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0
) -> npt.NDArray[np.float64]:
    """Returns T_base_camera of a camera at x, y, z metres; degrees, positive to the left, down and right."""
    cy, sy, cp, sp, cr, sr = (f(math.radians(a)) for a in (yaw, pitch, roll) for f in (math.cos, math.sin))
    turn = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    nod = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    lean = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    base_of_optical = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # REP 103
    T = np.eye(4)
    T[:3, :3] = turn @ nod @ lean @ base_of_optical
    T[:3, 3] = x, y, z
    return T


def road_depth(
    camera: CameraModel,
    T_base_camera: npt.NDArray[np.float64],
    boxes: tuple[Box, ...] = (),
    *,
    max_depth: float = 80.0,
) -> npt.NDArray[np.float32]:
    """Returns the (H, W) depth of the road z = 0 with boxes on it: +Inf beyond max_depth.

    Each ray is cut with the planes of the road and of the boxes in float64 (the slab method of ray tracing).
    """
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], axis=-1)
    directions, start = rays @ T_base_camera[:3, :3].T, T_base_camera[:3, 3]
    with np.errstate(divide="ignore"):
        road = -start[2] / directions[..., 2]
        depth = np.where(road > 0, road, np.inf)
        for box in boxes:
            first, second = ((np.array(corner) - start) / directions for corner in (box[:3], box[3:]))
            near, far = np.minimum(first, second).max(axis=-1), np.maximum(first, second).min(axis=-1)
            depth = np.minimum(depth, np.where((near <= far) & (near > 0), near, np.inf))
    depth[depth > max_depth] = np.inf
    return depth.astype(np.float32)
