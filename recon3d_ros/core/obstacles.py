"""Points split into the road and what stands on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.ground import MAX_SLOPE, GroundPlane

NEITHER, GROUND, OBSTACLE = 0, 1, 2

Floats = npt.NDArray[np.float32]

# Metres ahead at which the road's height is followed; the steps grow as the image's rows spread over the road.
DISTANCES = np.array([3, 5, 7, 9, 12, 15, 19, 24, 30, 37, 45, 55, 68, 80], dtype=np.float32)
FIRST_FOLLOWED = 3  # up to this one the plane itself is the road: it was fitted there
BAND = 0.3  # metres about where the road is expected next; what is off farther is not the road
MIN_POINTS = 8  # in a step; with fewer the road is taken to go on parallel to the plane
MAX_BEND = (
    0.04  # change of slope from one step to the next; a road's vertical curve of 300 m radius bends so in 12 m
)
SAMPLES = 8000


@dataclass(frozen=True)
class SplitOptions:
    """What counts as an obstacle.

    Attributes:
        min_height, max_height: of an obstacle above the road, metres; what is higher can be driven under.
        slope: how much more height is tolerated for each metre of distance, metres.
    """

    min_height: float = 0.2
    max_height: float = 3.0
    slope: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 < self.min_height < self.max_height < math.inf or not 0.0 <= self.slope < 1.0:
            raise ValueError(
                f"obstacles are {self.min_height:g} to {self.max_height:g} m high with {self.slope:g} m more "
                "a metre, expected 0 < min_height < max_height and a slope of 0 to 1"
            )


def split_ground(points: Floats, plane: GroundPlane, options: SplitOptions | None = None) -> npt.NDArray[np.uint8]:
    """Returns what each point is: GROUND, OBSTACLE, or NEITHER (no point, overhead, or below the road).

    Args:
        points: (h, w, 3) float32 metres, optical frame, rows from top to bottom; NaN where there is none.
        plane: the road near the vehicle in the same frame and scale; farther off it is followed from there.

    Returns:
        (h, w) uint8.
    """
    options = options or SplitOptions()
    profile = road_profile(points, plane)
    heights, distances = _heights_and_distances(points, plane)
    heights -= np.interp(distances, DISTANCES, profile).astype(np.float32)
    tolerance = np.float32(options.min_height) + np.float32(options.slope) * distances
    with np.errstate(invalid="ignore"):
        labels = (np.abs(heights) <= tolerance).astype(np.uint8) * np.uint8(GROUND)
        labels[(heights > tolerance) & (heights <= options.max_height)] = OBSTACLE
    return labels


def road_profile(points: Floats, plane: GroundPlane) -> Floats:
    """Returns how far the road is above the plane at each of DISTANCES, metres.

    Step by step away from the vehicle: the median of the level points near where the road is expected, which is
    where its last slope leads. So it follows a hill, a dip, and a network's error that grows with distance.

    Args:
        points: (h, w, 3) float32 metres, optical frame.
        plane: the road near the vehicle.

    Returns:
        (len(DISTANCES),) float32.
    """
    H, W, _ = points.shape
    stride = max(1, math.ceil(math.sqrt(H * W / SAMPLES)))
    heights, distances = _heights_and_distances(points[::stride, ::stride], plane)
    with np.errstate(invalid="ignore"):
        is_level = np.abs(np.diff(heights, axis=0)) < MAX_SLOPE * np.abs(np.diff(distances, axis=0))
    heights, distances = heights[:-1][is_level], distances[:-1][is_level]
    profile = np.zeros(len(DISTANCES), dtype=np.float32)
    slope = 0.0
    for k in range(FIRST_FOLLOWED, len(DISTANCES)):
        before, here = float(DISTANCES[k - 1]), float(DISTANCES[k])
        half = 0.5 * (here - before)
        near = (distances > here - half) & (distances < here + half)
        expected = profile[k - 1] + slope * (distances[near] - before)
        off = heights[near] - expected
        off = off[np.abs(off) < BAND]
        if len(off) >= MIN_POINTS:
            slope += float(np.clip(np.median(off) / (here - before), -MAX_BEND, MAX_BEND))
        else:
            slope = 0.0
        profile[k] = profile[k - 1] + slope * (here - before)
    return profile


def _heights_and_distances(points: Floats, plane: GroundPlane) -> tuple[Floats, Floats]:
    """Returns the (h, w) heights above the plane and the distances along it from below the camera, metres."""
    heights = plane.heights(points)
    depression = heights - np.float32(plane.height)
    squared = np.einsum("ijk,ijk->ij", points, points) - depression * depression
    return heights, np.sqrt(np.maximum(squared, np.float32(0.0)))
