"""Simple solids: boxes, cylinders, discs, noisy blobs, prisms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.render.mesh import Array, Material, Mesh, from_quads, from_triangles, grid, merge

Params = Sequence[float]
ZERO: Params = (0, 0, 0, 0)


def box(
    size: Sequence[float],
    material: Material,
    colour: Sequence[float] | Array,
    params: Params = ZERO,
    *,
    centre: Sequence[float] = (0, 0, 0),
) -> Mesh:
    """Returns a box of size (x, y, z) standing on the plane z = centre[2]; uv in metres, v upward on the sides."""
    sx, sy, sz = size
    x, y = sx / 2, sy / 2
    sides = [
        ((x, -y), (x, y), sy),
        ((x, y), (-x, y), sx),
        ((-x, y), (-x, -y), sy),
        ((-x, -y), (x, -y), sx),
    ]
    points = [[(*a, 0), (*b, 0), (*b, sz), (*a, sz)] for a, b, _ in sides]
    uv = [[(0, 0), (w, 0), (w, sz), (0, sz)] for _, _, w in sides]
    for z in (sz, 0):
        points.append([(-x, -y, z), (x, -y, z), (x, y, z), (-x, y, z)])
        uv.append([(0, 0), (sx, 0), (sx, sy), (0, sy)])
    return from_quads(np.array(points, np.float32) + np.float32(centre), np.array(uv), material, colour, params)


def tube(
    path: Array,
    radii: Sequence[float] | Array,
    material: Material,
    colour: Sequence[float] | Array,
    params: Params = ZERO,
    *,
    sides: int = 8,
) -> Mesh:
    """Returns a round tube with flat ends through the points of path (S, 3) with a radius (m) at each."""
    path, radii = np.asarray(path, np.float32), np.asarray(radii, np.float32)
    path = np.concatenate([path[:1], path, path[-1:]])
    radii = np.concatenate([[1e-4], radii, [1e-4]])
    tangent = path[-1] - path[0]
    tangent = tangent / np.linalg.norm(tangent)
    helper = np.array([1, 0, 0]) if abs(tangent[0]) < 0.8 else np.array([0, 1, 0])
    a = np.cross(tangent, helper)
    a /= np.linalg.norm(a)
    b = np.cross(tangent, a)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(angle)[:, None] * a + np.sin(angle)[:, None] * b
    points = path[:, None] + radii[:, None, None] * ring[None]
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    around = np.linspace(0, 2 * np.pi * radii.max(), sides + 1)
    uv = np.stack(np.broadcast_arrays(around[None], length[:, None]), axis=-1)
    return grid(points, uv, material, colour, params, closed=True)


def disc(
    centre: Sequence[float],
    normal_axis: int,
    radius: float,
    material: Material,
    colour: Sequence[float],
    sides: int = 14,
) -> Mesh:
    """Returns a flat disc facing along one coordinate axis; uv runs over [-1, 1]."""
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    flat = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.zeros((sides, 3, 3))
    axes = [axis for axis in range(3) if axis != normal_axis]
    points[:, 1, axes] = radius * flat[:-1]
    points[:, 2, axes] = radius * flat[1:]
    uv = np.zeros((sides, 3, 2))
    uv[:, 1], uv[:, 2] = flat[:-1], flat[1:]
    return from_triangles(np.float32(points) + np.float32(centre), uv, material, colour)


def _icosphere(levels: int) -> Array:
    """Returns the (T, 3, 3) unit triangles of an icosahedron split `levels` times."""
    g = (1 + 5**0.5) / 2
    corners = np.array([(0, a, b * g) for a in (-1, 1) for b in (-1, 1)])
    corners = np.concatenate([np.roll(corners, k, axis=1) for k in range(3)])
    near = np.linalg.norm(corners[:, None] - corners[None], axis=2) < 2.1
    n = len(corners)
    faces = [
        (i, j, k)
        for i in range(n)
        for j in range(i + 1, n)
        for k in range(j + 1, n)
        if near[i, j] and near[j, k] and near[i, k]
    ]
    triangles = corners[np.array(faces)]
    for _ in range(levels):
        a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        triangles = np.concatenate(
            [np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
        )
    return (triangles / np.linalg.norm(triangles, axis=2, keepdims=True)).astype(np.float32)


SPHERES = [_icosphere(levels) for levels in range(3)]


def blob(
    centre: Sequence[float] | Array,
    radii: Sequence[float] | Array,
    material: Material,
    colour: Sequence[float] | Array,
    rng: np.random.Generator,
    *,
    roughness: float = 0.25,
    level: int = 1,
) -> Mesh:
    """Returns an ellipsoid whose surface waves by `roughness` of its radius."""
    unit = SPHERES[level]
    waves = rng.normal(0, 2.2, (5, 3))
    swell = 1 + roughness * np.sin(unit @ waves.T + rng.uniform(0, 6.3, 5)).mean(axis=2, keepdims=True) * 1.6
    radii = np.asarray(radii, np.float32)
    points = unit * swell * radii + np.asarray(centre, np.float32)
    normals = unit / radii
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    uv = np.stack([unit[..., 0] + unit[..., 1], unit[..., 2] * 1.4 + unit[..., 1]], axis=-1) * radii.mean()
    uv = uv + rng.uniform(0, 50, 2)
    return from_triangles(points, uv, material, colour, normals=normals)


def roof(
    size: Sequence[float], height: float, z: float, colour: Sequence[float] | Array, gable: Sequence[float]
) -> Mesh:
    """Returns a gabled roof over a footprint (x, y), its ridge along x; the gables are facades without windows."""
    x, y = size[0] / 2 + 0.4, size[1] / 2 + 0.4
    top = z + height
    slope = float(np.hypot(y, height))
    quads = [
        [(-x, -y, z), (x, -y, z), (x, 0, top), (-x, 0, top)],
        [(x, y, z), (-x, y, z), (-x, 0, top), (x, 0, top)],
    ]
    uv = np.array([[(0, 0), (2 * x, 0), (2 * x, slope), (0, slope)]] * 2)
    inner = x - 0.4
    ends = [[(e, -y, z), (e, y, z), (e, 0, top)] for e in (-inner, inner)]
    end_uv = [[(-y, 0), (y, 0), (0, height)]] * 2
    return merge(
        [
            from_quads(np.array(quads), uv, Material.ROOF, colour),
            from_triangles(np.array(ends), np.array(end_uv), Material.CONCRETE, gable),
        ]
    )
