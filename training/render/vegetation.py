"""Trees, bushes and hedges: noisy dark cores inside clouds of leaf cards, whose edges are ragged and pierced."""

from __future__ import annotations

import numpy as np

from training.render.mesh import Array, Material, Mesh, from_quads, merge
from training.render.shapes import blob, tube


def leaf_colour(rng: np.random.Generator) -> Array:
    """Returns a foliage albedo, from dark green to dry yellow."""
    green = np.array([0.06, 0.105, 0.025]) * rng.uniform(0.5, 1.5)
    autumn = rng.uniform() < 0.15
    return (
        green
        * (
            rng.uniform([1.6, 0.8, 0.6], [3.5, 1.4, 1.2])
            if autumn
            else rng.uniform([0.7, 0.85, 0.5], [1.4, 1.15, 1.6])
        )
    ).astype(np.float32)


def leaf_cards(centres: Array, size: float, colour: Array, rng: np.random.Generator, away_from: Array) -> Mesh:
    """Returns one randomly turned quad at each centre (N, 3), lit as if it bent away from `away_from`."""
    N = len(centres)
    a, b = rng.normal(size=(2, N, 3))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b -= (a * b).sum(axis=1, keepdims=True) * a
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    reach = (size * rng.uniform(0.6, 1.4, (N, 1)))[:, None]
    corners = np.array([(-1, -0.3), (0.2, -0.8), (1, 0.3), (-0.2, 0.8)])
    points = centres[:, None] + reach * (corners[None, :, :1] * a[:, None] + corners[None, :, 1:] * b[:, None])
    outward = points - away_from
    outward /= np.linalg.norm(outward, axis=2, keepdims=True) + 1e-6
    normals = outward + 0.5 * np.cross(a, b)[:, None]
    normals /= np.linalg.norm(normals, axis=2, keepdims=True) + 1e-6
    uv = corners[None] * size + rng.uniform(0, 60, (N, 1, 2))
    shade = colour * rng.uniform(0.6, 1.5, (N, 1))
    return from_quads(points, uv, Material.LEAVES, shade.astype(np.float32), normals=normals)


def _on_spheres(centres: Array, radii: Array, count: int, rng: np.random.Generator) -> Array:
    """Returns count random points near the surfaces of ellipsoids."""
    which = rng.integers(len(centres), size=count)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return centres[which] + direction * radii[which] * rng.uniform(0.75, 1.15, (count, 1))


