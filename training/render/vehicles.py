"""The vehicles of a street: cars, lorries, two-wheelers; x forward, origin on the ground at the centre."""

from __future__ import annotations

import numpy as np

from training.render.cars import PAINTS, car, random_paint
from training.render.heavy import heavy_vehicle
from training.render.mesh import Material, Mesh, merge, tint
from training.render.people import rider
from training.render.shapes import box, tube

KINDS = {"sedan": 0.2, "hatchback": 0.3, "estate": 0.2, "suv": 0.18, "van": 0.12}


def two_wheeler(rng: np.random.Generator, *, ridden: bool) -> Mesh:
    """Returns a bicycle or a motorcycle, with its rider if it is ridden."""
    motor = rng.uniform() < 0.4
    colour = PAINTS[rng.choice(len(PAINTS))]
    radius, half = (0.3, 0.68) if motor else (0.34, 0.53)
    parts = []
    for x in (-half, half):
        angle = np.linspace(0, 2 * np.pi, 15)
        rim = np.stack([x + radius * np.cos(angle), 0 * angle, radius + radius * np.sin(angle)], axis=1)
        parts += [
            tube(rim[k : k + 2], [0.05 if motor else 0.02] * 2, Material.RUBBER, (0.015,) * 3, sides=4)
            for k in range(14)
        ]
    joints = [(-half, 0.3), (-0.12, 0.3), (-0.2, 0.85), (0.4, 0.85), (half, 0.32), (0.38, 1.02)]
    for a, b in ((0, 1), (0, 2), (1, 2), (2, 3), (1, 3), (3, 4), (3, 5)):
        path = np.array([(joints[k][0], 0, joints[k][1]) for k in (a, b)])
        parts.append(tube(path, [0.022, 0.022], Material.PAINT, colour, (1, 1, 1, 0), sides=5))
    parts.append(
        tube(
            np.array([(0.36, -0.28, 1.04), (0.36, 0.28, 1.04)]), [0.018] * 2, Material.RUBBER, (0.03,) * 3, sides=5
        )
    )
    if motor:
        parts.append(box((0.95, 0.32, 0.42), Material.PAINT, colour, (1, 1, 1, 0), centre=(0.0, 0, 0.4)))
    if ridden:
        parts.append(rider(rng))
    return merge(parts)


def parked_vehicle(rng: np.random.Generator) -> Mesh:
    """Returns a car or van of a random kind."""
    return car(rng, rng.choice(list(KINDS), p=list(KINDS.values())))


def driving_vehicle(rng: np.random.Generator, heavy: float) -> Mesh:
    """Returns a vehicle of the traffic; `heavy` is the share of lorries and buses."""
    if rng.uniform() < heavy:
        return heavy_vehicle(rng)
    return parked_vehicle(rng)


def repaint(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    """Returns the same vehicle in another colour."""
    paint = random_paint(rng)
    return tint(tint(mesh, Material.PAINT, paint), Material.CAR_GLASS, paint)
