"""People on foot and on two wheels."""

from __future__ import annotations

import numpy as np

from training.render.mesh import Material, Mesh, merge, place
from training.render.shapes import blob, tube

SKIN = np.array([(0.5, 0.3, 0.2), (0.35, 0.2, 0.13), (0.12, 0.06, 0.04)], np.float32)


def _clothes(rng: np.random.Generator) -> np.ndarray:
    """Returns a colour: mostly dark or grey, sometimes bright."""
    base = rng.uniform(0.02, 0.5) * np.ones(3) * rng.uniform(0.8, 1.2, 3)
    return base if rng.uniform() < 0.7 else rng.uniform(0.02, 0.6, 3)


def _limb(
    rng: np.random.Generator, joints: list[tuple[float, float, float]], radii: list[float], colour: np.ndarray
) -> Mesh:
    """Returns an arm or a leg through its joints."""
    return tube(np.array(joints), radii, Material.CLOTH, colour, sides=6)


def _upper_body(rng: np.random.Generator, hip: float, lean: float) -> list[Mesh]:
    """Returns torso, head and arms above a hip height."""
    shirt, skin = _clothes(rng), SKIN[rng.integers(3)]
    shoulder = (lean, 0, hip + 0.55)
    torso = tube(
        np.array([(0, 0, hip - 0.1), (lean * 0.5, 0, hip + 0.25), shoulder, (lean, 0, hip + 0.64)]),
        [0.15, 0.15, 0.19, 0.07],
        Material.CLOTH,
        shirt,
        sides=8,
    )
    hair = rng.uniform(0.01, 0.2) * np.array([1, 0.75, 0.5])
    head = (lean * 1.15, 0, hip + 0.8)
    parts = [
        torso,
        blob(head, (0.1, 0.085, 0.125), Material.CLOTH, skin, rng, roughness=0.02),
        blob((head[0] - 0.02, 0, head[2] + 0.03), (0.105, 0.095, 0.11), Material.CLOTH, hair, rng, roughness=0.05),
    ]
    for side in (-1, 1):
        swing = rng.uniform(-0.2, 0.25) + lean
        parts.append(
            _limb(
                rng,
                [
                    (lean, side * 0.2, hip + 0.52),
                    (swing * 0.6 + lean * 0.5, side * 0.25, hip + 0.24),
                    (swing + lean, side * 0.23, hip + 0.02 + max(lean, 0)),
                ],
                [0.055, 0.045, 0.035],
                shirt,
            )
        )
    return parts


def person(rng: np.random.Generator) -> Mesh:
    """Returns somebody standing or walking along x, 1.5 to 1.95 m tall."""
    trousers, hip = _clothes(rng), 0.86
    stride = rng.uniform(0, 0.35) if rng.uniform() < 0.7 else 0.03
    parts = _upper_body(rng, hip, 0.0)
    for side in (-1, 1):
        foot = side * stride
        parts.append(
            _limb(
                rng,
                [
                    (0, side * 0.09, hip),
                    (foot * 0.6 + 0.04, side * 0.09, 0.45),
                    (foot, side * 0.09, 0.06),
                    (foot + 0.14, side * 0.09, 0.03),
                ],
                [0.09, 0.065, 0.045, 0.04],
                trousers,
            )
        )
    if rng.uniform() < 0.25:
        parts.append(
            blob((-0.18, 0, hip + 0.35), (0.1, 0.15, 0.22), Material.CLOTH, _clothes(rng), rng, roughness=0.1)
        )
    return place(merge(parts), (0, 0, 0), 0.0, rng.uniform(0.9, 1.13))


def rider(rng: np.random.Generator) -> Mesh:
    """Returns somebody sitting on a bicycle whose saddle is at x = -0.2, z = 0.9."""
    trousers = _clothes(rng)
    parts = _upper_body(rng, 0.95, rng.uniform(0.12, 0.3))
    for side in (-1, 1):
        knee, foot = rng.uniform(0.15, 0.4), rng.uniform(0.15, 0.4)
        parts.append(
            _limb(
                rng,
                [(0, side * 0.1, 0.95), (0.3, side * 0.12, 0.5 + knee), (0.12, side * 0.12, foot)],
                [0.08, 0.06, 0.045],
                trousers,
            )
        )
    return place(merge(parts), (-0.2, 0, 0))
