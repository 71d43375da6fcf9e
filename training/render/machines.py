"""Construction machines, farm tractors, and the trailers of cars."""

from __future__ import annotations

import numpy as np

from training.render.cars import wheels
from training.render.liveries import PLAIN, fleet_colour
from training.render.mesh import Material, Mesh, merge, place
from training.render.shapes import box, tube

DARK = (0.025, 0.025, 0.025)


def excavator(rng: np.random.Generator) -> Mesh:
    """Returns a digger on tracks or wheels."""
    colour = np.array([(0.6, 0.38, 0.02), (0.55, 0.2, 0.02), (0.5, 0.5, 0.48)])[rng.integers(3)]
    parts = [
        box((2.4, 2.1, 1.1), Material.PAINT, colour, (2, 2, 1, 0), centre=(-0.6, 0, 1.0)),
        box((1.3, 0.95, 1.5), Material.CAR_GLASS, colour, (1, 0, 1, 0), centre=(0.5, 0.55, 1.1)),
    ]
    if rng.uniform() < 0.6:
        for y in (-0.85, 0.85):
            parts.append(box((3.0, 0.5, 0.75), Material.RUBBER, DARK, centre=(0, y, 0.05)))
    else:
        parts.append(wheels([-1.1, 1.1], 1.1, 0.55, rng))
        parts.append(box((2.8, 1.2, 0.4), Material.RUBBER, DARK, centre=(0, 0, 0.6)))
    reach = rng.uniform(2.0, 3.2)
    arm = np.array([(0.4, -0.4, 1.5), (reach * 0.7, -0.4, 3.4), (reach + 0.3, -0.4, 2.6), (reach, -0.4, 0.9)])
    for a, b in ((0, 1), (1, 2), (2, 3)):
        parts.append(tube(arm[[a, b]], [0.2, 0.15], Material.PAINT, colour, (9, 1, 1, 0), sides=5))
    parts.append(box((0.8, 0.9, 0.6), Material.PANEL, (0.1, 0.1, 0.1), PLAIN, centre=(reach + 0.1, -0.4, 0.35)))
    return merge(parts)


def tractor(rng: np.random.Generator) -> Mesh:
    """Returns a farm tractor, half of the time with a trailer."""
    colour = np.array([(0.04, 0.2, 0.04), (0.4, 0.03, 0.02), (0.03, 0.1, 0.35), (0.5, 0.4, 0.02)])[rng.integers(4)]
    parts = [
        box((1.8, 0.8, 0.8), Material.PAINT, colour, (2, 1, 1, 0), centre=(0.9, 0, 0.8)),
        box((1.5, 1.5, 1.5), Material.CAR_GLASS, colour, (1, 0, 1, 0), centre=(-0.5, 0, 1.15)),
        box((1.6, 1.6, 0.15), Material.PAINT, colour, (2, 1, 1, 0), centre=(-0.5, 0, 2.65)),
        wheels([1.4], 0.9, 0.5, rng),
        wheels([-0.7], 1.05, 0.82, rng),
    ]
    if rng.uniform() < 0.5:
        side = rng.uniform(0.5, 1.3)
        for y in (-1.05, 1.05):
            parts.append(box((4.5, 0.08, side), Material.PANEL, colour, (0.6, 1, 0, 0), centre=(-5.0, y, 0.9)))
        for x in (-7.2, -2.8):
            parts.append(box((0.08, 2.1, side), Material.PANEL, colour, PLAIN, centre=(x, 0, 0.9)))
        parts += [box((4.5, 2.1, 0.12), Material.WOOD, (0.2, 0.15, 0.1), centre=(-5.0, 0, 0.85))]
        parts.append(wheels([-5.9, -4.7], 1.0, 0.45, rng))
        parts.append(box((2.0, 0.15, 0.15), Material.RUBBER, DARK, centre=(-1.6, 0, 0.7)))
    mesh = merge(parts)
    x = mesh.points[..., 0]
    return place(mesh, (-(float(x.max()) + float(x.min())) / 2, 0, 0))


def car_trailer(rng: np.random.Generator) -> Mesh:
    """Returns what a car draws, behind its coupling at x = 0: a box, a caravan or an open trailer."""
    kind = rng.integers(3)
    L, W, H = ((rng.uniform(2, 3), 1.5, 1.7), (rng.uniform(4, 6), 2.2, 2.6), (rng.uniform(2, 3.5), 1.5, 0.9))[kind]
    white = rng.uniform(0.4, 0.8) * np.ones(3)
    colour = white if kind == 1 else fleet_colour(rng)
    middle = -1.2 - L / 2
    parts = [
        box((L, W, H - 0.5), Material.PANEL, colour, (9 if kind < 2 else 0.7, 1, 0, 0), centre=(middle, 0, 0.5)),
        box((1.2, 0.1, 0.1), Material.RUBBER, DARK, centre=(-0.6, 0, 0.45)),
        wheels([middle - 0.2], W / 2 + 0.02, 0.3, rng),
    ]
    if kind == 1:
        parts.append(
            box((L * 0.5, W + 0.02, 0.6), Material.CAR_GLASS, colour, (1, 0, 1, 1.0), centre=(middle, 0, 1.4))
        )
        parts.append(
            box((0.03, W * 0.7, 0.6), Material.CAR_GLASS, colour, (1, 0, 1, 0), centre=(-1.2 - L, 0, 1.4))
        )
    for side in (-1, 1):
        parts.append(
            box(
                (0.05, 0.2, 0.12),
                Material.LAMP,
                (0.4, 0.015, 0.01),
                (0.5, 0, 0, 0),
                centre=(-1.2 - L, side * W * 0.42, 0.55),
            )
        )
    return merge(parts)
