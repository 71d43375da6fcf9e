"""Depth to points: back-projection, range limits, organised and dense clouds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


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
