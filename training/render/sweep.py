"""Walls, rails and roofs that follow the road: a profile swept along it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.render.mesh import Array, Material, Mesh, from_quads, merge
from training.render.road import CrossSection, RoadPath

Profile = Sequence[tuple[float, float]]


def sweep(
    path: RoadPath,
    span: tuple[float, float],
    profile: Profile,
    material: Material,
    colour: Sequence[float] | Array,
    params: Sequence[float] = (0, 0, 0, 0),
    *,
    step: float = 4.0,
) -> Mesh:
    """Returns a surface through a profile of (lateral, height above the centre line), swept from s to s (m).

    Its uv runs along the road and along the profile, both in metres.
    """
    s = np.linspace(*span, max(2, int((span[1] - span[0]) / step) + 1))
    heading = np.interp(s, path.s, path.heading)
    centre = np.stack([np.interp(s, path.s, v) for v in (path.x, path.y, path.z)], axis=1)
    left = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    lateral, height = np.asarray(profile, float).T
    points = np.repeat(centre[:, None], len(lateral), axis=1)
    points[..., :2] += left[:, None] * lateral[:, None]
    points[..., 2] += height
    along = np.concatenate([[0], np.cumsum(np.hypot(np.diff(lateral), np.diff(height)))])
    uv = np.stack(np.broadcast_arrays(s[:, None], along), axis=2)

    def corners(grid: Array) -> Array:
        quads = np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], axis=2)
        return quads.reshape(-1, 4, grid.shape[-1])

    return from_quads(corners(points), corners(uv), material, colour, params)


def wall_along(
    path: RoadPath,
    section: CrossSection,
    span: tuple[float, float],
    lateral: float,
    size: tuple[float, float],
    material: Material,
    colour: Sequence[float] | Array,
    params: Sequence[float] = (0, 0, 0, 0),
    *,
    base: float = -0.3,
    taper: float = 0.0,
) -> Mesh:
    """Returns a wall of size (thickness, height) along the road with closed ends.

    Args:
        base: where it starts, metres above the road's edge.
        taper: how much of its thickness is lost towards the top, as at concrete barriers.
    """
    thick, height = size
    level = -0.02 * min(abs(lateral), section.half_road)
    low, high, half, top = level + base, level + height, thick / 2, thick / 2 * (1 - taper)
    profile = [
        (lateral + half, low),
        (lateral + (half + top) / 2 if taper else lateral + half, low + 0.35 * (high - low)),
        (lateral + top, high),
        (lateral - top, high),
        (lateral - (half + top) / 2 if taper else lateral - half, low + 0.35 * (high - low)),
        (lateral - half, low),
    ]
    parts = [sweep(path, span, profile, material, colour, params)]
    for s in span:
        parts.append(
            _cap(
                path,
                s,
                [(lateral + half, low), (lateral + top, high), (lateral - top, high), (lateral - half, low)],
                material,
                colour,
                params,
            )
        )
    return merge(parts)


def _cap(
    path: RoadPath,
    s: float,
    profile: Profile,
    material: Material,
    colour: Sequence[float] | Array,
    params: Sequence[float],
) -> Mesh:
    """Returns the flat end of a swept wall: a quad of (lateral, height)."""
    points = []
    for lateral, height in profile:
        ground, _ = path.at(s, lateral)
        points.append((ground[0], ground[1], ground[2] + height))
    return from_quads(np.array([points]), np.array([profile]), material, colour, params)
