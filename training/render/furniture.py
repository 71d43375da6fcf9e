"""What stands along a street: lamps, signs, signals, bins, bollards, cones, barriers."""

from __future__ import annotations

import numpy as np

from training.render.mesh import Material, Mesh, merge, place
from training.render.shapes import blob, box, disc, tube

STEEL = (0.25, 0.26, 0.27)


def _pole(height: float, radius: float, colour: tuple[float, float, float] = STEEL) -> Mesh:
    """Returns an upright tube."""
    return tube(np.array([(0, 0, -0.1), (0, 0, height)]), [radius, radius * 0.7], Material.CONCRETE, colour)


def street_lamp(rng: np.random.Generator) -> Mesh:
    """Returns a lamp whose arm points along -y, over the road."""
    height, reach = rng.uniform(4, 10), rng.uniform(0.2, 2.5)
    arm = np.array([(0, 0, height), (0, -reach * 0.4, height + 0.35), (0, -reach, height + 0.45)])
    shade = rng.uniform(0.05, 0.45)
    colour = (shade, shade, shade)
    return merge(
        [
            _pole(height, 0.085, colour),
            tube(arm, [0.05, 0.04, 0.04], Material.CONCRETE, colour, sides=5),
            box(
                (0.25, 0.7, 0.14), Material.PANEL, (0.5, 0.5, 0.5), (9, 0, 0, 0), centre=(0, -reach, height + 0.38)
            ),
        ]
    )


def sign(rng: np.random.Generator) -> Mesh:
    """Returns a traffic sign that faces -x."""
    height = rng.uniform(2.0, 2.8)
    colour = [(0.55, 0.03, 0.03), (0.02, 0.1, 0.45), (0.65, 0.65, 0.65), (0.65, 0.45, 0.02), (0.02, 0.25, 0.1)][
        rng.integers(5)
    ]
    parts = [_pole(height + 0.3, 0.035, (0.35, 0.35, 0.36))]
    if rng.uniform() < 0.6:
        parts += [
            disc((-0.05, 0, height), 0, 0.32, Material.PANEL, colour),
            disc((-0.056, 0, height), 0, 0.24, Material.PANEL, (0.65, 0.65, 0.65)),
        ]
        parts.append(
            box((0.005, 0.08, 0.22), Material.PANEL, (0.03, 0.03, 0.03), centre=(-0.06, 0, height - 0.11))
        )
    else:
        w, h = rng.uniform(0.4, 1.4), rng.uniform(0.4, 0.9)
        parts += [
            box((0.02, w, h), Material.PANEL, colour, (9, 0, 0, 0), centre=(-0.05, 0, height - h / 2)),
            box(
                (0.005, w * 0.6, h * 0.15),
                Material.PANEL,
                (0.65, 0.65, 0.65),
                (9, 0, 0, 0),
                centre=(-0.065, 0, height),
            ),
        ]
    return merge(parts)


def traffic_light(rng: np.random.Generator) -> Mesh:
    """Returns a signal that faces -x, on a post or on an arm along -y."""
    arm = rng.uniform(2, 5) if rng.uniform() < 0.4 else 0.0
    height = rng.uniform(2.4, 3.2) if arm == 0 else rng.uniform(5, 6)
    parts = [_pole(height + 0.4, 0.07, (0.2, 0.2, 0.2))]
    if arm:
        parts.append(
            tube(
                np.array([(0, 0, height + 0.3), (0, -arm, height + 0.3)]),
                [0.06, 0.05],
                Material.CONCRETE,
                STEEL,
                sides=6,
            )
        )
    lit = rng.integers(3)
    colours = [(0.8, 0.03, 0.02), (0.8, 0.4, 0.02), (0.02, 0.7, 0.3)]
    parts.append(
        box(
            (0.2, 0.3, 0.9),
            Material.PANEL,
            (0.015, 0.015, 0.015),
            (9, 0, 0, 0),
            centre=(-0.1, -arm, height - 0.45),
        )
    )
    for k in range(3):
        glow = (2.0, 0, 0, 0) if k == lit else (0.02, 0, 0, 0)
        parts.append(
            box((0.02, 0.18, 0.18), Material.LAMP, colours[k], glow, centre=(-0.21, -arm, height + 0.2 - 0.3 * k))
        )
    return merge(parts)


