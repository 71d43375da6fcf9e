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


def small_thing(rng: np.random.Generator) -> Mesh:
    """Returns a bin, a cabinet, a bollard, a cone, a plastic barrier, a post box or a heap."""
    kind = rng.integers(6)
    if kind == 0:
        colour = [(0.02, 0.1, 0.04), (0.03, 0.03, 0.03), (0.3, 0.2, 0.02), (0.02, 0.05, 0.2)][rng.integers(4)]
        return merge(
            [
                box((0.6, 0.7, 1.0), Material.PANEL, colour, (9, 0, 0, 0)),
                box((0.65, 0.75, 0.07), Material.PANEL, colour, (9, 0, 0, 0), centre=(0, 0, 1.0)),
            ]
        )
    if kind == 1:
        shade = rng.uniform(0.1, 0.5)
        return box(
            (rng.uniform(0.5, 1.6), 0.45, rng.uniform(0.8, 1.6)),
            Material.PANEL,
            (shade, shade, shade * 0.95),
            (0.6, 0, 0, 0),
        )
    if kind == 2:
        return tube(
            np.array([(0, 0, 0), (0, 0, rng.uniform(0.6, 1.1))]), [0.09, 0.08], Material.CONCRETE, (0.4, 0.4, 0.38)
        )
    if kind == 3:
        cone = tube(
            np.array([(0, 0, 0.03), (0, 0, 0.7)]), [0.18, 0.03], Material.PANEL, (0.7, 0.12, 0.02), (9, 0, 0, 0)
        )
        return merge([cone, box((0.4, 0.4, 0.04), Material.RUBBER, (0.02, 0.02, 0.02))])
    if kind == 4:
        colour = (0.6, 0.12, 0.03) if rng.uniform() < 0.5 else (0.6, 0.6, 0.58)
        parts = [
            place(
                box((1.6, 0.45, 0.85), Material.PANEL, colour if k % 2 else (0.55, 0.55, 0.53), (9, 0, 0, 0)),
                (k * 1.7, 0, 0),
            )
            for k in range(int(rng.integers(1, 6)))
        ]
        return merge(parts)
    return blob((0, 0, 0.1), (0.6, 0.6, 0.4), Material.CLOTH, rng.uniform(0.02, 0.4, 3), rng, roughness=0.4)


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
