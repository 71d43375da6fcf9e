"""Depth to points: back-projection, range limits, organised and dense clouds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel


def back_project(depth: npt.NDArray[np.float32], rays: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns the 3D point of each pixel.

    Args:
        depth: (H, W) float32, metres along z; NaN or +Inf where there is no surface.
        rays: (H, W, 3) float32 rays at z = 1 (CameraModel.rays).

    Returns:
        (H, W, 3) float32 metres, optical frame; all three NaN where the depth is not finite (REP 117 keeps
        +Inf for ranges; a point has no place at infinity).
    """
    z = np.where(np.isfinite(depth), depth, np.float32(np.nan))
    return rays * z[..., None]


class RayTable:
    """Back-projects one camera's depth with rays made once, and anew where calibration or stride change."""

    def __init__(self) -> None:
        self._key: tuple[CameraModel, int] | None = None
        self._rays: npt.NDArray[np.float32] = np.empty((0, 0, 3), dtype=np.float32)

    def points(
        self, depth: npt.NDArray[np.float32], camera: CameraModel, *, stride: int = 1
    ) -> npt.NDArray[np.float32]:
        """Returns the 3D points of every `stride`-th pixel in both directions.

        Args:
            depth: (H, W) float32, metres along z.
            camera: of the depth, undistorted.
            stride: 1 or more.

        Returns:
            (ceil(H / stride), ceil(W / stride), 3) float32 metres, as back_project.
        """
        if self._key != (camera, stride):
            self._rays, self._key = camera.rays()[::stride, ::stride], (camera, stride)
        return back_project(depth[::stride, ::stride], self._rays)


def limit_range(depth: npt.NDArray[np.float32], *, min_range: float, max_range: float) -> npt.NDArray[np.float32]:
    """Returns the depth with NaN below min_range and +Inf above max_range (REP 117: out of range, nothing seen).

    Args:
        depth: (H, W) float32, metres along z.
        min_range, max_range: metres along z.
    """
    limited = np.where(depth > max_range, np.float32(np.inf), depth)
    return np.where(depth < min_range, np.float32(np.nan), limited)


def dense_points(
    points: npt.NDArray[np.float32], colors: npt.NDArray[np.uint8] | None = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8] | None]:
    """Returns only the points that exist, and their colours.

    Args:
        points: (H, W, 3) float32 metres, NaN where there is none.
        colors: (H, W, 3) uint8 RGB, or None.

    Returns:
        (N, 3) float32 metres and (N, 3) uint8 RGB or None.
    """
    rows = np.flatnonzero(np.isfinite(points[..., 2]))
    kept = points.reshape(-1, 3).take(rows, axis=0)
    return kept, None if colors is None else colors.reshape(-1, 3).take(rows, axis=0)
