"""The vehicles of a street: cars, trucks, buses, two-wheelers; x forward, origin on the ground at the centre."""

from __future__ import annotations

import numpy as np

from training.render.cars import PAINTS, car, random_paint, wheels
from training.render.mesh import Material, Mesh, merge, tint
from training.render.people import rider
from training.render.shapes import box, tube

KINDS = {"sedan": 0.2, "hatchback": 0.3, "estate": 0.2, "suv": 0.18, "van": 0.12}


def truck(rng: np.random.Generator) -> Mesh:
    """Returns a lorry: cab and a box, a tank, a tarpaulin or a low flatbed behind it."""
    L, W, H = rng.uniform(6, 13), rng.uniform(2.2, 2.55), rng.uniform(2.6, 3.9)
    paint = PAINTS[rng.choice(len(PAINTS))]
    cargo = rng.uniform(0.15, 0.85) * np.ones(3) if rng.uniform() < 0.6 else PAINTS[rng.choice(len(PAINTS))]
    cab_length, cab_height = rng.uniform(1.7, 2.3), min(H, rng.uniform(2.4, 3.3))
    front = L / 2 - cab_length / 2
    parts = [
        box((cab_length, W * 0.96, cab_height - 0.5), Material.PAINT, paint, (L, W, H, 0), centre=(front, 0, 0.5)),
        box(
            (cab_length * 0.8, W * 0.98, 0.75),
            Material.CAR_GLASS,
            paint,
            (1, 0, 1, 1.2),
            centre=(front + 0.22, 0, cab_height * 0.56),
        ),
        box((0.06, W * 0.8, 0.5), Material.RUBBER, (0.03, 0.03, 0.03), centre=(L / 2, 0, 0.5)),
    ]
    body_length = L - cab_length - 0.3
    centre = (-L / 2 + body_length / 2, 0.0, 1.0)
    style = rng.uniform()
    if style < 0.2:
        path = np.array([(-L / 2, 0, 1 + H * 0.33), (-L / 2 + body_length, 0, 1 + H * 0.33)])
        parts.append(tube(path, [H * 0.32, H * 0.32], Material.PAINT, cargo, (L, W, H, 0), sides=18))
    elif style < 0.35:
        parts.append(box((body_length, W, 0.5), Material.PANEL, cargo, (0.6, 0, 0, 0), centre=centre))
    else:
        parts.append(
            box((body_length, W, H - 1.0), Material.PANEL, cargo, (rng.uniform(0.3, 1.5), 0, 0, 0), centre=centre)
        )
    parts.append(box((L * 0.93, W * 0.7, 0.45), Material.RUBBER, (0.025, 0.025, 0.025), centre=(0, 0, 0.5)))
    parts.append(
        box(
            (0.05, W * 0.95, 0.18),
            Material.PANEL,
            (0.6, 0.1, 0.03),
            (0.25, 0, 0, 0),
            centre=(-L / 2 - 0.03, 0, 0.75),
        )
    )
    for side in (-1, 1):
        parts.append(
            box(
                (body_length * 0.5, 0.06, 0.35),
                Material.RUBBER,
                (0.2, 0.2, 0.2),
                centre=(-L * 0.05, side * W * 0.48, 0.5),
            )
        )
        parts.append(
            box(
                (0.06, 0.35, 0.14),
                Material.LAMP,
                (0.4, 0.015, 0.01),
                (0.8, 0, 0, 0),
                centre=(-L / 2 - 0.04, side * W * 0.38, 0.75),
            )
        )
        parts.append(
            box(
                (0.1, 0.3, 0.2),
                Material.LAMP,
                (0.5, 0.5, 0.5),
                (0.4, 0, 0, 0),
                centre=(L / 2, side * W * 0.36, 0.65),
            )
        )
    parts.append(wheels([-L * 0.36, -L * 0.36 + 1.2, front], W / 2 * 0.98, 0.48, rng))
    return merge(parts)


def bus(rng: np.random.Generator) -> Mesh:
    """Returns a city bus."""
    L, W, H = rng.uniform(9, 13), 2.5, rng.uniform(2.9, 3.3)
    paint = PAINTS[rng.choice(len(PAINTS), p=np.r_[np.ones(2), np.ones(14) * 3] / 44)]
    parts = [
        box((L, W, H - 0.35), Material.PAINT, paint, (L, W, H, 0), centre=(0, 0, 0.35)),
        box((L * 0.97, W + 0.02, 1.1), Material.CAR_GLASS, paint, (1, 0, 1, 1.5), centre=(0, 0, 1.25)),
        box((L + 0.02, W * 0.9, 1.5), Material.CAR_GLASS, paint, (1, 0, 1, 1.25), centre=(0, 0, 1.15)),
        wheels([-L * 0.28, L * 0.3], W / 2, 0.48, rng),
    ]
    for side in (-1, 1):
        parts.append(
            box(
                (0.06, 0.25, 0.3),
                Material.LAMP,
                (0.4, 0.015, 0.01),
                (0.8, 0, 0, 0),
                centre=(-L / 2, side * 1.0, 0.8),
            )
        )
        parts.append(
            box((0.06, 0.35, 0.2), Material.LAMP, (0.5, 0.5, 0.5), (0.6, 0, 0, 0), centre=(L / 2, side * 0.9, 0.7))
        )
    return merge(parts)


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
    """Returns a vehicle of the traffic; `heavy` is the share of trucks and buses."""
    if rng.uniform() < heavy:
        return bus(rng) if rng.uniform() < 0.3 else truck(rng)
    return parked_vehicle(rng)


def repaint(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    """Returns the same vehicle in another colour."""
    paint = random_paint(rng)
    return tint(tint(mesh, Material.PAINT, paint), Material.CAR_GLASS, paint)
