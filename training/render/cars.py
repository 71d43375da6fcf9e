"""Cars and vans of true size; x forward, origin on the ground below the centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.render.mesh import Array, Material, Mesh, from_quads, grid, merge
from training.render.shapes import box, disc, tube

PAINTS = np.array(
    [
        (0.01, 0.01, 0.012), (0.02, 0.02, 0.025), (0.75, 0.75, 0.74), (0.8, 0.8, 0.8), (0.45, 0.46, 0.48),
        (0.3, 0.31, 0.33), (0.12, 0.125, 0.13), (0.06, 0.065, 0.07), (0.02, 0.04, 0.15), (0.03, 0.1, 0.3),
        (0.35, 0.02, 0.02), (0.5, 0.03, 0.03), (0.03, 0.1, 0.05), (0.35, 0.3, 0.22), (0.6, 0.4, 0.03),
        (0.1, 0.3, 0.35),
    ],
    np.float32,
)  # fmt: skip
PAINT_SHARE = np.array([10, 8, 10, 6, 12, 8, 8, 6, 6, 4, 5, 4, 2, 3, 1, 1], float)


def random_paint(rng: np.random.Generator) -> Array:
    """Returns a paint, as often as it is seen on cars."""
    return PAINTS[rng.choice(len(PAINTS), p=PAINT_SHARE / PAINT_SHARE.sum())]


@dataclass(frozen=True)
class BodyShape:
    """The side profile of a car, in fractions of its length (x, rear -0.5 to front 0.5) and height (z)."""

    length: float
    width: float
    height: float
    hood: float
    belt: float
    windscreen: tuple[float, float]
    rear_window: tuple[float, float]
    trunk: float
    side_glass_from: float = 0.0


def _body_shape(kind: str, rng: np.random.Generator) -> BodyShape:
    """Returns a random shape of one kind."""
    u = rng.uniform
    if kind == "van":
        return BodyShape(
            u(4.6, 6.0),
            u(1.85, 2.05),
            u(1.9, 2.7),
            0.46,
            0.52,
            (0.38, 0.27),
            (-0.49, -0.475),
            0.52,
            u(0, 1) // 0.6 * 0.62,
        )
    if kind == "suv":
        return BodyShape(
            u(4.3, 4.9), u(1.8, 1.98), u(1.6, 1.85), u(0.58, 0.64), 0.62, (0.24, 0.1), (-0.48, -0.4), 0.62
        )
    if kind == "estate":
        return BodyShape(
            u(4.4, 4.9), u(1.74, 1.86), u(1.44, 1.54), u(0.56, 0.62), 0.62, (0.24, 0.06), (-0.485, -0.4), 0.62
        )
    if kind == "hatchback":
        return BodyShape(
            u(3.5, 4.3), u(1.62, 1.8), u(1.43, 1.56), u(0.56, 0.62), 0.6, (0.27, 0.08), (-0.47, -0.36), 0.62
        )
    return BodyShape(
        u(4.4, 5.0), u(1.75, 1.9), u(1.4, 1.5), u(0.56, 0.62), 0.63, (0.22, 0.05), (-0.36, -0.2), u(0.62, 0.68)
    )


def _lower_body(shape: BodyShape, paint: Array) -> Mesh:
    """Returns the painted hull below the windows, rounded at the corners."""
    L, W, H = shape.length, shape.width, shape.height
    x = np.array(
        [-0.5, -0.495, -0.47, -0.42, shape.rear_window[0], -0.1, 0.1, shape.windscreen[0], 0.4, 0.465, 0.492, 0.5]
    )
    top = np.array(
        [0.42, shape.trunk * 0.82, shape.trunk * 0.98, shape.trunk, shape.belt + 0.01, shape.belt, shape.belt,
         shape.belt - 0.01, (shape.hood + 0.02), shape.hood * 0.93, shape.hood * 0.74, 0.36]
    )  # fmt: skip
    order = np.argsort(x)
    x, top = x[order] * L, np.maximum.accumulate(top[order][:6]).tolist() + top[order][6:].tolist()
    top = np.asarray(top) * H
    bottom = np.interp(np.abs(x) / L, [0, 0.4, 0.5], [0.19, 0.21, 0.3])
    half = W / 2 * np.interp(np.abs(x) / L, [0, 0.3, 0.44, 0.485, 0.5], [1, 0.99, 0.95, 0.86, 0.7])
    side = np.array([0.0, 0.85, 0.97, 1.0, 0.985, 0.93, 0.8, 0.0])
    up = np.array([0.0, 0.0, 0.1, 0.5, 0.82, 0.96, 1.0, 1.03])
    y = np.concatenate([side, -side[-2:0:-1]])
    z = np.concatenate([up, up[-2:0:-1]])
    points = np.stack(
        np.broadcast_arrays(x[:, None], half[:, None] * y, bottom[:, None] + (top - bottom)[:, None] * z), axis=-1
    )
    uv = np.stack([points[..., 0], points[..., 2]], axis=-1)
    uv = np.concatenate([uv, uv[:, :1]], axis=1)
    centres = points.mean(axis=1, keepdims=True).repeat(points.shape[1], axis=1)
    caps = [np.concatenate(pair) for pair in ((centres[:1], points[:1]), (points[-1:], centres[-1:]))]
    hull = [grid(points, uv, Material.PAINT, paint, (L, W, H, 1), closed=True)]
    hull += [grid(c, np.zeros((2, len(y) + 1, 2)), Material.PAINT, paint, (L, W, H, 0), closed=True) for c in caps]
    return merge(hull)


def _cabin(shape: BodyShape, paint: Array) -> Mesh:
    """Returns windows, pillars and roof."""
    L, H = shape.length, shape.height
    base, top = shape.belt * H, H * 0.97
    half_base = shape.width / 2 * 0.9
    half_top = shape.width / 2 * (0.84 if shape.height > 1.9 else 0.7)
    xb = (shape.rear_window[0] * L, shape.windscreen[0] * L)
    xt = (shape.rear_window[1] * L, shape.windscreen[1] * L)
    low = np.array(
        [(xb[0], half_base), (xb[1], half_base * 0.95), (xb[1], -half_base * 0.95), (xb[0], -half_base)]
    )
    high = np.array([(xt[0], half_top), (xt[1], half_top), (xt[1], -half_top), (xt[0], -half_top)])
    quads, normals = [], []
    for k in range(4):
        a, b = k, (k + 1) % 4
        quad = np.array([(*low[a], base), (*low[b], base), (*high[b], top), (*high[a], top)])
        flat = np.cross(quad[1] - quad[0], quad[3] - quad[0])
        flat = flat / np.linalg.norm(flat)
        flat *= np.sign(flat @ (quad.mean(axis=0) - np.array([0, 0, base - 0.3])))
        radial = quad - np.array([(xt[0] + xt[1]) / 2, 0, base - 0.6])
        bent = flat + 0.35 * radial / np.linalg.norm(radial, axis=1, keepdims=True)
        quads.append(quad)
        normals.append(bent / np.linalg.norm(bent, axis=1, keepdims=True))
    uv = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
    hidden = shape.side_glass_from
    params = [(2, hidden, 1, 0), (1, 0, 1, 0), (2, 0, 1 - hidden, 0), (1, 0, 1, 0)]
    parts = [
        from_quads(np.array([quads[k]]), uv[None], Material.CAR_GLASS, paint, params[k], np.array([normals[k]]))
        for k in range(4)
    ]
    rings = [(1.0, top), (0.96, H * 0.99), (0.8, H), (0.01, H * 1.003)]
    centre = np.array([(xt[0] + xt[1]) / 2, 0])
    roof = np.array([[(*(centre + (corner - centre) * s), z) for corner in high] for s, z in rings])
    parts.append(grid(roof, np.zeros((4, 5, 2)), Material.PAINT, paint, (L, shape.width, H, 0), closed=True))
    return merge(parts)


def wheels(xs: list[float], half_width: float, radius: float, rng: np.random.Generator) -> Mesh:
    """Returns a pair of wheels at each x, with hubs and the dark arches around them."""
    hub = (0.25, 0.25, 0.26) if rng.uniform() < 0.7 else (0.05, 0.05, 0.05)
    parts = []
    for x in xs:
        for side in (-1, 1):
            outer = side * (half_width + 0.012)
            parts.append(
                tube(
                    np.array([(x, outer - side * 0.22, radius), (x, outer, radius)]),
                    [radius, radius],
                    Material.RUBBER,
                    (0.015, 0.015, 0.015),
                    sides=14,
                )
            )
            parts.append(disc((x, outer + side * 0.004, radius), 1, radius * 0.64, Material.RUBBER, hub))
            parts.append(
                disc(
                    (x, side * (half_width + 0.004), radius * 1.08),
                    1,
                    radius * 1.2,
                    Material.RUBBER,
                    (0.008, 0.008, 0.008),
                )
            )
    return merge(parts)


def _fittings(shape: BodyShape, rng: np.random.Generator) -> Mesh:
    """Returns lamps, grille, plates, mirrors."""
    L, W, H = shape.length, shape.width, shape.height
    y, lamp_z = W / 2 * 0.74, H * shape.hood * 0.78
    tail_z = H * min(shape.trunk, 0.6) * rng.uniform(0.85, 1.05)
    tall = rng.uniform(0.12, 0.4) if shape.trunk <= 0.62 else 0.16
    lit = 4.0 if rng.uniform() < 0.4 else 0.5
    plate = (0.75, 0.75, 0.72) if rng.uniform() < 0.75 else (0.7, 0.5, 0.05)
    parts = [
        box((0.05, W * 0.5, H * 0.11), Material.RUBBER, (0.015, 0.015, 0.016), centre=(L / 2 - 0.03, 0, H * 0.28)),
        box((0.04, W * 0.42, H * 0.06), Material.RUBBER, (0.03, 0.03, 0.03), centre=(L / 2 - 0.05, 0, H * 0.42)),
        box((0.03, 0.5, 0.11), Material.PANEL, plate, centre=(L / 2 + 0.005, 0, H * 0.3)),
        box((0.03, 0.5, 0.11), Material.PANEL, plate, centre=(-L / 2 - 0.005, 0, H * rng.uniform(0.36, 0.5))),
        box((0.05, W * 0.75, 0.1), Material.RUBBER, (0.03, 0.03, 0.03), centre=(-L / 2 + 0.02, 0, 0.3)),
    ]
    for side in (-1, 1):
        parts.append(
            box(
                (0.18, 0.36, 0.14),
                Material.LAMP,
                (0.5, 0.5, 0.5),
                (0.3 if lit < 1 else 1.5, 0, 0, 0),
                centre=(L * 0.468, side * y, lamp_z),
            )
        )
        parts.append(
            box(
                (0.14, 0.2, tall),
                Material.LAMP,
                (0.4, 0.015, 0.01),
                (0.3 if lit < 1 else 0.9, 0, 0, 0),
                centre=(-L * 0.482, side * y * 1.05, tail_z - tall / 2),
            )
        )
        parts.append(
            box(
                (0.12, 0.2, 0.13),
                Material.PAINT,
                (0.03, 0.03, 0.03),
                (L, W, H, 0),
                centre=(shape.windscreen[0] * L - 0.12, side * (W / 2 + 0.05), shape.belt * H),
            )
        )
    return merge(parts)


def car(rng: np.random.Generator, kind: str) -> Mesh:
    """Returns a car of kind sedan, hatchback, estate, suv or van."""
    shape = _body_shape(kind, rng)
    paint = random_paint(rng)
    if kind == "van" and rng.uniform() < 0.5:
        paint = np.float32([0.75, 0.75, 0.75])
    radius = 0.3 if shape.length < 4.2 else 0.33
    xs = [-shape.length * rng.uniform(0.27, 0.31), shape.length * rng.uniform(0.29, 0.33)]
    under = box(
        (shape.length * 0.8, shape.width * 0.8, 0.15), Material.RUBBER, (0.01, 0.01, 0.01), centre=(0, 0, 0.14)
    )
    return merge(
        [
            _lower_body(shape, paint),
            _cabin(shape, paint),
            wheels(xs, shape.width / 2 * 0.985, radius, rng),
            _fittings(shape, rng),
            under,
        ]
    )
