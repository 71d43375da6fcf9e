"""What lorries carry: closed boxes, tanks, tippers, mixers, flatbeds with their loads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.render.cars import PAINTS
from training.render.liveries import PLAIN, fleet_colour, livery, text_panel
from training.render.machines import excavator
from training.render.mesh import Material, Mesh, merge, place
from training.render.shapes import blob, box, tube

DARK = (0.025, 0.025, 0.025)


def van_body(rear: float, front: float, W: float, H: float, rng: np.random.Generator) -> Mesh:
    """Returns a closed box: smooth, ribbed as a container, or a curtain."""
    colour, L = fleet_colour(rng), front - rear
    ribs = rng.choice([9.0, 0.25, 0.6, 1.2])
    body = box((L, W, H - 0.95), Material.PANEL, colour, (ribs, 1, 0, 0), centre=((rear + front) / 2, 0, 0.95))
    frame = [
        box((0.08, W + 0.03, H - 0.95), Material.PANEL, colour * rng.uniform(0.4, 1.1), PLAIN, centre=(x, 0, 0.95))
        for x in (rear + 0.02, front - 0.04)
    ]
    doors = box((0.03, 0.03, H - 1.1), Material.RUBBER, DARK, centre=(rear - 0.02, 0, 1.0))
    return merge([body, *frame, doors, *livery((rear, front), W, (0.95, H), rng)])


def tank_body(rear: float, front: float, W: float, H: float, rng: np.random.Generator) -> Mesh:
    """Returns a lying tank on cradles, with a ladder, a walkway and lettering."""
    radius, colour = min(W / 2, (H - 0.95) / 2) * 0.98, fleet_colour(rng)
    middle = 1.0 + radius
    path = np.array(
        [(rear + 0.05, 0, middle), (rear + 0.35, 0, middle), (front - 0.35, 0, middle), (front - 0.05, 0, middle)]
    )
    parts = [
        tube(path, [radius * 0.8, radius, radius, radius * 0.8], Material.PAINT, colour, (9, 1, 1, 0), sides=22)
    ]
    parts.append(
        box(
            (front - rear - 0.6, 0.5, 0.06),
            Material.PANEL,
            (0.3, 0.3, 0.3),
            PLAIN,
            centre=((rear + front) / 2, 0, middle + radius),
        )
    )
    for x in np.linspace(rear + 0.8, front - 0.8, 4):
        parts.append(box((0.12, W * 0.8, 0.6), Material.RUBBER, (0.06, 0.06, 0.06), centre=(x, 0, 0.75)))
    for y in (-0.2, 0.2):
        parts.append(
            box(
                (0.04, 0.04, 2 * radius),
                Material.PANEL,
                (0.4, 0.4, 0.4),
                PLAIN,
                centre=(rear - 0.02, y - 0.3, 1.0),
            )
        )
    hose = np.array([(rear + 0.6, W * 0.4, 0.85), (front - 0.6, W * 0.4, 0.85)])
    parts.append(tube(hose, [0.13, 0.13], Material.RUBBER, (0.05, 0.05, 0.05)))
    if rng.uniform() < 0.7:
        where = (rng.uniform(rear + 1, (rear + front) / 2), middle - 0.3)
        parts += [text_panel(side, radius * 0.985, where, (front - rear) * 0.35, 0.5, rng) for side in (-1, 1)]
    return merge(parts)


def tipper_body(rear: float, front: float, W: float, H: float, rng: np.random.Generator) -> Mesh:
    """Returns an open skip with sloping ends, sometimes heaped with earth."""
    colour, top = fleet_colour(rng), rng.uniform(1.7, 2.6)
    L, x = front - rear, (rear + front) / 2
    parts = [box((L, W, 0.15), Material.PANEL, colour, PLAIN, centre=(x, 0, 1.0))]
    for side in (-1, 1):
        parts.append(
            box(
                (L, 0.08, top - 1),
                Material.PANEL,
                colour,
                (rng.choice([0.5, 0.9]), 1, 0, 0),
                centre=(x, side * (W / 2 - 0.04), 1.0),
            )
        )
    for end in (rear + 0.04, front - 0.04):
        parts.append(
            box((0.08, W, top - 1 + 0.2 * (end > x)), Material.PANEL, colour * 0.9, PLAIN, centre=(end, 0, 1))
        )
    if rng.uniform() < 0.6:
        earth = np.array([0.16, 0.12, 0.08]) * rng.uniform(0.4, 2.5)
        parts.append(
            blob(
                (x, 0, top - 0.25),
                (L * 0.47, W * 0.45, rng.uniform(0.3, 0.7)),
                Material.CLOTH,
                earth,
                rng,
                roughness=0.2,
            )
        )
    return merge(parts)


def mixer_body(rear: float, front: float, W: float, H: float, rng: np.random.Generator) -> Mesh:
    """Returns a concrete mixer's drum, chute and ladder."""
    colour, L = fleet_colour(rng), front - rear
    path = np.array(
        [(rear + 0.1, 0, 3.0), (rear + L * 0.35, 0, 2.55), (front - L * 0.2, 0, 2.1), (front - 0.1, 0, 1.9)]
    )
    parts = [tube(path, [0.5, 1.1, 1.15, 0.6], Material.PAINT, colour, (9, 1, 1, 0), sides=16)]
    parts.append(tube(path[1:3] * 1.0, [1.115, 1.165], Material.PANEL, fleet_colour(rng), PLAIN, sides=16))
    parts.append(box((0.5, 0.6, 1.6), Material.PANEL, colour * 0.8, PLAIN, centre=(rear + 0.2, 0, 1.0)))
    parts.append(box((L * 0.9, W * 0.7, 0.25), Material.RUBBER, DARK, centre=((rear + front) / 2, 0, 0.9)))
    return merge(parts)


