"""What surfaces look like before light falls on them: one function for each material.

Each is written for one point and compiled (numba), for two reasons: arrays of 120,000 points that walk through
a hundred NumPy operations cost 0.17 CPU seconds a frame, one loop over points 0.05; and the same functions compile
into a CUDA kernel, so that both devices draw the same street from one source.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from training.render.compiled import compiled
from training.render.mesh import Array, Material
from training.render.noise import hashed, lookup
from training.render.road import CrossSection


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
def _look(red: float, green: float, blue: float, mirror: float) -> Look:
    """Returns what emits no light."""
    return Look(red, green, blue, mirror, 0.0, 0.0, 0.0)


@compiled
def _shaded(s: Spot, factor: float, mirror: float) -> Look:
    """Returns the mesh's own colour times a factor."""
    return _look(s.red * factor, s.green * factor, s.blue * factor, mirror)


@compiled
def _tone(total: float) -> float:
    """Returns the factor that noise puts on a colour."""
    return math.exp(clip(total, -1.5, 1.2))


@compiled
def _line(distance: float, half_width: float, footprint: float) -> float:
    """Returns how much of the pixel a line covers, from the distance to its middle."""
    return clip((half_width - abs(distance)) / max(footprint, 1e-3) + 0.5, 0.0, 1.0)


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
        line = _line(s.u - street.markings[k, 0], street.markings[k, 1] / 2, s.footprint)
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
def _road(s: Spot, atlas: Array, street: Street) -> Look:
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
    return _look(red, green, blue, 0.25 * grazing**6 + puddle * (0.03 + 0.75 * grazing**4))


@compiled
def _joints(s: Spot, width: float, height: float, joint: float, bond: bool) -> tuple[float, float]:
    """Returns (a random number for each slab or brick, how much of the pixel is joint)."""
    row = math.floor(s.v / height)
    u = s.u / width + (0.5 * (row % 2) if bond else 0.0)
    column = math.floor(u)
    edge_u = (0.5 - abs(u - column - 0.5)) * width
    edge_v = (0.5 - abs(s.v / height - row - 0.5)) * height
    visible = clip(joint * 2.5 / s.footprint, 0.0, 1.0)
    return hashed(column, row, 0.0), _line(min(edge_u, edge_v), joint / 2, s.footprint) * visible


@compiled
def _paving(s: Spot, atlas: Array) -> Look:
    slab, joint = _joints(s, 0.5, 0.5, 0.015, True)
    total = 0.15 * lookup(atlas, s.u, s.v, 29.0, s.detail)[0] + 0.13 * lookup(atlas, s.u, s.v, 1.9, s.detail)[1]
    factor = _tone(total) * (0.92 + 0.16 * slab - 0.35 * joint) * (1 - 0.4 * s.wet)
    return _shaded(s, factor, s.wet * (0.02 + 0.4 * (1 - s.facing) ** 4))


@compiled
def _grass(s: Spot, atlas: Array) -> Look:
    broad = lookup(atlas, s.u, s.v, 41.0, s.detail)
    total = 0.2 * broad[1] + 0.35 * lookup(atlas, s.u, s.v, 3.7, s.detail)[1]
    factor = _tone(total + 0.3 * lookup(atlas, s.u, s.v, 0.9, s.detail)[1])
    dry = clip(0.4 * broad[0] + 0.3 * broad[1], 0.0, 1.0)
    red, green, blue = s.red * factor, s.green * factor, s.blue * factor
    return _look(red + (0.2 - red) * dry, green + (0.16 - green) * dry, blue + (0.09 - blue) * dry, 0.0)


@compiled
def _two_scales(
    s: Spot, atlas: Array, tile: float, strength: float, fine_tile: float, fine_strength: float
) -> float:
    """Returns the factor of broad (channel 0) and fine (channel 1) noise."""
    broad = strength * lookup(atlas, s.u, s.v, tile, s.detail)[0]
    return _tone(broad + fine_strength * lookup(atlas, s.u, s.v, fine_tile, s.detail)[1])


@compiled
def _brick(s: Spot, atlas: Array) -> Look:
    brick, joint = _joints(s, 0.25, 0.08, 0.012, True)
    factor = _two_scales(s, atlas, 13.0, 0.15, 1.3, 0.15) * (0.75 + 0.5 * brick)
    red, green, blue, joint = s.red * factor, s.green * factor, s.blue * factor, 0.5 * joint
    return _look(red + (0.35 - red) * joint, green + (0.35 - green) * joint, blue + (0.35 - blue) * joint, 0.0)


