"""Lorries and buses; x forward, origin on the ground at the centre."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.render.cars import wheels
from training.render.liveries import PLAIN, fleet_colour, livery, warning_stripes
from training.render.lorry_bodies import BODIES, DARK
from training.render.machines import excavator, tractor
from training.render.mesh import Array, Material, Mesh, merge, place
from training.render.pictures import picture_panel
from training.render.shapes import box, tube


def _cab(front: float, W: float, H: float, rng: np.random.Generator) -> Mesh:
    """Returns a driver's cab whose face is at x = front, W wide and H high."""
    L, paint = rng.uniform(1.7, 2.3), fleet_colour(rng)
    floor, slant = rng.uniform(0.4, 0.6), rng.uniform(0.0, 0.25)
    middle = front - L / 2
    parts = [
        box((L, W, H * 0.55 - floor), Material.PAINT, paint, (L, W, H, 0), centre=(middle, 0, floor)),
        box(
            (L - slant, W * 0.97, H * 0.45),
            Material.PAINT,
            paint,
            (L, W, H, 0),
            centre=(middle - slant / 2, 0, H * 0.55),
        ),
        box(
            (0.04, W * 0.88, H * 0.26),
            Material.CAR_GLASS,
            paint,
            (1, 0, 1, 0),
            centre=(front - slant + 0.02, 0, H * 0.57),
        ),
        box(
            (L * 0.42, W + 0.02, H * 0.22),
            Material.CAR_GLASS,
            paint,
            (1, 0, 1, 0),
            centre=(front - slant - L * 0.24, 0, H * 0.58),
        ),
        box((0.06, W * 0.8, H * 0.2), Material.RUBBER, DARK, centre=(front, 0, H * 0.28)),
        box(
            (0.08, W * 0.98, 0.3),
            Material.RUBBER,
            DARK if rng.uniform() < 0.5 else paint,
            centre=(front, 0, floor),
        ),
    ]
    for side in (-1, 1):
        parts += [
            box(
                (0.1, 0.3, 0.18),
                Material.LAMP,
                (0.5, 0.5, 0.5),
                (0.5, 0, 0, 0),
                centre=(front + 0.01, side * W * 0.38, floor + 0.12),
            ),
            box((0.12, 0.2, 0.5), Material.RUBBER, DARK, centre=(front - 0.15, side * (W / 2 + 0.14), H * 0.6)),
        ]
    if rng.uniform() < 0.5:
        parts.append(
            box(
                (L * 0.6, W * 0.9, rng.uniform(0.3, 0.7)),
                Material.PAINT,
                paint,
                (L, W, H, 0),
                centre=(middle - 0.2, 0, H),
            )
        )
    return merge(parts)


def _chassis(rear: float, front: float, W: float, axles: list[float], rng: np.random.Generator) -> Mesh:
    """Returns the frame, wheels, guards and the rear end's lamps of what reaches from x = rear to front."""
    L, x = front - rear, (front + rear) / 2
    floor = 0.95
    parts = [
        box((L, W * 0.45, 0.35), Material.RUBBER, DARK, centre=(x, 0, floor - 0.35)),
        wheels(axles, W / 2 * 0.98, rng.uniform(0.45, 0.52), rng),
        box((0.12, W * 0.92, 0.16), Material.PANEL, (0.3, 0.3, 0.3), PLAIN, centre=(rear + 0.1, 0, 0.45)),
        box((0.02, 0.5, 0.12), Material.PANEL, (0.7, 0.6, 0.1), PLAIN, centre=(rear - 0.02, 0, 0.68)),
    ]
    if rng.uniform() < 0.45:
        parts.append(warning_stripes(rear - 0.02, W * 0.92, 0.14, 0.83, rng))
    guarded = rng.uniform() < 0.6
    for side in (-1, 1):
        parts.append(
            box(
                (0.06, 0.38, 0.15),
                Material.LAMP,
                (0.4, 0.015, 0.01),
                (rng.choice([0.3, 0.9]), 0, 0, 0),
                centre=(rear - 0.02, side * W * 0.36, 0.66),
            )
        )
        if guarded:
            for z in (0.45, 0.72):
                parts.append(
                    box(
                        (L * 0.4, 0.05, 0.13),
                        Material.PANEL,
                        (0.35, 0.35, 0.36),
                        PLAIN,
                        centre=(x, side * W * 0.47, z),
                    )
                )
        elif rng.uniform() < 0.7:
            tank = np.array([(x - L * 0.08, side * W * 0.38, 0.62), (x + L * 0.08, side * W * 0.38, 0.62)])
            parts.append(tube(tank, [0.28, 0.28], Material.PANEL, (0.35, 0.35, 0.36), PLAIN, sides=10))
    return merge(parts)


