"""What surfaces look like before light falls on them: one function for each material.

Each is written for one point and compiled (numba), for two reasons: arrays of 120,000 points that walk through
a hundred NumPy operations cost 0.17 CPU seconds a frame, one loop over points 0.05; and the same functions compile
into a CUDA kernel, so that both devices draw the same street from one source.
"""

from __future__ import annotations

import math

from training.render.compiled import compiled
from training.render.mesh import Array, Material
from training.render.noise import hashed, lookup
from training.render.road_surface import Street, road_look
from training.render.surface import Look, Spot, clip, joints, line_cover, shaded, tone, two_scales, unlit


@compiled
def _paving(s: Spot, atlas: Array) -> Look:
    slab, joint = joints(s, 0.5, 0.5, 0.015, True)
    total = 0.15 * lookup(atlas, s.u, s.v, 29.0, s.detail)[0] + 0.13 * lookup(atlas, s.u, s.v, 1.9, s.detail)[1]
    factor = tone(total) * (0.92 + 0.16 * slab - 0.35 * joint) * (1 - 0.4 * s.wet)
    return shaded(s, factor, s.wet * (0.02 + 0.4 * (1 - s.facing) ** 4))


@compiled
def _grass(s: Spot, atlas: Array) -> Look:
    broad = lookup(atlas, s.u, s.v, 41.0, s.detail)
    total = 0.2 * broad[1] + 0.35 * lookup(atlas, s.u, s.v, 3.7, s.detail)[1]
    factor = tone(total + 0.3 * lookup(atlas, s.u, s.v, 0.9, s.detail)[1])
    dry = clip(0.4 * broad[0] + 0.3 * broad[1], 0.0, 1.0)
    red, green, blue = s.red * factor, s.green * factor, s.blue * factor
    return unlit(red + (0.2 - red) * dry, green + (0.16 - green) * dry, blue + (0.09 - blue) * dry, 0.0)


@compiled
def _brick(s: Spot, atlas: Array) -> Look:
    brick, joint = joints(s, 0.25, 0.08, 0.012, True)
    factor = two_scales(s, atlas, 13.0, 0.15, 1.3, 0.15) * (0.75 + 0.5 * brick)
    red, green, blue, joint = s.red * factor, s.green * factor, s.blue * factor, 0.5 * joint
    return unlit(red + (0.35 - red) * joint, green + (0.35 - green) * joint, blue + (0.35 - blue) * joint, 0.0)


@compiled
def _wood(s: Spot, atlas: Array) -> Look:
    gap = line_cover(s.u % 0.14 - 0.07, 0.064, s.footprint)
    board = 0.8 + 0.4 * hashed(math.floor(s.u / 0.14), 0.0, 0.0)
    noise = tone(0.2 * lookup(atlas, s.u, s.v, 5.0, s.detail)[1])
    return shaded(s, noise * board * (0.4 + 0.6 * gap), 0.0)


@compiled
def _roof(s: Spot, atlas: Array) -> Look:
    tile, joint = joints(s, 0.3, 0.34, 0.05, False)
    return shaded(s, two_scales(s, atlas, 11.0, 0.2, 2.0, 0.15) * (0.8 + 0.4 * tile - 0.4 * joint), 0.0)


@compiled
def _leaves(s: Spot, atlas: Array) -> Look:
    total = 0.35 * lookup(atlas, s.u, s.v, 4.0, s.detail)[1] + 0.45 * lookup(atlas, s.u, s.v, 0.8, s.detail)[0]
    return shaded(s, tone(total), 0.02)


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
        pane *= 1 - 0.9 * line_cover(du, 0.03, s.footprint)
    total = 0.12 * lookup(atlas, s.u, s.v, 23.0, s.detail)[0] + 0.08 * lookup(atlas, s.u, s.v, 3.0, s.detail)[1]
    factor = tone(total + 0.06 * lookup(atlas, s.u, s.v, 0.7, s.detail)[1])
    if s.red > 1.5 * s.blue:
        brick, joint = joints(s, 0.25, 0.08, 0.012, True)
        factor *= 0.8 + 0.4 * brick - 0.25 * joint
    factor *= 1 - 0.25 * clip(1 - max(s.v - 1, 0.0) / 0.8, 0.0, 1.0)
    if style >= 1:
        factor *= 1 + 0.2 * line_cover(dv, 0.12, s.footprint)
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
        seam = line_cover(door, 0.006, s.footprint) if z > 0.3 else 0.0
        handle = line_cover(abs(x - 0.03 * length) - 0.1, 0.07, s.footprint)
        handle *= line_cover(z - 0.53 * height, 0.02, s.footprint)
        dark = max(max(0.8 * seam, 0.7 * handle), 0.85 if z < 0.3 else 0.0)
        dirt = 0.5 * clip(0.5 - z, 0.0, 0.5)
    factor *= 1 - dark
    red, green, blue = s.red * factor, s.green * factor, s.blue * factor
    mirror = (0.06 + 0.6 * (1 - s.facing) ** 4) * (1 - dark)
    return unlit(red + (0.12 - red) * dirt, green + (0.12 - green) * dirt, blue + (0.12 - blue) * dirt, mirror)


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
        return unlit(seats, seats, 0.95 * seats, 0.07 + 0.7 * (1 - s.facing) ** 4)
    return shaded(s, 0.9, 0.08)


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
    return shaded(s, two_scales(s, atlas, 2.3, 0.25, 0.6, 0.15), 0.0)


@compiled
def _panel(s: Spot, atlas: Array) -> Look:
    pitch = max(s.p0, 0.05)
    factor = two_scales(s, atlas, 7.0, 0.1, 1.7, 0.07)
    if 0 < s.p0 < 5:
        factor *= 1 - 0.3 * line_cover(s.u % pitch - pitch / 2, 0.012, s.footprint)
        if s.p1 == 0 and s.p0 > 0.6 and abs(s.v - 1.3) < 0.35:
            if hashed(math.floor(s.u / 0.2), math.floor(s.v / 0.18), 0.0) < 0.45:
                if s.red + s.green + s.blue > 0.75:
                    return unlit(0.05, 0.1, 0.3, 0.05)
                return unlit(0.4, 0.4, 0.4, 0.05)
    return shaded(s, factor, 0.05)


_ROAD, _PAVING, _GRASS, _FACADE = map(int, (Material.ROAD, Material.PAVING, Material.GRASS, Material.FACADE))
_ROOF, _LEAVES, _BARK, _PAINT = map(int, (Material.ROOF, Material.LEAVES, Material.BARK, Material.PAINT))
_GLASS, _RUBBER, _LAMP, _CLOTH = map(int, (Material.CAR_GLASS, Material.RUBBER, Material.LAMP, Material.CLOTH))
_PANEL, _BRICK, _WOOD = map(int, (Material.PANEL, Material.BRICK, Material.WOOD))


@compiled
def look_of(material: int, s: Spot, atlas: Array, street: Street) -> Look:
    """Returns what a point of a material looks like; what has no function of its own looks like concrete."""
    if material == _ROAD:
        return road_look(s, atlas, street)
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
        return shaded(s, tone(0.4 * lookup(atlas, s.u, s.v, 1.1, s.detail)[1]), 0.0)
    if material == _PAINT:
        return _paint(s, atlas)
    if material == _GLASS:
        return _car_glass(s)
    if material == _RUBBER:
        return shaded(s, tone(0.25 * lookup(atlas, s.u, s.v, 1.3, s.detail)[1]), 0.02)
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
    return shaded(s, two_scales(s, atlas, 17.0, 0.15, 2.1, 0.1), 0.0)