@compiled
def _wood(s: Spot, atlas: Array) -> Look:
    gap = _line(s.u % 0.14 - 0.07, 0.064, s.footprint)
    board = 0.8 + 0.4 * hashed(math.floor(s.u / 0.14), 0.0, 0.0)
    noise = _tone(0.2 * lookup(atlas, s.u, s.v, 5.0, s.detail)[1])
    return _shaded(s, noise * board * (0.4 + 0.6 * gap), 0.0)


@compiled
def _roof(s: Spot, atlas: Array) -> Look:
    tile, joint = _joints(s, 0.3, 0.34, 0.05, False)
    return _shaded(s, _two_scales(s, atlas, 11.0, 0.2, 2.0, 0.15) * (0.8 + 0.4 * tile - 0.4 * joint), 0.0)


@compiled
def _leaves(s: Spot, atlas: Array) -> Look:
    total = 0.35 * lookup(atlas, s.u, s.v, 4.0, s.detail)[1] + 0.45 * lookup(atlas, s.u, s.v, 0.8, s.detail)[0]
    return _shaded(s, _tone(total), 0.02)


@compiled
def _facade(s: Spot, atlas: Array) -> Look:
    floor, pitch, width, style = max(s.p0, 0.1), max(s.p1, 0.1), s.p2, s.p3
    seed = style - math.floor(style)
    column, row = math.floor(s.u / pitch), math.floor(max(s.v - 1, -0.5) / floor)
    du, dv = (s.u / pitch - column - 0.5) * pitch, s.v - 1 - row * floor
    chance = hashed(column, row, seed * 97)
    shop = row <= 0 and style >= 2
    door = row <= 0 and not shop and hashed(column, seed * 3100, 1.0) < 0.2
    half, sill, top = width / 2, 0.3 * floor, (0.82 if style < 1 else 0.9) * floor
    if shop:
        half, sill, top = pitch * 0.44, 0.4, 0.85 * floor
    elif door:
        half, sill, top = 0.5, 0.0, 2.1
    inside = min(half - abs(du), min(dv - sill, top - dv))
    cover = clip(inside / s.footprint + 0.5, 0.0, 1.0) if row >= 0 else 0.0
    pane = clip((inside - 0.07) / s.footprint + 0.5, 0.0, 1.0) * cover
    if half > 0.6:
        pane *= 1 - 0.9 * _line(du, 0.03, s.footprint)
    total = 0.12 * lookup(atlas, s.u, s.v, 23.0, s.detail)[0] + 0.08 * lookup(atlas, s.u, s.v, 3.0, s.detail)[1]
    factor = _tone(total + 0.06 * lookup(atlas, s.u, s.v, 0.7, s.detail)[1])
    if s.red > 1.5 * s.blue:
        brick, joint = _joints(s, 0.25, 0.08, 0.012, True)
        factor *= 0.8 + 0.4 * brick - 0.25 * joint
    factor *= 1 - 0.25 * clip(1 - max(s.v - 1, 0.0) / 0.8, 0.0, 1.0)
    if style >= 1:
        factor *= 1 + 0.2 * _line(dv, 0.12, s.footprint)
    frame = 0.55 if seed < 0.6 else 0.08
    curtain = 0.35 if chance < 0.3 else (0.15 if chance < 0.45 else 0.025)
    drawn = chance < 0.45 and dv > sill + (top - sill) * (0.2 + chance)
    glass = 0.12 if door and chance < 0.8 else curtain * (1.0 if drawn else 0.15) + 0.01
    red, green, blue = s.red * factor, s.green * factor, s.blue * factor
    red, green, blue = red + (frame - red) * cover, green + (frame - green) * cover, blue + (frame - blue) * cover
    red, green, blue = (
        red + (glass - red) * pane,
        green + (0.97 * glass - green) * pane,
        blue + (0.9 * glass - blue) * pane,
    )
    mirror = 0.3 * pane * (0.3 if door else 1.0)
    lit = 0.0
    if s.lamps > 0 and (shop or hashed(column, row, 7.0) < 0.3):
        lit = s.lamps * pane * (0.3 + 0.5 * chance)
    return Look(red, green, blue, mirror, lit, 0.8 * lit, 0.5 * lit)


@compiled
def _paint(s: Spot, atlas: Array) -> Look:
    length, height, x, z = s.p0, s.p2, s.u, s.v
    factor = math.exp(0.05 * lookup(atlas, x, z, 3.0, s.detail)[1])
    dark, dirt = 0.0, 0.0
    if s.p3 > 0.5:
        door = min(abs(x - 0.16 * length), min(abs(x + 0.08 * length), abs(x + 0.28 * length)))
        seam = _line(door, 0.006, s.footprint) if z > 0.3 else 0.0
        handle = _line(abs(x - 0.03 * length) - 0.1, 0.07, s.footprint)
        handle *= _line(z - 0.53 * height, 0.02, s.footprint)
        dark = max(max(0.8 * seam, 0.7 * handle), 0.85 if z < 0.3 else 0.0)
        dirt = 0.5 * clip(0.5 - z, 0.0, 0.5)
    factor *= 1 - dark
    red, green, blue = s.red * factor, s.green * factor, s.blue * factor
    mirror = (0.06 + 0.6 * (1 - s.facing) ** 4) * (1 - dark)
    return _look(red + (0.12 - red) * dirt, green + (0.12 - green) * dirt, blue + (0.12 - blue) * dirt, mirror)