def flat_body(rear: float, front: float, W: float, H: float, rng: np.random.Generator) -> Mesh:
    """Returns a flatbed with low sides and a load: crates, pipes, a covered heap, an excavator, or nothing."""
    L, x, colour = front - rear, (rear + front) / 2, fleet_colour(rng)
    parts = [box((L, W, 0.14), Material.WOOD, (0.2, 0.15, 0.1), centre=(x, 0, 0.95))]
    rim = rng.uniform(0.25, 0.6)
    for side in (-1, 1):
        parts.append(
            box(
                (L, 0.05, rim),
                Material.PANEL,
                colour,
                (rng.choice([9, 1.5]), 1, 0, 0),
                centre=(x, side * W / 2, 1.0),
            )
        )
    parts.append(box((0.05, W, rim), Material.PANEL, colour, PLAIN, centre=(rear, 0, 1.0)))
    parts.append(
        box((0.08, W, rng.uniform(0.6, 1.6)), Material.PANEL, colour * 0.7, PLAIN, centre=(front, 0, 1.0))
    )
    load = rng.integers(5)
    if load == 0:
        for place_x in np.arange(rear + 0.8, front - 0.8, 1.3):
            size = (1.1, rng.uniform(0.8, W * 0.9), rng.uniform(0.4, 1.5))
            parts.append(
                box(
                    size, Material.WOOD, rng.uniform(0.1, 0.4) * np.array([1, 0.8, 0.6]), centre=(place_x, 0, 1.09)
                )
            )
    elif load == 1:
        for k in range(int(rng.integers(3, 8))):
            y, z = (k % 4 - 1.5) * 0.45, 1.3 + 0.38 * (k // 4)
            parts.append(
                tube(
                    np.array([(rear + 0.3, y, z), (front - 0.3, y, z)]),
                    [0.2, 0.2],
                    Material.CONCRETE,
                    rng.uniform(0.1, 0.5) * np.ones(3),
                )
            )
    elif load == 2:
        sheet = PAINTS[rng.integers(len(PAINTS))] * rng.uniform(0.5, 1.2)
        parts.append(box((L * 0.96, W * 0.97, rng.uniform(0.8, 1.7)), Material.CLOTH, sheet, centre=(x, 0, 1.05)))
        parts.append(blob((x, 0, 1.9), (L * 0.45, W * 0.45, 0.6), Material.CLOTH, sheet, rng, roughness=0.15))
    elif load == 3:
        parts.append(place(excavator(rng), (x, 0, 1.05), 0.0, min(0.6, L / 9)))
    return merge(parts)


Body = Callable[[float, float, float, float, np.random.Generator], Mesh]
# Each takes x of its rear and front, its width and the height of its top above the road (m).
BODIES: tuple[Body, ...] = (
    van_body,
    van_body,
    van_body,
    tank_body,
    tipper_body,
    mixer_body,
    flat_body,
    flat_body,
)