def cone(rng: np.random.Generator) -> Mesh:
    """Returns a traffic cone with a white band."""
    height, orange = rng.uniform(0.5, 1.0), (0.7, 0.12, 0.02)
    path = np.array(
        [(0, 0, 0.03), (0, 0, height * 0.45), (0, 0, height * 0.46), (0, 0, height * 0.7), (0, 0, height)]
    )
    radii = 0.2 - 0.17 * path[:, 2] / height
    parts = [tube(path[:2], radii[:2], Material.PANEL, orange, (9, 1, 0, 0))]
    parts.append(tube(path[2:4], radii[2:4], Material.PANEL, (0.65, 0.65, 0.65), (9, 1, 0, 0)))
    parts.append(tube(path[3:], radii[3:], Material.PANEL, orange, (9, 1, 0, 0)))
    parts.append(box((0.45, 0.45, 0.04), Material.RUBBER, (0.02, 0.02, 0.02)))
    return merge(parts)


def barrier(rng: np.random.Generator) -> Mesh:
    """Returns one piece of a barrier 1.7 m long: filled plastic, a concrete block, or a striped board on feet."""
    kind = rng.integers(3)
    if kind == 0:
        colour = (0.6, 0.12, 0.03) if rng.uniform() < 0.5 else (0.6, 0.6, 0.58)
        return merge(
            [
                box((1.68, 0.45, 0.3), Material.PANEL, colour, (9, 1, 0, 0)),
                box((1.64, 0.25, 0.6), Material.PANEL, colour, (9, 1, 0, 0), centre=(0, 0, 0.3)),
            ]
        )
    if kind == 1:
        return box((1.7, 0.5, rng.uniform(0.6, 1.1)), Material.CONCRETE, rng.uniform(0.3, 0.5) * np.ones(3))
    parts = [box((0.3, 0.6, 0.1), Material.RUBBER, (0.03, 0.03, 0.03), centre=(x, 0, 0)) for x in (-0.7, 0.7)]
    for k in range(7):
        colour = (0.6, 0.05, 0.03) if k % 2 else (0.65, 0.65, 0.65)
        parts.append(
            box((0.25, 0.04, 0.25), Material.PANEL, colour, (9, 1, 0, 0), centre=(k * 0.25 - 0.75, 0, 0.75))
        )
    parts += [
        box((0.05, 0.04, 1.0), Material.PANEL, (0.4,) * 3, (9, 1, 0, 0), centre=(x, 0.03, 0)) for x in (-0.7, 0.7)
    ]
    return merge(parts)


def heap(rng: np.random.Generator) -> Mesh:
    """Returns a heap of earth or sand."""
    size = rng.uniform(0.6, 1.6)
    earth = np.array([0.2, 0.15, 0.1]) * rng.uniform(0.5, 2)
    return blob((0, 0, 0), (size, size * 0.8, size * 0.6), Material.CLOTH, earth, rng, roughness=0.3)


def crates(rng: np.random.Generator) -> Mesh:
    """Returns a stack of pallets, pipes or boxes."""
    tall = rng.uniform(0.4, 1.5)
    return box((1.2, 0.8, tall), Material.WOOD, rng.uniform(0.1, 0.4) * np.array([1, 0.8, 0.6]))


def work_sign(rng: np.random.Generator) -> Mesh:
    """Returns a striped board with an arrow that faces -x."""
    colour = (0.65, 0.45, 0.02) if rng.uniform() < 0.5 else (0.65, 0.65, 0.62)
    wide, tall = rng.uniform(0.6, 1.4), rng.uniform(0.6, 1.8)
    return merge(
        [
            box((0.05, wide, tall), Material.PANEL, colour, (9, 1, 0, 0), centre=(0, 0, 0.5)),
            box(
                (0.02, wide * 0.6, tall * 0.2),
                Material.PANEL,
                (0.4, 0.03, 0.02),
                (9, 1, 0, 0),
                centre=(-0.03, 0, 0.5 + tall / 2),
            ),
            box((0.5, wide, 0.12), Material.RUBBER, (0.03, 0.03, 0.03)),
            box((0.06, 0.06, 0.6), Material.PANEL, (0.3,) * 3, (9, 1, 0, 0)),
        ]
    )


