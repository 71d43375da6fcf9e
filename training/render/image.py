"""The image of a camera: hits shaded, with shadows and soft light from the sky, antialiased at edges."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from training.render.lighting import Lighting
from training.render.materials import Surface
from training.render.mesh import Array, Mesh, dot, length
from training.render.raycast import Caster, Pinhole
from training.render.road import CrossSection
from training.render.shading import shade

OPENNESS_REACH = 2.5
# Where in the pixel the further rays of an edge go, besides its centre.
EDGE_OFFSETS = np.float32([(-0.33, 0.1), (0.1, 0.33), (0.3, -0.3)])


def render(
    caster: Caster, camera: Pinhole, section: CrossSection, lighting: Lighting, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Returns linear radiance (H, W, 3) and depth (H, W) in metres along z at the pixel centres, inf for sky."""
    H, W = camera.height, camera.width

    def spread(raw: Array, depth: Array) -> Array:
        return _smooth(raw.reshape(H, W), depth.reshape(H, W)).ravel()

    u, v = camera.pixels()
    radiance, depth, triangle, openness = _trace(caster, camera, section, lighting, u, v, spread)
    edges = np.flatnonzero(_edges(depth.reshape(H, W), triangle.reshape(H, W), caster.mesh).ravel())
    known = openness[edges]
    total = radiance[edges].copy()
    for offset in EDGE_OFFSETS:
        du, dv = offset + rng.uniform(-0.1, 0.1, 2).astype(np.float32)
        further = _trace(caster, camera, section, lighting, u[edges] + du, v[edges] + dv, lambda *_: known)[0]
        # One ray into the sun's disc must not outweigh the others.
        total += np.minimum(further, 3.0)
    radiance[edges] = total / (1 + len(EDGE_OFFSETS))
    return radiance.reshape(H, W, 3), depth.reshape(H, W)


def _trace(
    caster: Caster,
    camera: Pinhole,
    section: CrossSection,
    lighting: Lighting,
    u: Array,
    v: Array,
    spread: Callable[[Array, Array], Array],
) -> tuple[Array, Array, np.ndarray, Array]:
    """Returns radiance (N, 3), depth (N,), triangle (N,) and openness (N,) at pixel coordinates u, v (N,).

    Args:
        spread: makes openness of the result of one random ray for each point, and of the depth.
    """
    origin = camera.T_world_camera[:3, 3].astype(np.float32)
    rays = camera.rays(u, v)
    stretch = length(rays)
    view = rays / stretch[:, None]
    depth, triangle, barycentric = caster.cast(np.tile(origin, (len(rays), 1)), rays)
    hit, missed = np.flatnonzero(triangle >= 0), np.flatnonzero(triangle < 0)
    radiance = np.empty_like(view)
    radiance[missed] = lighting.sky(view[missed])
    openness = np.ones(len(u), np.float32)
    if len(hit):
        points = origin + rays[hit] * depth[hit, None]
        away = depth[hit] * stretch[hit]
        footprint = away * np.float32(1 / camera.K[0, 0])
        surface = _surface(caster.mesh, triangle[hit], barycentric[hit], points, view[hit], footprint, section)
        cell = ((u[hit].astype(int) % 4) * 4 + v[hit].astype(int) % 4) * 7 % 16
        sunlit, openness[hit] = _light(caster, surface, lighting, cell)
        openness = spread(openness, depth)
        soft = 0.08 + 0.92 * openness[hit] ** 1.2
        radiance[hit] = shade(surface, lighting, sunlit, soft, away)
    return radiance, depth, triangle, openness


