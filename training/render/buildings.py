"""Houses, blocks, walls and fences."""

from __future__ import annotations

import numpy as np

from training.render.liveries import text_panel
from training.render.mesh import Array, Material, Mesh, from_quads, merge, place
from training.render.shapes import box, roof, tube


def _wall_colour(rng: np.random.Generator) -> Array:
    """Returns the albedo of plaster, stone or brick."""
    kinds = np.array(
        [
            (0.62, 0.6, 0.55),
            (0.5, 0.44, 0.33),
            (0.3, 0.15, 0.1),
            (0.42, 0.42, 0.42),
            (0.55, 0.47, 0.4),
            (0.2, 0.2, 0.21),
            (0.6, 0.5, 0.3),
            (0.35, 0.4, 0.45),
        ]
    )
    return (kinds[rng.integers(len(kinds))] * rng.uniform(0.7, 1.25) * rng.uniform(0.93, 1.07, 3)).astype(
        np.float32
    )


def _facade_params(rng: np.random.Generator, *, tall: bool) -> tuple[float, float, float, float]:
    """Returns floor height, window pitch, window width (metres) and a style number whose fraction is the seed."""
    pitch = rng.uniform(1.6, 4.2)
    floor = rng.uniform(2.7, 3.8)
    share = rng.uniform(0.3, 0.6) if not tall or rng.uniform() < 0.6 else rng.uniform(0.7, 0.95)
    style = float(rng.integers(3)) + rng.uniform(0.01, 0.99)
    return (floor, pitch, pitch * share, style)


def _plinth(width: float, depth: float) -> Mesh:
    """Returns the foundation that fills the gap under a building on a slope."""
    return box((width - 0.1, depth - 0.1, 4.0), Material.CONCRETE, (0.25, 0.24, 0.23), centre=(0, 0, -4.9))


def _shop_front(
    width: float, depth: float, params: tuple[float, float, float, float], rng: np.random.Generator
) -> list[Mesh]:
    """Returns signs with lettering, awnings and a canopy above shop windows."""
    floor, front, parts = params[0], -depth / 2, []
    x = -width / 2 + 0.3
    while x < width / 2 - 2.5:
        wide = min(rng.uniform(2.5, 9), width / 2 - x)
        colour = rng.uniform(0.02, 0.6, 3)
        if rng.uniform() < 0.8:
            size, middle = (wide - 0.4, 0.12, 0.6), (x + wide / 2, front - 0.06, floor * 0.87)
            parts.append(box(size, Material.PANEL, colour, (9, 1, 0, 0), centre=middle))
            parts.append(text_panel(-1, -front + 0.11, (x + 0.6, floor * 0.87 + 0.12), wide - 1.4, 0.36, rng))
        if rng.uniform() < 0.35:
            reach, top = rng.uniform(0.8, 1.8), floor * 0.85
            a, b = (x + 0.2, x + wide - 0.2)
            quad = [(a, front, top), (b, front, top), (b, front - reach, top - 0.6), (a, front - reach, top - 0.6)]
            uv = [(0, 0), (b - a, 0), (b - a, reach), (0, reach)]
            cloth = rng.uniform(0.03, 0.6, 3)
            parts.append(from_quads(np.array([quad]), np.array([uv]), Material.CLOTH, cloth))
        x += wide
    return parts


def house(rng: np.random.Generator) -> tuple[Mesh, float, float]:
    """Returns a dwelling with a gabled roof, its front along x at y = 0 facing -y; and its width and depth (m)."""
    width, depth = rng.uniform(6.5, 16), rng.uniform(7, 11)
    floors = int(rng.integers(1, 4))
    params = _facade_params(rng, tall=False)
    height = floors * params[0] + rng.uniform(0.2, 0.8)
    colour = _wall_colour(rng)
    tiles = np.array([(0.25, 0.08, 0.05), (0.1, 0.09, 0.09), (0.16, 0.11, 0.08), (0.05, 0.05, 0.055)])[
        rng.integers(4)
    ] * rng.uniform(0.7, 1.4)
    parts = [box((width, depth, height + 1), Material.FACADE, colour, params, centre=(0, 0, -1))]
    parts.append(_plinth(width, depth))
    along = roof((width, depth), rng.uniform(1.8, 4.2), height, tiles, colour)
    if rng.uniform() < 0.35:
        along = place(roof((depth, width), rng.uniform(2.5, 4.5), height, tiles, colour), (0, 0, 0), np.pi / 2)
    parts.append(along)
    if rng.uniform() < 0.5:
        parts.append(
            box(
                (0.6, 0.6, 2.5),
                Material.BRICK,
                (0.2, 0.1, 0.07),
                centre=(width * rng.uniform(-0.3, 0.3), rng.uniform(-1, 1), height + 0.8),
            )
        )
    if rng.uniform() < 0.4:
        bay = (rng.uniform(2, 4), rng.uniform(0.8, 2), min(height, rng.uniform(2.6, 5.5)))
        parts.append(
            box(
                bay,
                Material.FACADE,
                colour,
                params,
                centre=(width * rng.uniform(-0.3, 0.3), -depth / 2 - bay[1] / 2, 0),
            )
        )
    if rng.uniform() < 0.3:
        parts.append(
            box((3.2, 6, 2.6), Material.PANEL, _wall_colour(rng), (0.3, 1, 0, 0), centre=(width / 2 + 1.6, 0, 0))
        )
        width += 3.2
    return place(merge(parts), (0, depth / 2, 0)), width, depth


