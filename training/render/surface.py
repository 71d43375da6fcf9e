"""What materials are written in: the point that a ray has hit, what it looks like, and the patterns they share."""

from __future__ import annotations

import math
from typing import NamedTuple

from training.render.compiled import compiled
from training.render.mesh import Array
from training.render.noise import hashed, lookup


class Spot(NamedTuple):
    """A point that a ray has hit.

    Attributes:
        u, v, red, green, blue, p0, p1, p2, p3: uv, colour and params as in Mesh.
        footprint: metres that a pixel covers there; detail is its log2.
        facing: cosine between the normal and the direction to the viewer, 0..1.
        wet: 0..1, how wet the ground is.
        lamps: strength of artificial light, 0 by day.
    """

    u: float
    v: float
    red: float
    green: float
    blue: float
    p0: float
    p1: float
    p2: float
    p3: float
    footprint: float
    detail: float
    facing: float
    wet: float
    lamps: float


class Look(NamedTuple):
    """Albedo, share of light mirrored, and radiance emitted."""

    red: float
    green: float
    blue: float
    mirror: float
    glow_red: float
    glow_green: float
    glow_blue: float


@compiled
def clip(value: float, low: float, high: float) -> float:
    """Returns the value, at least low and at most high."""
    return min(max(value, low), high)


@compiled
def unlit(red: float, green: float, blue: float, mirror: float) -> Look:
    """Returns what emits no light."""
    return Look(red, green, blue, mirror, 0.0, 0.0, 0.0)


@compiled
def shaded(s: Spot, factor: float, mirror: float) -> Look:
    """Returns the mesh's own colour times a factor."""
    return unlit(s.red * factor, s.green * factor, s.blue * factor, mirror)


@compiled
def tone(total: float) -> float:
    """Returns the factor that noise puts on a colour."""
    return math.exp(clip(total, -1.5, 1.2))


@compiled
def line_cover(distance: float, half_width: float, footprint: float) -> float:
    """Returns how much of the pixel a line covers, from the distance to its middle."""
    return clip((half_width - abs(distance)) / max(footprint, 1e-3) + 0.5, 0.0, 1.0)


@compiled
def joints(s: Spot, width: float, height: float, joint: float, bond: bool) -> tuple[float, float]:
    """Returns (a random number for each slab or brick, how much of the pixel is joint)."""
    row = math.floor(s.v / height)
    u = s.u / width + (0.5 * (row % 2) if bond else 0.0)
    column = math.floor(u)
    edge_u = (0.5 - abs(u - column - 0.5)) * width
    edge_v = (0.5 - abs(s.v / height - row - 0.5)) * height
    visible = clip(joint * 2.5 / s.footprint, 0.0, 1.0)
    return hashed(column, row, 0.0), line_cover(min(edge_u, edge_v), joint / 2, s.footprint) * visible


@compiled
def two_scales(
    s: Spot, atlas: Array, tile: float, strength: float, fine_tile: float, fine_strength: float
) -> float:
    """Returns the factor of broad (channel 0) and fine (channel 1) noise."""
    broad = strength * lookup(atlas, s.u, s.v, tile, s.detail)[0]
    return tone(broad + fine_strength * lookup(atlas, s.u, s.v, fine_tile, s.detail)[1])