def small_thing(rng: np.random.Generator) -> Mesh:
    """Returns a bin, a cabinet, a bollard, a hydrant, a cone, a barrier, a bench, a planter or a heap."""
    kind = rng.integers(9)
    if kind == 0:
        colour = [(0.02, 0.1, 0.04), (0.03, 0.03, 0.03), (0.3, 0.2, 0.02), (0.02, 0.05, 0.2)][rng.integers(4)]
        return merge(
            [
                box((0.6, 0.7, 1.0), Material.PANEL, colour, (9, 0, 0, 0)),
                box((0.65, 0.75, 0.07), Material.PANEL, colour, (9, 0, 0, 0), centre=(0, 0, 1.0)),
            ]
        )
    if kind == 1:
        size = (rng.uniform(0.5, 1.6), 0.45, rng.uniform(0.8, 1.6))
        return box(size, Material.PANEL, rng.uniform(0.1, 0.5) * np.array([1, 1, 0.95]), (0.6, 1, 0, 0))
    if kind == 2:
        return tube(
            np.array([(0, 0, 0), (0, 0, rng.uniform(0.6, 1.1))]), [0.09, 0.08], Material.CONCRETE, (0.4, 0.4, 0.38)
        )
    if kind == 3:
        path = np.array([(0, 0, 0), (0, 0, 0.55), (0, 0, 0.75)])
        return tube(path, [0.14, 0.13, 0.06], Material.PANEL, (0.5, 0.05, 0.03), (9, 1, 0, 0))
    if kind == 4:
        return cone(rng)
    if kind == 5:
        piece = barrier(rng)
        return merge([place(piece, (k * 1.75, 0, 0)) for k in range(int(rng.integers(1, 5)))])
    if kind == 6:
        parts = [
            box((1.6, 0.4, 0.05), Material.WOOD, (0.2, 0.12, 0.06), centre=(0, 0, 0.45)),
            box((1.6, 0.05, 0.4), Material.WOOD, (0.2, 0.12, 0.06), centre=(0, 0.2, 0.5)),
        ]
        return merge(
            [
                *parts,
                *(box((0.08, 0.4, 0.45), Material.CONCRETE, (0.2,) * 3, centre=(x, 0, 0)) for x in (-0.7, 0.7)),
            ]
        )
    if kind == 7:
        tub = box((1.2, 0.6, 0.5), Material.CONCRETE, rng.uniform(0.2, 0.5) * np.ones(3))
        return merge(
            [tub, blob((0, 0, 0.7), (0.6, 0.35, 0.35), Material.LEAVES, (0.05, 0.1, 0.03), rng, roughness=0.4)]
        )
    return heap(rng)


def gantry(width: float, rng: np.random.Generator) -> Mesh:
    """Returns a sign gantry over a highway that faces -x."""
    parts = [place(_pole(6.5, 0.2, (0.35, 0.36, 0.37)), (0, y, 0)) for y in (-width / 2, width / 2)]
    parts.append(box((0.35, width, 0.5), Material.CONCRETE, (0.35, 0.36, 0.37), centre=(0, 0, 6.2)))
    blue = (0.02, 0.08, 0.4) if rng.uniform() < 0.5 else (0.01, 0.2, 0.1)
    for y in np.arange(-width / 2 + 2, width / 2 - 2, 5):
        parts += [
            box((0.1, 3.6, 2.2), Material.PANEL, blue, (9, 0, 0, 0), centre=(-0.3, y, 5.3)),
            box((0.02, 2.4, 0.3), Material.PANEL, (0.6, 0.6, 0.6), (9, 0, 0, 0), centre=(-0.37, y, 6.4)),
        ]
    return merge(parts)
