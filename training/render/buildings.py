"""Houses, blocks, walls and fences."""

from __future__ import annotations

import numpy as np

from training.render.mesh import Array, Material, Mesh, merge, place
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


def guard_rail(length: float) -> Mesh:
    """Returns a steel crash barrier along x."""
    posts = [
        box((0.08, 0.1, 0.75), Material.PANEL, (0.3, 0.3, 0.3), (9, 0, 0, 0), centre=(x, 0.1, 0))
        for x in np.arange(-length / 2, length / 2, 3.0)
    ]
    return merge(
        [
            *posts,
            box((length, 0.06, 0.14), Material.PANEL, (0.42, 0.43, 0.44), (9, 0, 0, 0), centre=(0, 0, 0.6)),
            box((length, 0.08, 0.1), Material.PANEL, (0.36, 0.37, 0.38), (9, 0, 0, 0), centre=(0, 0, 0.46)),
        ]
    )


def bridge(span: float, rng: np.random.Generator) -> Mesh:
    """Returns an overpass along y at the origin, on piers, 4.8 to 6.5 m above the road."""
    width, clear, thick = rng.uniform(2.5, 14), rng.uniform(4.8, 6.5), rng.uniform(0.7, 1.6)
    colour = np.full(3, rng.uniform(0.25, 0.5), np.float32)
    parts = [box((width, 160, thick), Material.CONCRETE, colour, centre=(0, 0, clear))]
    parts += [
        box((0.25, 160, 1.0), Material.CONCRETE, colour * 0.9, centre=(x, 0, clear + thick))
        for x in (-width / 2, width / 2)
    ]
    for y in (-span, span):
        parts += [
            tube(np.array([(x, y, 0), (x, y, clear)]), [0.5, 0.5], Material.CONCRETE, colour)
            for x in (-width / 3, width / 3)
        ]
    return merge(parts)
