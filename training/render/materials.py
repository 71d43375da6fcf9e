"""What surfaces look like before light falls on them: one function for each material."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.render.mesh import Array, Material, dot
from training.render.noise import hashed, lookup
from training.render.road import CrossSection


@dataclass(frozen=True)
class Surface:
    """Points that rays have hit, N of them.

    Attributes:
        points, normals, view: (N, 3) world point, unit normal towards the viewer, unit direction from the viewer.
        uv, colour, params: (N, 2), (N, 3), (N, 4) as in Mesh.
        material: (N,) Material.
        footprint: (N,) metres that a pixel covers there.
        section: the street's cross-section, whose lines are painted on the road.
    """

    points: Array
    normals: Array
    view: Array
    uv: Array
    colour: Array
    params: Array
    material: np.ndarray
    footprint: Array
    section: CrossSection

    def take(self, index: np.ndarray) -> Surface:
        """Returns the points of an index."""
        fields = (
            self.points,
            self.normals,
            self.view,
            self.uv,
            self.colour,
            self.params,
            self.material,
            self.footprint,
        )
        return Surface(*(f[index] for f in fields), self.section)


Shaded = tuple[Array, Array, Array]  # albedo (N, 3), mirror share (N,), emitted radiance (N, 3)


def _plain(albedo: Array, mirror: Array | float = 0.0, emitted: Array | float = 0.0) -> Shaded:
    """Returns albedo with scalars spread over the points."""
    N = len(albedo)
    return (
        albedo,
        np.broadcast_to(np.float32(mirror), (N,)),
        np.broadcast_to(np.asarray(emitted, np.float32), (N, 3)),
    )


def _vary(s: Surface, *scales: tuple[float, int, float]) -> Array:
    """Returns exp of summed noise (N, 1); each scale is (tile metres, channel, strength)."""
    total = np.zeros(len(s.uv), np.float32)
    for tile, channel, strength in scales:
        total += strength * lookup(s.uv, tile, s.footprint)[:, channel]
    return np.exp(np.clip(total, -1.5, 1.2))[:, None]


def _line(distance: Array, half_width: float, footprint: Array) -> Array:
    """Returns how much of each pixel a line covers, from the distance to its middle."""
    return np.clip((half_width - np.abs(distance)) / np.maximum(footprint, 1e-3) + 0.5, 0, 1)


def _road(s: Surface) -> Shaded:
    across, along = s.uv[:, 0], s.uv[:, 1]
    coarse, fine = lookup(s.uv, 37.0, s.footprint), lookup(s.uv, 2.3, s.footprint)
    shade = 0.07 * coarse[:, 0] + 0.05 * coarse[:, 1] + 0.1 * fine[:, 1]
    patch = hashed(np.floor(across / 2.9), np.floor(along / 7.3))
    shade += np.where(patch < 0.08, -0.3, np.where(patch > 0.95, 0.2, 0.0))
    crack = np.abs(lookup(s.uv, 11.0, s.footprint)[:, 2])
    shade -= 0.5 * np.clip(1 - crack * 30, 0, 1) * (s.footprint < 0.04)
    for offset, _ in s.section.lanes:
        for wheel in (-0.75, 0.75):
            shade += 0.07 * np.exp(-(((across - offset - wheel) / 0.25) ** 2))
        shade -= 0.08 * np.exp(-(((across - offset) / 0.35) ** 2))
    shade += np.float32(0.25) * np.exp(-((np.abs(across) - s.section.half_road) ** 2) / 0.05) * fine[:, 0]
    albedo = s.colour * np.exp(np.clip(shade, -1.2, 1.0))[:, None]
    paint = np.zeros_like(across)
    tone = np.float32([0.6, 0.6, 0.58])
    for m in s.section.markings:
        cover = _line(across - m.offset, m.width / 2, s.footprint)
        if m.gap > 0:
            cover = cover * (np.mod(along, m.dash + m.gap) < m.dash)
        paint = np.maximum(paint, cover)
        tone = np.float32(m.colour)
    for centre, half in s.section.junctions:
        stripe = (np.abs(np.abs(along - centre) - half - 2.5) < 1.5) & (np.mod(across, 1.0) < 0.5)
        paint = np.maximum(paint, (stripe & (np.abs(across) < s.section.half_road)).astype(np.float32))
    paint = paint * (s.params[:, 0] < 0.5) * np.clip(0.85 + 0.35 * fine[:, 0] + 0.3 * coarse[:, 1], 0, 1)
    albedo = albedo + (tone - albedo) * paint[:, None]
    cell_u, cell_v = np.floor(across / 3.1), np.floor(along / 17.0)
    near = np.hypot(
        across - (cell_u + hashed(cell_u, cell_v, 3)) * 3.1, along - (cell_v + hashed(cell_u, cell_v, 9)) * 17
    )
    albedo = albedo * np.where((near < 0.33) & (hashed(cell_u, cell_v, 5) < 0.3), 0.45, 1.0)[:, None]
    grazing = np.clip(1 + dot(s.view, s.normals), 0, 1)
    return _plain(albedo.astype(np.float32), 0.25 * grazing**6)


def _joints(s: Surface, width: float, height: float, joint: float, *, bond: bool) -> tuple[Array, Array]:
    """Returns (a random number for each slab or brick, how much of the pixel is joint)."""
    row = np.floor(s.uv[:, 1] / height)
    u = s.uv[:, 0] / width + (0.5 * np.mod(row, 2) if bond else 0)
    column = np.floor(u)
    edge_u = (0.5 - np.abs(u - column - 0.5)) * width
    edge_v = (0.5 - np.abs(s.uv[:, 1] / height - row - 0.5)) * height
    visible = np.clip(joint * 2.5 / s.footprint, 0, 1)
    return hashed(column, row), _line(np.minimum(edge_u, edge_v), joint / 2, s.footprint) * visible


def _paving(s: Surface) -> Shaded:
    slab, joint = _joints(s, 0.5, 0.5, 0.015, bond=True)
    albedo = s.colour * _vary(s, (29, 0, 0.15), (1.9, 1, 0.13)) * (0.92 + 0.16 * slab - 0.35 * joint)[:, None]
    return _plain(albedo)


def _grass(s: Surface) -> Shaded:
    broad = lookup(s.uv, 41.0, s.footprint)
    albedo = s.colour * _vary(s, (41, 1, 0.2), (3.7, 1, 0.35), (0.9, 1, 0.3))
    dry = np.clip(0.4 * broad[:, 0] + 0.3 * broad[:, 1], 0, 1)[:, None]
    return _plain(albedo + (np.float32([0.2, 0.16, 0.09]) - albedo) * dry)


def _concrete(s: Surface) -> Shaded:
    return _plain(s.colour * _vary(s, (17, 0, 0.15), (2.1, 1, 0.1)))


def _brick(s: Surface) -> Shaded:
    brick, joint = _joints(s, 0.25, 0.08, 0.012, bond=True)
    albedo = s.colour * _vary(s, (13, 0, 0.15), (1.3, 1, 0.15)) * (0.75 + 0.5 * brick)[:, None]
    return _plain(albedo + (0.35 - albedo) * (0.5 * joint)[:, None])


def _wood(s: Surface) -> Shaded:
    board = np.floor(s.uv[:, 0] / 0.14)
    gap = _line(np.mod(s.uv[:, 0], 0.14) - 0.07, 0.064, s.footprint)
    return _plain(s.colour * _vary(s, (5, 1, 0.2)) * ((0.8 + 0.4 * hashed(board)) * (0.4 + 0.6 * gap))[:, None])


def _roof(s: Surface) -> Shaded:
    tile, joint = _joints(s, 0.3, 0.34, 0.05, bond=False)
    return _plain(s.colour * _vary(s, (11, 0, 0.2), (2, 1, 0.15)) * (0.8 + 0.4 * tile - 0.4 * joint)[:, None])


def _leaves(s: Surface) -> Shaded:
    return _plain(s.colour * _vary(s, (4.0, 1, 0.35), (0.8, 0, 0.45)), 0.02)


def _bark(s: Surface) -> Shaded:
    return _plain(s.colour * _vary(s, (1.1, 1, 0.4)))


def _facade(s: Surface) -> Shaded:
    floor, pitch, width, style = s.params.T
    seed = np.mod(style, 1)
    column, row = np.floor(s.uv[:, 0] / pitch), np.floor(np.maximum(s.uv[:, 1] - 1, -0.5) / floor)
    du = (s.uv[:, 0] / pitch - column - 0.5) * pitch
    dv = s.uv[:, 1] - 1 - row * floor
    shop = (row <= 0) & (style >= 2)
    chance = hashed(column, row, seed * 97)
    door = (row <= 0) & ~shop & (hashed(column, seed * 31) < 0.2)
    half = np.where(shop, pitch * 0.44, np.where(door, 0.5, width / 2))
    sill = np.where(shop, 0.4, np.where(door, 0.0, 0.3 * floor))
    top = np.where(shop, 0.85 * floor, np.where(door, 2.1, np.where(style < 1, 0.82, 0.9) * floor))
    inside = np.minimum(half - np.abs(du), np.minimum(dv - sill, top - dv))
    cover = np.clip(inside / s.footprint + 0.5, 0, 1) * (row >= 0)
    pane = np.clip((inside - 0.07) / s.footprint + 0.5, 0, 1) * cover
    pane = pane * (1 - 0.9 * _line(du, 0.03, s.footprint) * (half > 0.6))
    wall = s.colour * _vary(s, (23, 0, 0.12), (3, 1, 0.08), (0.7, 1, 0.06))
    brick, joint = _joints(s, 0.25, 0.08, 0.012, bond=True)
    red = (s.colour[:, 0] > 1.5 * s.colour[:, 2])[:, None]
    wall = np.where(red, wall * (0.8 + 0.4 * brick - 0.25 * joint)[:, None], wall)
    wall = wall * (1 - 0.25 * np.clip(1 - np.maximum(s.uv[:, 1] - 1, 0) / 0.8, 0, 1))[:, None]
    band = _line(dv, 0.12, s.footprint) * (style >= 1)
    wall = wall * (1 + 0.2 * band)[:, None]
    frame = np.where(seed < 0.6, 0.55, 0.08)[:, None] * np.ones(3, np.float32)
    albedo = wall + (frame - wall) * cover[:, None]
    curtain = np.where(chance < 0.3, 0.35, np.where(chance < 0.45, 0.15, 0.025))
    curtain = curtain * np.where((chance < 0.45) & (dv > sill + (top - sill) * (0.2 + chance)), 1, 0.15) + 0.01
    glass = np.where(door & (chance < 0.8), 0.12, curtain)[:, None] * np.float32([1, 0.97, 0.9])
    albedo = albedo + (glass - albedo) * pane[:, None]
    return _plain(albedo.astype(np.float32), (0.3 * pane * (1 - door * 0.7)).astype(np.float32))


def _paint(s: Surface) -> Shaded:
    length, _, height, hull = s.params.T
    x, z = s.uv.T
    body = hull > 0.5
    albedo = s.colour * np.exp(0.05 * lookup(s.uv, 3.0, s.footprint)[:, 1])[:, None]
    door = np.minimum(np.abs(x - 0.16 * length), np.minimum(np.abs(x + 0.08 * length), np.abs(x + 0.28 * length)))
    seam = _line(door, 0.006, s.footprint) * (z > 0.3)
    handle = _line(np.abs(x - 0.03 * length) - 0.1, 0.07, s.footprint) * _line(
        z - 0.53 * height, 0.02, s.footprint
    )
    dark = np.where(body, np.maximum(np.maximum(0.8 * seam, 0.7 * handle), np.where(z < 0.3, 0.85, 0.0)), 0.0)
    dirt = np.clip(0.5 - z, 0, 0.5) * body * 0.5
    albedo = albedo * (1 - dark)[:, None]
    albedo = albedo + (0.12 - albedo) * dirt[:, None]
    cosine = np.clip(-dot(s.view, s.normals), 0, 1)
    return _plain(albedo, (0.06 + 0.6 * (1 - cosine) ** 4) * (1 - dark))


def _car_glass(s: Surface) -> Shaded:
    u, v = s.uv.T
    panes, first, last, pitch = s.params.T
    metric = pitch > 0
    local = np.mod(np.where(metric, u / np.maximum(pitch, 0.1), u * panes), 1.0)
    rim = np.minimum(np.minimum(local, 1 - local), np.where(metric, 1, np.minimum(v, 1 - v) * 0.7))
    glass = (rim > 0.04) & (metric | ((u >= first) & (u <= last)))
    seats = 0.01 + 0.05 * np.clip(0.6 - v, 0, 1) * (np.sin(u * 14) > 0.2)
    dark = seats[:, None] * np.float32([1, 1, 0.95])
    albedo = np.where(glass[:, None], dark, s.colour * 0.9)
    cosine = np.clip(-dot(s.view, s.normals), 0, 1)
    return _plain(
        albedo.astype(np.float32), np.where(glass, 0.07 + 0.7 * (1 - cosine) ** 4, 0.08).astype(np.float32)
    )


def _rubber(s: Surface) -> Shaded:
    return _plain(s.colour * _vary(s, (1.3, 1, 0.25)), 0.02)


def _lamp(s: Surface) -> Shaded:
    stripes = 0.75 + 0.25 * np.sin(s.uv[:, 0] * 60)
    return _plain(s.colour * stripes[:, None] * 0.8, 0.12, s.colour * s.params[:, :1] * stripes[:, None])


def _cloth(s: Surface) -> Shaded:
    return _plain(s.colour * _vary(s, (2.3, 0, 0.25), (0.6, 1, 0.15)))


def _panel(s: Surface) -> Shaded:
    pitch = np.maximum(s.params[:, 0], 0.05)
    groove = (
        _line(np.mod(s.uv[:, 0], pitch) - pitch / 2, 0.012, s.footprint)
        * (s.params[:, 0] < 5)
        * (s.params[:, 0] > 0)
    )
    band = (
        (s.params[:, 1] == 0) & (s.params[:, 0] > 0.6) & (s.params[:, 0] < 5) & (np.abs(s.uv[:, 1] - 1.3) < 0.35)
    )
    letters = band & (hashed(np.floor(s.uv[:, 0] / 0.2), np.floor(s.uv[:, 1] / 0.18)) < 0.45)
    albedo = s.colour * _vary(s, (7, 0, 0.1), (1.7, 1, 0.07)) * (1 - 0.3 * groove)[:, None]
    ink = np.float32([0.05, 0.1, 0.3]) * (s.colour.mean(axis=1, keepdims=True) > 0.25) + 0.4 * (
        s.colour.mean(axis=1, keepdims=True) <= 0.25
    )
    return _plain(np.where(letters[:, None], ink, albedo).astype(np.float32), 0.05)


SHADERS: dict[Material, Callable[[Surface], Shaded]] = {
    Material.ROAD: _road,
    Material.PAVING: _paving,
    Material.GRASS: _grass,
    Material.CONCRETE: _concrete,
    Material.FACADE: _facade,
    Material.ROOF: _roof,
    Material.LEAVES: _leaves,
    Material.BARK: _bark,
    Material.PAINT: _paint,
    Material.CAR_GLASS: _car_glass,
    Material.RUBBER: _rubber,
    Material.LAMP: _lamp,
    Material.CLOTH: _cloth,
    Material.PANEL: _panel,
    Material.BRICK: _brick,
    Material.WOOD: _wood,
}
