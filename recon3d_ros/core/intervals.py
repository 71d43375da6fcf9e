"""Depths between which each pixel's ray lies within a height band, a box or a range: geometry made once a camera.

A pixel's point is z times its ray, so each bound of the point is one of z. Bounds that need a transform and three
products a point then cost two comparisons a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pose = npt.NDArray[np.float64]

FARTHEST = float(np.finfo(np.float32).max)  # so that +Inf lies in no interval


@dataclass(frozen=True, eq=False)
class Interval:
    """The depths z with near <= z <= far; none where near > far.

    Attributes:
        near, far: (H, W) float32 metres along z, or scalars that hold for every pixel.
    """

    near: Floats | np.float32
    far: Floats | np.float32

    def contains(self, depth: Floats) -> npt.NDArray[np.bool_]:
        """Returns the (H, W) pixels whose depth lies within; never NaN or Inf."""
        return np.asarray((depth >= self.near) & (depth <= self.far), dtype=np.bool_)

    def __and__(self, other: Interval) -> Interval:
        return Interval(
            np.asarray(np.maximum(self.near, other.near), dtype=np.float32),
            np.asarray(np.minimum(self.far, other.far), dtype=np.float32),
        )


EVERYWHERE = Interval(np.float32(0), np.float32(FARTHEST))


def along(rays: Floats, direction: npt.NDArray[np.float64]) -> Floats:
    """Returns how far each ray goes along a direction per metre of depth.

    A pinhole camera's x is the same in a column and its y in a row, so that one sum a pixel is enough: a mounting
    that changes with each frame costs little.

    Args:
        rays: (H, W, 3) at z = 1, optical frame.
        direction: (3,) in the optical frame; a row of T_base_camera gives an axis of the base frame.

    Returns:
        (H, W) float32.
    """
    columns = rays[0, :, 0] * direction[0]
    rows = rays[:, 0, 1] * direction[1] + direction[2]
    return np.asarray(columns.astype(np.float32)[None, :] + rows.astype(np.float32)[:, None], dtype=np.float32)


def within_range(rays: Floats, *, min_range: float, max_range: float) -> Interval:
    """Returns the depths at which points are between two distances from the camera.

    Args:
        rays: (H, W, 3) at z = 1.
        min_range, max_range: metres along the ray.
    """
    per_metre = 1 / np.sqrt(np.einsum("hwc,hwc->hw", rays, rays))
    return Interval(np.float32(min_range) * per_metre, np.float32(min(max_range, FARTHEST)) * per_metre)


def within_band(rays: Floats, T_base_camera: Pose, *, axis: int, low: float, high: float) -> Interval:
    """Returns the depths at which one coordinate of the points in the base frame lies between two bounds.

    Args:
        rays: (H, W, 3) at z = 1, optical frame.
        T_base_camera: (4, 4).
        axis: 0, 1, 2 for x, y, z of the base frame; 2 is the height.
        low, high: metres.
    """
    slope = along(rays, T_base_camera[axis, :3])
    slope[np.abs(slope) < 1e-12] = 1e-12  # a ray along the band is always inside or always outside
    inverse = 1 / slope
    start = T_base_camera[axis, 3]
    first, second = np.float32(low - start) * inverse, np.float32(high - start) * inverse
    return Interval(np.minimum(first, second), np.maximum(first, second))


def within_box(rays: Floats, T_base_camera: Pose, low: tuple[float, ...], high: tuple[float, ...]) -> Interval:
    """Returns the depths at which points are in a box of the base frame.

    Args:
        rays: (H, W, 3) at z = 1, optical frame.
        T_base_camera: (4, 4).
        low, high: its corners x, y, z, metres.
    """
    inside = EVERYWHERE
    for axis in range(3):
        inside &= within_band(rays, T_base_camera, axis=axis, low=low[axis], high=high[axis])
    return inside
