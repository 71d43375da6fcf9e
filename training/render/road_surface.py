"""What the road looks like: asphalt, its wear, cracks, puddles and markings."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from training.render.compiled import compiled
from training.render.mesh import Array
from training.render.noise import hashed, lookup
from training.render.road import CrossSection
from training.render.surface import Look, Spot, clip, line_cover, unlit


class Street(NamedTuple):
    """What is painted on the road, as arrays.

    Attributes:
        half_road: metres from the centre line to the kerb.
        lanes: (L,) offsets of the lanes' middles.
        markings: (M, 7) offset, width, dash, gap, red, green, blue.
        junctions: (J, 2) place along the road, half width.
    """

    half_road: float
    lanes: Array
    markings: Array
    junctions: Array


def street_of(section: CrossSection) -> Street:
    """Returns the painted part of a cross-section."""
    return Street(
        float(section.half_road),
        np.array([offset for offset, _ in section.lanes], np.float32),
        np.array([(m.offset, m.width, m.dash, m.gap, *m.colour) for m in section.markings], np.float32).reshape(
            -1, 7
        ),
        np.array(section.junctions, np.float32).reshape(-1, 2),
    )


@compiled
def _wear(across: float, lanes: Array) -> float:
    """Returns how much wheels have polished and oil has darkened the road."""
    shade = 0.0
    for k in range(lanes.shape[0]):
        place = abs(across - lanes[k])
        if place < 1.4:
            shade += 0.07 * math.exp(-(((place - 0.75) / 0.25) ** 2)) - 0.08 * math.exp(-((place / 0.35) ** 2))
    return shade


@compiled
def _painted(s: Spot, street: Street) -> tuple[float, float, float, float]:
    """Returns how much of the pixel is paint, and the paint's colour."""
    cover, red, green, blue = 0.0, 0.6, 0.6, 0.58
    for k in range(street.markings.shape[0]):
        line = line_cover(s.u - street.markings[k, 0], street.markings[k, 1] / 2, s.footprint)
        dash, gap = street.markings[k, 2], street.markings[k, 3]
        if line > cover and (gap <= 0 or s.v % (dash + gap) < dash):
            cover = line
            red, green, blue = (
                float(street.markings[k, 4]),
                float(street.markings[k, 5]),
                float(street.markings[k, 6]),
            )
    for k in range(street.junctions.shape[0]):
        beside = abs(abs(s.v - street.junctions[k, 0]) - street.junctions[k, 1] - 2.5)
        if beside < 1.5 and s.u % 1.0 < 0.5 and abs(s.u) < street.half_road:
            cover = 1.0
    return cover, red, green, blue


@compiled
def road_look(s: Spot, atlas: Array, street: Street) -> Look:
    coarse, fine = lookup(atlas, s.u, s.v, 37.0, s.detail), lookup(atlas, s.u, s.v, 2.3, s.detail)
    shade = 0.07 * coarse[0] + 0.05 * coarse[1] + 0.1 * fine[1] + _wear(s.u, street.lanes)
    patch = hashed(math.floor(s.u / 2.9), math.floor(s.v / 7.3), 0.0)
    shade += -0.3 if patch < 0.08 else (0.2 if patch > 0.95 else 0.0)
    if s.footprint < 0.04:
        crack = abs(lookup(atlas, s.u, s.v, 11.0, s.detail)[2])
        shade -= 0.5 * clip(1 - crack * 30, 0.0, 1.0)
    shade += 0.25 * math.exp(-((abs(s.u) - street.half_road) ** 2) / 0.05) * fine[0]
    puddle = s.wet * clip(0.6 + 0.5 * coarse[1] + 0.2 * coarse[0], 0.0, 1.0)
    factor = math.exp(clip(shade, -1.2, 1.0)) * (1 - 0.45 * s.wet)
    cell_u, cell_v = math.floor(s.u / 3.1), math.floor(s.v / 17.0)
    hole_u = s.u - (cell_u + hashed(cell_u, cell_v, 3.0)) * 3.1
    hole_v = s.v - (cell_v + hashed(cell_u, cell_v, 9.0)) * 17.0
    if hole_u * hole_u + hole_v * hole_v < 0.33 * 0.33 and hashed(cell_u, cell_v, 5.0) < 0.3:
        factor *= 0.45
    red, green, blue = s.red * factor, s.green * factor, s.blue * factor
    if s.p0 < 0.5:
        paint, tone_red, tone_green, tone_blue = _painted(s, street)
        paint *= clip(0.85 + 0.35 * fine[0] + 0.3 * coarse[1], 0.0, 1.0)
        red += (tone_red - red) * paint
        green += (tone_green - green) * paint
        blue += (tone_blue - blue) * paint
    grazing = 1 - s.facing
    return unlit(red, green, blue, 0.25 * grazing**6 + puddle * (0.03 + 0.75 * grazing**4))