def rigid_lorry(rng: np.random.Generator) -> Mesh:
    """Returns a lorry of one piece, 5.5 to 11 m long."""
    L, W, H = rng.uniform(5.5, 11), rng.uniform(2.0, 2.55), rng.uniform(2.6, 3.9)
    cab = rng.uniform(2.2, 3.1)
    body = BODIES[rng.integers(len(BODIES))]
    axles = [-L * 0.27, L / 2 - 1.2] + ([-L * 0.27 - 1.3] if L > 8 else [])
    front = L / 2 - 2.4
    return merge(
        [
            _cab(L / 2, min(W, 2.45), cab, rng),
            _chassis(-L / 2, L / 2 - 0.4, W, axles, rng),
            body(-L / 2, front, W, H, rng),
        ]
    )


def picture_lorry(rng: np.random.Generator, picture: Array) -> Mesh:
    """Returns a closed lorry 5.5 to 11 m long with a picture on its sides and sometimes on its doors."""
    L, W, H = rng.uniform(5.5, 11), rng.uniform(2.0, 2.55), rng.uniform(2.6, 3.9)
    rear, front = -L / 2, L / 2 - 2.4
    middle, axles = (rear + front) / 2, [-L * 0.27, L / 2 - 1.2]
    parts = [
        _cab(L / 2, min(W, 2.45), rng.uniform(2.2, 3.1), rng),
        _chassis(rear, L / 2 - 0.4, W, axles, rng),
        box(
            (front - rear, W, H - 0.95),
            Material.PANEL,
            fleet_colour(rng),
            PLAIN,
            centre=((rear + front) / 2, 0, 0.95),
        ),
    ]
    panel = picture_panel(picture, (front - rear - 0.1, H - 1.05), rng)
    parts += [place(panel, (middle, side * (W / 2 + 0.02), 1.0), 0.0 if side < 0 else np.pi) for side in (-1, 1)]
    if rng.uniform() < 0.5:
        doors = picture_panel(picture, (W - 0.1, H - 1.05), rng)
        parts.append(place(doors, (rear - 0.02, 0, 1.0), -np.pi / 2))
    return merge(parts)


def trailer_lorry(rng: np.random.Generator) -> Mesh:
    """Returns a tractor with a semi-trailer, 13 to 16.5 m long."""
    L, W, H = rng.uniform(13, 16.5), 2.5, rng.uniform(3.4, 4.0)
    body = BODIES[rng.choice([0, 0, 0, 3, 3, 4, 6])]
    axles = [-L / 2 + 1.6, -L / 2 + 2.9, -L / 2 + 4.2]
    tractor = [L / 2 - 1.3, L / 2 - 4.6]
    return merge(
        [
            _cab(L / 2, 2.45, rng.uniform(2.9, 3.7), rng),
            _chassis(-L / 2, L / 2 - 3.2, W, axles, rng),
            _chassis(L / 2 - 5.4, L / 2 - 0.4, W * 0.96, tractor, rng),
            body(-L / 2, L / 2 - 2.9, W, H, rng),
        ]
    )


def box_van(rng: np.random.Generator) -> Mesh:
    """Returns a small delivery lorry on a van's cab, 5.5 to 7.2 m long."""
    L, W, H = rng.uniform(5.5, 7.2), rng.uniform(2.0, 2.3), rng.uniform(2.6, 3.3)
    body = BODIES[rng.choice([0, 0, 0, 0, 4, 6])]
    return merge(
        [
            _cab(L / 2, W * 0.93, 2.25, rng),
            _chassis(-L / 2, L / 2 - 0.6, W * 0.95, [-L * 0.26, L / 2 - 1.0], rng),
            body(-L / 2, L / 2 - 2.2, W, H, rng),
        ]
    )