def _surface(
    mesh: Mesh,
    triangle: np.ndarray,
    bary: Array,
    points: Array,
    view: Array,
    footprint: Array,
    section: CrossSection,
) -> Surface:
    """Returns what the rays hit, with normals turned towards the viewer."""
    weights = np.stack([1 - bary.sum(axis=1), bary[:, 0], bary[:, 1]], axis=1)
    normals = np.einsum("nck,nc->nk", mesh.normals[triangle], weights)
    normals /= length(normals)[:, None] + 1e-9
    facing = dot(normals, view)
    normals = np.where(facing[:, None] > 0, -normals, normals)
    uv = np.einsum("nck,nc->nk", mesh.uv[triangle], weights)
    slant = 1 / np.sqrt(np.clip(np.abs(facing), 0.05, 1))
    return Surface(
        points, normals, view, uv, mesh.colour[triangle], mesh.params[triangle], mesh.material[triangle],
        (footprint * slant).astype(np.float32), section,
    )  # fmt: skip


def _hemisphere(normals: Array, cell: np.ndarray) -> Array:
    """Returns one cosine-weighted direction for each normal; 16 cells spread over the hemisphere."""
    radius = np.sqrt((cell % 4 + 0.5) / 4)
    angle = (cell // 4 + 0.5 * (cell % 2)) * (np.pi / 2) + 0.4 * (cell % 4)
    helper = np.where(np.abs(normals[:, :1]) < 0.7, np.float32([[1, 0, 0]]), np.float32([[0, 1, 0]]))
    a = np.cross(normals, helper)
    a /= length(a)[:, None]
    b = np.cross(normals, a)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    return (a * x[:, None] + b * y[:, None] + normals * np.sqrt(1 - radius**2)[:, None]).astype(np.float32)


def _light(caster: Caster, surface: Surface, lighting: Lighting, cell: np.ndarray) -> tuple[Array, Array]:
    """Returns (sunlit, openness) (N,) each, by one shadow ray and one short ray into the hemisphere."""
    origins = surface.points + surface.normals * 0.02
    sunlit = np.ones(len(origins), np.float32)
    if lighting.sun.any():
        facing = np.flatnonzero(surface.normals @ lighting.sun_direction > 0)
        towards = np.broadcast_to(lighting.sun_direction, (len(facing), 3)).astype(np.float32)
        sunlit[facing] = caster.open_way(origins[facing], np.ascontiguousarray(towards), 150.0)
    openness = caster.open_way(origins, _hemisphere(surface.normals, cell), OPENNESS_REACH)
    return sunlit, openness


def _smooth(openness: Array, depth: Array) -> Array:
    """Returns noisy openness (H, W) averaged over 5 x 5 pixels, kept apart where the depth jumps."""
    guide = np.log(np.minimum(depth, 500))

    def mean(values: Array) -> Array:
        return cv2.boxFilter(values, -1, (5, 5), borderType=cv2.BORDER_REFLECT)

    mean_guide, mean_open = mean(guide), mean(openness)
    slope = (mean(guide * openness) - mean_guide * mean_open) / (mean(guide * guide) - mean_guide**2 + 1e-3)
    return np.clip(mean(slope) * guide + mean(mean_open - slope * mean_guide), 0, 1)


def _edges(depth: Array, triangle: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Returns (H, W) bool: where neighbours differ in depth, material or colour."""
    inverse = 1 / depth
    key = np.where(
        triangle >= 0, mesh.material[triangle].astype(np.float32) + 20 * mesh.colour[triangle].sum(axis=-1), -1
    )
    edge = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        jump = (np.abs(np.diff(inverse, axis=axis)) > 0.04 * np.minimum(*_pair(inverse, axis))) & (
            np.abs(np.diff(key, axis=axis)) > 0.01
        )
        jump |= np.isinf(_pair(depth, axis)[0]) != np.isinf(_pair(depth, axis)[1])
        before = [slice(None)] * 2
        after = [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        edge[tuple(before)] |= jump
        edge[tuple(after)] |= jump
    return edge


def _pair(values: Array, axis: int) -> tuple[Array, Array]:
    """Returns the two arrays of neighbours along an axis."""
    return np.take(values, np.arange(values.shape[axis] - 1), axis), np.take(
        values, np.arange(1, values.shape[axis]), axis
    )
