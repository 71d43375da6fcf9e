"""Cars, vans, trucks, buses and two-wheelers of true size; x forward, origin on the ground below the centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.render.mesh import Array, Material, Mesh, from_quads, grid, merge, tint
from training.render.people import rider
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
GLASS = (0.02, 0.025, 0.025)


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


def _wheels(xs: list[float], half_width: float, radius: float, rng: np.random.Generator) -> Mesh:
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
    paint = PAINTS[rng.choice(len(PAINTS), p=PAINT_SHARE / PAINT_SHARE.sum())]
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
            _wheels(xs, shape.width / 2 * 0.985, radius, rng),
            _fittings(shape, rng),
            under,
        ]
    )


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
    parts.append(_wheels([-L * 0.36, -L * 0.36 + 1.2, front], W / 2 * 0.98, 0.48, rng))
    return merge(parts)


def bus(rng: np.random.Generator) -> Mesh:
    """Returns a city bus."""
    L, W, H = rng.uniform(9, 13), 2.5, rng.uniform(2.9, 3.3)
    paint = PAINTS[rng.choice(len(PAINTS), p=np.r_[np.ones(2), np.ones(14) * 3] / 44)]
    parts = [
        box((L, W, H - 0.35), Material.PAINT, paint, (L, W, H, 0), centre=(0, 0, 0.35)),
        box((L * 0.97, W + 0.02, 1.1), Material.CAR_GLASS, paint, (1, 0, 1, 1.5), centre=(0, 0, 1.25)),
        box((L + 0.02, W * 0.9, 1.5), Material.CAR_GLASS, paint, (1, 0, 1, 1.25), centre=(0, 0, 1.15)),
        _wheels([-L * 0.28, L * 0.3], W / 2, 0.48, rng),
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


KINDS = {"sedan": 0.2, "hatchback": 0.3, "estate": 0.2, "suv": 0.18, "van": 0.12}


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
    paint = PAINTS[rng.choice(len(PAINTS), p=PAINT_SHARE / PAINT_SHARE.sum())]
    return tint(tint(mesh, Material.PAINT, paint), Material.CAR_GLASS, paint)