def tree(rng: np.random.Generator, clear: float = 0.0) -> Mesh:
    """Returns a broad-leaved tree 3 to 14 m high, whose crown leaves `clear` metres above the ground free."""
    height = rng.uniform(3.0, 14.0)
    trunk = height * rng.uniform(0.15, 0.4)
    if clear > 0:
        height = max(height, clear + 2.5)
        trunk = max(trunk, clear + 0.15 * height)
    spread = (height - trunk) * rng.uniform(0.3, 0.55)
    bark = np.array([0.1, 0.08, 0.06]) * rng.uniform(0.5, 1.6)
    thick = 0.02 * height + 0.04
    lean = rng.normal(0, 0.03 * height, 2)
    fork = np.array([lean[0] * 0.5, lean[1] * 0.5, trunk])
    parts = [
        tube(
            np.array([(0, 0, -0.2), (0, 0, 0.2), fork, (*lean, trunk + (height - trunk) * 0.6)]),
            [thick * 1.4, thick, thick * 0.8, thick * 0.3],
            Material.BARK,
            bark,
            sides=7,
        )
    ]
    n = int(rng.integers(6, 12))
    middle = np.array([*lean, (trunk + height) / 2])
    offsets = rng.normal(size=(n, 3))
    offsets /= np.linalg.norm(offsets, axis=1, keepdims=True)
    extent = np.array([spread, spread, (height - trunk) / 2])
    centres = middle + offsets * extent * rng.uniform(0.35, 0.8, (n, 1))
    radii = rng.uniform(0.3, 0.5, (n, 1)) * extent
    colour = leaf_colour(rng)
    for centre in centres[: n // 2]:
        parts.append(tube(np.array([fork, centre]), [thick * 0.5, thick * 0.12], Material.BARK, bark, sides=5))
    if rng.uniform() < 0.08:
        return merge(parts + _bare_twigs(centres, radii, fork, bark, rng))
    parts += [
        blob(c, r * 0.85, Material.LEAVES, colour * 0.6, rng, roughness=0.35)
        for c, r in zip(centres, radii, strict=True)
    ]
    cards = int(250 + 60 * height)
    parts.append(leaf_cards(_on_spheres(centres, radii, cards, rng), 0.12 + 0.016 * height, colour, rng, middle))
    return merge(parts)


def _bare_twigs(centres: Array, radii: Array, fork: Array, bark: Array, rng: np.random.Generator) -> list[Mesh]:
    """Returns the twigs of a tree without leaves."""
    tips = _on_spheres(centres, radii, 40, rng)
    starts = fork + (tips - fork) * rng.uniform(0.2, 0.7, (40, 1))
    return [
        tube(np.array([s, t]), [0.03, 0.008], Material.BARK, bark, sides=3)
        for s, t in zip(starts, tips, strict=True)
    ]


def conifer(rng: np.random.Generator) -> Mesh:
    """Returns a spruce-like tree."""
    height = rng.uniform(4, 15)
    width = height * rng.uniform(0.13, 0.22)
    colour = np.array([0.025, 0.055, 0.025], np.float32) * rng.uniform(0.6, 1.6)
    rings = [(0.08, 0.5), (0.15, 1.0), (0.45, 0.62), (0.75, 0.3), (1.0, 0.02)]
    path = np.array([(0, 0, height * f) for f, _ in rings])
    core = tube(path, [width * r * 0.75 for _, r in rings], Material.LEAVES, colour * 0.5, sides=9)
    n = int(40 * height)
    f = 1 - np.sqrt(rng.uniform(0, 1, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    reach = width * (1 - f) * rng.uniform(0.7, 1.15, n)
    cards = np.stack([reach * np.cos(angle), reach * np.sin(angle), height * (0.1 + 0.9 * f)], axis=1)
    trunk = tube(
        np.array([(0, 0, -0.2), (0, 0, height * 0.2)]), [0.14, 0.14], Material.BARK, (0.07, 0.05, 0.04), sides=6
    )
    return merge([trunk, core, leaf_cards(cards, 0.22, colour, rng, np.array([0, 0, height * 0.3]))])


def bush(rng: np.random.Generator) -> Mesh:
    """Returns a shrub 0.5 to 2.5 m high."""
    height = rng.uniform(0.5, 2.5)
    n = int(rng.integers(2, 5))
    centres = np.concatenate(
        [rng.uniform(-0.4, 0.4, (n, 2)) * height, rng.uniform(0.3, 0.6, (n, 1)) * height], axis=1
    )
    radii = rng.uniform(0.35, 0.5, (n, 3)) * height
    colour = leaf_colour(rng)
    parts = [
        blob(c, r * 0.9, Material.LEAVES, colour * 0.65, rng, roughness=0.3)
        for c, r in zip(centres, radii, strict=True)
    ]
    parts.append(
        leaf_cards(_on_spheres(centres, radii, 140, rng), 0.09 + 0.03 * height, colour, rng, centres.mean(axis=0))
    )
    return merge(parts)


def hedge(length: float, height: float, rng: np.random.Generator) -> Mesh:
    """Returns a clipped hedge along x."""
    depth = rng.uniform(0.5, 1.1)
    colour = leaf_colour(rng)
    count = max(2, round(length / 1.2))
    xs = (np.arange(count) + 0.5) / count * length - length / 2
    parts = [
        blob(
            (x, 0, height * 0.45),
            (0.95, depth * 0.62, height * 0.6),
            Material.LEAVES,
            colour * 0.7,
            rng,
            roughness=0.15,
        )
        for x in xs
    ]
    n = int(length * height * 26)
    face = rng.integers(3, size=n)
    centres = np.stack(
        [
            rng.uniform(-length / 2, length / 2, n),
            rng.uniform(-depth / 2, depth / 2, n),
            rng.uniform(0.05, height, n),
        ],
        axis=1,
    )
    centres[face == 0, 1] = -depth / 2
    centres[face == 1, 1] = depth / 2
    centres[face == 2, 2] = height
    parts.append(leaf_cards(centres, 0.1, colour, rng, np.array([0, 0, height * 0.3])))
    return merge(parts)


def wood(length: float, rng: np.random.Generator) -> Mesh:
    """Returns a strip of forest edge along x, coarse: to be seen from afar."""
    count = max(4, round(length / 3.0))
    height = rng.uniform(6, 16)
    colour = leaf_colour(rng) * 0.8
    parts = []
    for x in np.linspace(-length / 2, length / 2, count) + rng.normal(0, 1.0, count):
        tall = height * rng.uniform(0.7, 1.2)
        shade = (colour * rng.uniform(0.7, 1.3)).astype(np.float32)
        low, high = (x, rng.normal(0, 2), tall * 0.3), (x + rng.normal(0, 1), rng.normal(0, 2), tall * 0.65)
        parts.append(blob(low, (3.5, 3.0, tall * 0.4), Material.LEAVES, shade * 0.8, rng, roughness=0.4))
        parts.append(blob(high, (2.6, 2.4, tall * 0.35), Material.LEAVES, shade, rng, roughness=0.45))
    n = int(length * height * 3)
    spots = np.stack(
        [rng.uniform(-length / 2, length / 2, n), rng.normal(-1, 2.5, n), rng.beta(2, 1.6, n) * height * 1.1],
        axis=1,
    )
    parts.append(leaf_cards(spots, 0.45, colour, rng, np.array([0, 3, height * 0.3])))
    return merge(parts)
