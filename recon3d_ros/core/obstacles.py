"""Points split into the road and what stands on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.ground import GroundPlane

NEITHER, GROUND, OBSTACLE = 0, 1, 2


@dataclass(frozen=True)
class SplitOptions:
    """What counts as an obstacle.

    Attributes:
        min_height, max_height: of an obstacle above the road, metres; what is higher can be driven under.
        slope: how much more height is tolerated for each metre of distance, metres.
    """

    min_height: float = 0.2
    max_height: float = 3.0
    slope: float = 0.02


def split_ground(
    points: npt.NDArray[np.float32], plane: GroundPlane, options: SplitOptions | None = None
) -> npt.NDArray[np.uint8]:
    """Returns what each point is: GROUND, OBSTACLE, or NEITHER (no point, overhead, or below the road).

    Args:
        points: (..., 3) float32 metres, optical frame; NaN where there is none.
        plane: the road in the same frame and scale.

    Returns:
        (...) uint8.
    """
    options = options or SplitOptions()
    heights = plane.heights(points)
    tolerance = options.min_height + options.slope * points[..., 2]
    with np.errstate(invalid="ignore"):
        labels = np.where(np.abs(heights) <= tolerance, np.uint8(GROUND), np.uint8(NEITHER))
        labels[(heights > tolerance) & (heights <= options.max_height)] = OBSTACLE
    return labels