def bus(rng: np.random.Generator) -> Mesh:
    """Returns a minibus, a city bus, a coach or a double-decker."""
    kind = rng.choice(4, p=[0.2, 0.45, 0.25, 0.1])
    L, W = (rng.uniform(5.5, 7.5), 2.1) if kind == 0 else (rng.uniform(9.5, 13.5), 2.52)
    H = (rng.uniform(2.5, 2.9), rng.uniform(2.9, 3.2), rng.uniform(3.3, 3.7), rng.uniform(4.1, 4.3))[kind]
    paint, second = fleet_colour(rng), fleet_colour(rng)
    sill = 0.95 if kind < 2 else 1.45
    parts = [
        box((L, W, H - 0.3), Material.PAINT, paint, (L, W, H, 0), centre=(0, 0, 0.3)),
        box((L * 0.95, W * 0.9, 0.25), Material.PANEL, paint * 0.8, PLAIN, centre=(-0.1, 0, H)),
        box(
            (L * 0.96, W + 0.02, rng.uniform(0.9, 1.15)),
            Material.CAR_GLASS,
            paint,
            (1, 0, 1, rng.uniform(1.0, 1.9)),
            centre=(0, 0, sill),
        ),
        box((0.04, W * 0.9, 1.35), Material.CAR_GLASS, paint, (1, 0, 1, 0), centre=(L / 2 + 0.01, 0, 0.95)),
        box((0.04, W * 0.8, 0.7), Material.CAR_GLASS, paint, (1, 0, 1, 0), centre=(-L / 2 - 0.01, 0, 1.5)),
        box(
            (0.03, W * 0.6, 0.22),
            Material.LAMP,
            (0.7, 0.4, 0.05),
            (0.8, 0, 0, 0),
            centre=(L / 2 + 0.02, 0, H - 0.4),
        ),
        wheels([-L * 0.27, L * 0.31], W / 2, 0.48 if kind else 0.36, rng),
    ]
    if kind == 3:
        parts.append(
            box((L * 0.97, W + 0.02, 0.95), Material.CAR_GLASS, paint, (1, 0, 1, 1.5), centre=(0, 0, 2.9))
        )
    if rng.uniform() < 0.6:
        parts.append(
            box(
                (L * rng.uniform(0.3, 1.001), W + 0.015, rng.uniform(0.2, 0.6)),
                Material.PANEL,
                second,
                PLAIN,
                centre=(0, 0, rng.uniform(0.32, 0.5)),
            )
        )
    for side in (-1, 1):
        parts.append(
            box(
                (0.06, 0.22, 0.4),
                Material.LAMP,
                (0.4, 0.015, 0.01),
                (rng.choice([0.3, 0.9]), 0, 0, 0),
                centre=(-L / 2, side * W * 0.42, 0.8),
            )
        )
        parts.append(
            box(
                (0.06, 0.35, 0.2),
                Material.LAMP,
                (0.5, 0.5, 0.5),
                (0.6, 0, 0, 0),
                centre=(L / 2, side * W * 0.37, 0.6),
            )
        )
        parts.append(
            box((0.12, 0.12, 0.45), Material.RUBBER, DARK, centre=(L / 2 + 0.1, side * (W / 2 + 0.1), H * 0.6))
        )
    if rng.uniform() < 0.5:
        parts += livery((-L / 2 + 0.5, L * 0.1), W, (0.35, sill), rng)
    return merge(parts)


HEAVY: dict[str, tuple[float, Callable[[np.random.Generator], Mesh]]] = {
    "rigid lorry": (0.32, rigid_lorry),
    "trailer lorry": (0.22, trailer_lorry),
    "box van": (0.2, box_van),
    "bus": (0.2, bus),
    "excavator": (0.03, excavator),
    "tractor": (0.03, tractor),
}


def heavy_vehicle(rng: np.random.Generator) -> Mesh:
    """Returns a lorry, bus or machine, as often as its share says."""
    kind = rng.choice(list(HEAVY), p=[share for share, _ in HEAVY.values()])
    return HEAVY[kind][1](rng)