@compiled
def _car_glass(s: Spot) -> Look:
    metric = s.p3 > 0
    local = s.u / max(s.p3, 0.1) if metric else s.u * s.p0
    local -= math.floor(local)
    rim = min(local, 1 - local)
    if not metric:
        rim = min(rim, min(s.v, 1 - s.v) * 0.7)
    if rim > 0.04 and (metric or s.p1 <= s.u <= s.p2):
        seats = 0.01 + (0.05 * clip(0.6 - s.v, 0.0, 1.0) if math.sin(s.u * 14) > 0.2 else 0.0)
        return _look(seats, seats, 0.95 * seats, 0.07 + 0.7 * (1 - s.facing) ** 4)
    return _shaded(s, 0.9, 0.08)


@compiled
def _lamp(s: Spot) -> Look:
    stripes = 0.75 + 0.25 * math.sin(s.u * 60)
    glow = s.p0 * stripes * (1 + 4 * s.lamps)
    return Look(
        s.red * stripes * 0.8, s.green * stripes * 0.8, s.blue * stripes * 0.8, 0.12,
        s.red * glow, s.green * glow, s.blue * glow,
    )  # fmt: skip


@compiled
def _cloth(s: Spot, atlas: Array) -> Look:
    return _shaded(s, _two_scales(s, atlas, 2.3, 0.25, 0.6, 0.15), 0.0)


@compiled
def _panel(s: Spot, atlas: Array) -> Look:
    pitch = max(s.p0, 0.05)
    factor = _two_scales(s, atlas, 7.0, 0.1, 1.7, 0.07)
    if 0 < s.p0 < 5:
        factor *= 1 - 0.3 * _line(s.u % pitch - pitch / 2, 0.012, s.footprint)
        if s.p1 == 0 and s.p0 > 0.6 and abs(s.v - 1.3) < 0.35:
            if hashed(math.floor(s.u / 0.2), math.floor(s.v / 0.18), 0.0) < 0.45:
                if s.red + s.green + s.blue > 0.75:
                    return _look(0.05, 0.1, 0.3, 0.05)
                return _look(0.4, 0.4, 0.4, 0.05)
    return _shaded(s, factor, 0.05)


_ROAD, _PAVING, _GRASS, _FACADE = map(int, (Material.ROAD, Material.PAVING, Material.GRASS, Material.FACADE))
_ROOF, _LEAVES, _BARK, _PAINT = map(int, (Material.ROOF, Material.LEAVES, Material.BARK, Material.PAINT))
_GLASS, _RUBBER, _LAMP, _CLOTH = map(int, (Material.CAR_GLASS, Material.RUBBER, Material.LAMP, Material.CLOTH))
_PANEL, _BRICK, _WOOD = map(int, (Material.PANEL, Material.BRICK, Material.WOOD))


@compiled
def look_of(material: int, s: Spot, atlas: Array, street: Street) -> Look:
    """Returns what a point of a material looks like; what has no function of its own looks like concrete."""
    if material == _ROAD:
        return _road(s, atlas, street)
    if material == _PAVING:
        return _paving(s, atlas)
    if material == _GRASS:
        return _grass(s, atlas)
    if material == _FACADE:
        return _facade(s, atlas)
    if material == _ROOF:
        return _roof(s, atlas)
    if material == _LEAVES:
        return _leaves(s, atlas)
    if material == _BARK:
        return _shaded(s, _tone(0.4 * lookup(atlas, s.u, s.v, 1.1, s.detail)[1]), 0.0)
    if material == _PAINT:
        return _paint(s, atlas)
    if material == _GLASS:
        return _car_glass(s)
    if material == _RUBBER:
        return _shaded(s, _tone(0.25 * lookup(atlas, s.u, s.v, 1.3, s.detail)[1]), 0.02)
    if material == _LAMP:
        return _lamp(s)
    if material == _CLOTH:
        return _cloth(s, atlas)
    if material == _PANEL:
        return _panel(s, atlas)
    if material == _BRICK:
        return _brick(s, atlas)
    if material == _WOOD:
        return _wood(s, atlas)
    return _shaded(s, _two_scales(s, atlas, 17.0, 0.15, 2.1, 0.1), 0.0)