def block(rng: np.random.Generator) -> tuple[Mesh, float, float]:
    """Returns a flat-roofed city building, its front along x at y = 0 facing -y; and its width and depth (m)."""
    width, depth = rng.uniform(9, 40), rng.uniform(10, 22)
    params = _facade_params(rng, tall=True)
    height = params[0] * rng.integers(2, 9) + 0.8
    if rng.uniform() < 0.08:
        height *= 3
    colour = _wall_colour(rng)
    parts = [box((width, depth, height + 1), Material.FACADE, colour, params, centre=(0, 0, -1))]
    parts.append(_plinth(width, depth))
    if params[3] >= 2 and rng.uniform() < 0.6:
        parts += _shop_front(width, depth, params, rng)
    if rng.uniform() < 0.5:
        parts.append(box((width + 0.5, depth + 0.5, 0.5), Material.CONCRETE, colour * 0.9, centre=(0, 0, height)))
    if rng.uniform() < 0.35:
        parts.append(
            box((width, 1.6, 0.25), Material.CONCRETE, _wall_colour(rng), centre=(0, -depth / 2 - 0.8, params[0]))
        )
    if rng.uniform() < 0.35:
        floors = round(height / params[0])
        for x in np.arange(-width / 2 + 2, width / 2 - 1.5, max(3.5, params[1] * 2)):
            for floor in range(1, min(floors, 6)):
                parts.append(
                    box(
                        (params[1] * 0.9, 1.1, 1.05),
                        Material.CONCRETE,
                        colour * 0.8,
                        centre=(x, -depth / 2 - 0.55, floor * params[0] - 0.1),
                    )
                )
    return place(merge(parts), (0, depth / 2, 0)), width, depth


def wall(length: float, rng: np.random.Generator) -> Mesh:
    """Returns a garden or concrete wall along x."""
    height = rng.uniform(0.5, 2.4)
    material = (Material.BRICK, Material.CONCRETE, Material.WOOD)[rng.integers(3)]
    colour = _wall_colour(rng) * (0.7 if material == Material.WOOD else 1.0)
    return box((length, 0.2, height + 0.3), material, colour, centre=(0, 0, -0.3))


def fence(length: float, rng: np.random.Generator) -> Mesh:
    """Returns a fence of posts, rails and pickets along x, seen through."""
    height = rng.uniform(0.8, 1.9)
    colour = (_wall_colour(rng) * rng.choice([0.15, 1.0])).astype(np.float32)
    pitch = rng.uniform(0.12, 0.3) if rng.uniform() < 0.6 else 1.0
    xs = np.arange(-length / 2, length / 2, pitch)
    parts = [
        box((pitch * 0.35 if pitch < 1 else 0.06, 0.03, height), Material.WOOD, colour, centre=(x, 0, 0))
        for x in xs
    ]
    for z in (0.25, 0.55, 0.9):
        parts.append(box((length, 0.05, 0.06), Material.WOOD, colour, centre=(0, 0, height * z)))
    return merge(parts)


def post(height: float) -> Mesh:
    """Returns a post of a crash barrier."""
    return box((0.08, 0.1, height + 0.2), Material.PANEL, (0.3, 0.3, 0.3), (9, 0, 0, 0), centre=(0, 0, -0.2))


def bridge(span: float, rng: np.random.Generator) -> Mesh:
    """Returns an overpass along y at the origin, on piers, 4.6 to 6.5 m above the road; its underside is seen."""
    width, clear, thick = rng.uniform(2.5, 14), rng.uniform(4.6, 6.5), rng.uniform(0.5, 1.2)
    colour = np.full(3, rng.uniform(0.2, 0.5), np.float32)
    parts = [box((width, 160, thick), Material.CONCRETE, colour, centre=(0, 0, clear + 0.5))]
    for x in np.linspace(-width * 0.4, width * 0.4, int(rng.integers(2, 5))):
        parts.append(box((0.5, 160, 0.5), Material.CONCRETE, colour * 0.85, centre=(x, 0, clear)))
    rail = rng.uniform(0.9, 1.3)
    for x in (-width / 2, width / 2):
        if rng.uniform() < 0.5:
            parts.append(
                box((0.25, 160, rail), Material.CONCRETE, colour * 0.9, centre=(x, 0, clear + 0.5 + thick))
            )
            continue
        for z in np.linspace(0.3, rail, 4):
            bar = np.array([(x, -80, clear + 0.5 + thick + z), (x, 80, clear + 0.5 + thick + z)])
            parts.append(tube(bar, [0.04, 0.04], Material.CONCRETE, colour * 0.6, sides=4))
    for y in (-span, span):
        if rng.uniform() < 0.4:
            parts.append(box((width, 1.0, clear), Material.CONCRETE, colour * 0.95, centre=(0, y * 1.03, 0)))
            continue
        parts += [
            tube(np.array([(x, y, -2), (x, y, clear)]), [0.5, 0.5], Material.CONCRETE, colour)
            for x in (-width / 3, width / 3)
        ]
    return merge(parts)
