"""Roads and boxes seen by a camera, worked out ray by ray with school geometry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ROAD, BOX, NOTHING = 1, 2, 0


@dataclass(frozen=True)
class Road:
    """A camera over a road.

    Attributes:
        height: of the camera above the base frame, metres; it stands 1.5 m ahead of it.
        pitch, roll: of the vehicle, radians; positive pitch: nose down, positive roll: left side up.
        slope: of the road ahead, metres a metre; bend: 1 / its vertical radius, 1/m, positive: a dip.
        boxes: (x from, x to, y from, y to, z to) in the base frame of the vehicle standing level, metres.
    """

    height: float = 1.5
    pitch: float = 0.0
    roll: float = 0.0
    slope: float = 0.0
    bend: float = 0.0
    boxes: tuple[tuple[float, float, float, float, float], ...] = ()
    max_range: float = 60.0


def see(
    road: Road, *, width: int = 160, height: int = 64, fx: float = 95.0, cx: float = 75.5, cy: float = 24.25
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Returns the (h, w, 3) points in the optical frame, NaN where nothing is seen, and (h, w) what each is."""
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([(u - cx) / fx, (v - cy) / fx, np.ones(u.shape)], axis=-1)
    # Optical to vehicle: x right, y down, z forward becomes x forward, y left, z up; then the vehicle turns.
    vehicle = np.stack([rays[..., 2], -rays[..., 0], -rays[..., 1]], axis=-1)
    cp, sp, cr, sr = math.cos(road.pitch), math.sin(road.pitch), math.cos(road.roll), math.sin(road.roll)
    turn = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]]) @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    d = vehicle @ turn.T
    o = turn @ np.array([1.5, 0.0, road.height])
    # o_z + t d_z = slope (o_x + t d_x) + bend / 2 (o_x + t d_x)^2, solved for t: the depth, as rays have z = 1.
    a = 0.5 * road.bend * d[..., 0] ** 2
    b = road.slope * d[..., 0] + road.bend * o[0] * d[..., 0] - d[..., 2]
    c = road.slope * o[0] + 0.5 * road.bend * o[0] ** 2 - o[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(b * b - 4 * a * c)
        t = 2 * c / (-b - root)  # the nearer root, well defined for a = 0 too
    depth = np.where(np.isfinite(t) & (t > 0), t, np.inf)
    labels = np.where(np.isfinite(depth), ROAD, NOTHING)
    for x0, x1, y0, y1, z1 in road.boxes:
        with np.errstate(divide="ignore", invalid="ignore"):
            lower = (np.array([x0, y0, -1.0]) - o) / d
            upper = (np.array([x1, y1, z1]) - o) / d
        enter, leave = np.minimum(lower, upper).max(-1), np.maximum(lower, upper).min(-1)
        is_hit = (enter < leave) & (enter > 0) & (enter < depth)
        depth = np.where(is_hit, enter, depth)
        labels = np.where(is_hit, BOX, labels)
    is_seen = depth < road.max_range
    points = np.where(is_seen[..., None], rays * depth[..., None], np.nan)
    return points.astype(np.float32), np.where(is_seen, labels, NOTHING).astype(np.uint8)


def noisy(points: npt.NDArray[np.float32], share: float, seed: int = 1) -> npt.NDArray[np.float32]:
    """Returns the points moved along their rays by a random part of their depth, standard deviation `share`."""
    noise = np.random.default_rng(seed).normal(scale=share, size=points.shape[:2])
    return (points * np.exp(noise)[..., None]).astype(np.float32)
