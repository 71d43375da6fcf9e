"""What kind of surface a pixel shows, from the exact depth of a rendered frame alone."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel

Mask = npt.NDArray[np.bool_]

STEEP = math.radians(30.0)  # a surface is level or upright up to this angle
JUMP = 0.05  # change of inverse depth beside a pixel, relative, from which on it lies at an edge
WINDOW = 5  # pixels; shards store depth in half precision, whose steps a slope over fewer pixels would follow


def surface_masks(depth: npt.NDArray[np.float32], camera: CameraModel) -> dict[str, Mask]:
    """Returns the (H, W) masks of ground, upright and other surfaces and of edges; a pixel is in one at most.

    The inverse depth of a plane is linear in the pixel: for n . P = c and P = z (x, y, 1),
    1 / z = (n_x x + n_y y + n_z) / c. Its gradient gives the normal, its curvature the edges.

    Args:
        depth: (H, W) float32 metres along z; NaN and Inf (sky) are in no mask, their neighbours are edges.
        camera: Level to within a few degrees.
    """
    finite = np.isfinite(depth) & (depth > 0)
    inverse = np.divide(1.0, depth, out=np.zeros_like(depth), where=finite)
    curvature = np.maximum(*(np.abs(cv2.filter2D(inverse, -1, kernel)) for kernel in _CURVATURE))
    edge = cv2.dilate((finite & (curvature > JUMP * np.maximum(inverse, 1e-6))).astype(np.uint8), _SQUARE) > 0
    du = cv2.blur(cv2.filter2D(inverse, -1, _SLOPE), (WINDOW, WINDOW)) * camera.fx
    dv = cv2.blur(cv2.filter2D(inverse, -1, _SLOPE.T), (WINDOW, WINDOW)) * camera.fy
    rays = camera.rays()
    normal = np.stack([du, dv, inverse - rays[..., 0] * du - rays[..., 1] * dv], axis=-1)
    down = normal[..., 1] / np.maximum(np.linalg.norm(normal, axis=-1), 1e-9)
    inner = finite & ~edge
    is_ground, is_upright = down > math.cos(STEEP), np.abs(down) < math.sin(STEEP)
    return {
        "ground": inner & is_ground,
        "upright": inner & is_upright,
        "other": inner & ~is_ground & ~is_upright,
        "edges": finite & edge,
    }


_SLOPE = np.array([[-0.5, 0.0, 0.5]], dtype=np.float32)
_CURVATURE = (np.array([[1.0, -2.0, 1.0]], dtype=np.float32), np.array([[1.0], [-2.0], [1.0]], dtype=np.float32))
_SQUARE = np.ones((3, 3), dtype=np.uint8)
