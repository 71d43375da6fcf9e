"""Rays through the pixels of a pinhole camera: exact depth, and a shaded, antialiased image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from training.render.lighting import Lighting
from training.render.materials import Surface
from training.render.mesh import Array, Mesh, dot, length
from training.render.road import CrossSection
from training.render.shading import shade

AO_RADIUS = 2.5
EDGE_SAMPLES = 3


@dataclass(frozen=True)
class Pinhole:
    """A camera without distortion and where it is.

    Attributes:
        width, height: pixels.
        K: (3, 3) float64; pixel centres are integers.
        T_world_camera: (4, 4) float64; the camera's optical frame is x right, y down, z forward.
    """

    width: int
    height: int
    K: np.ndarray
    T_world_camera: np.ndarray

    def rays(self, u: Array, v: Array) -> Array:
        """Returns world directions (N, 3) through pixels; a step of one along them is one metre of depth."""
        to_world = (self.T_world_camera[:3, :3] @ np.linalg.inv(self.K)).astype(np.float32)
        return np.stack([u, v, np.ones_like(u)], axis=1) @ to_world.T

    def pixels(self) -> tuple[Array, Array]:
        """Returns the coordinates u, v (H * W,) of all pixel centres."""
        v, u = np.mgrid[: self.height, : self.width].astype(np.float32)
        return u.ravel(), v.ravel()


class Caster:
    """A mesh ready for rays."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._scene = EmbreeScene()
        points = np.ascontiguousarray(mesh.points.reshape(-1, 3))
        TriangleMesh(self._scene, points, np.arange(len(points), dtype=np.int32).reshape(-1, 3))

    def cast(self, origins: Array, directions: Array) -> tuple[Array, np.ndarray, Array]:
        """Returns distance in steps of `directions` (inf: none), triangle (-1: none), barycentric u v (N, 2)."""
        hit = self._scene.run(origins, directions, output=1)
        missed = hit["primID"] < 0
        distance = np.where(missed, np.inf, hit["tfar"]).astype(np.float32)
        return distance, hit["primID"], np.stack([hit["u"], hit["v"]], axis=1)

    def open_way(self, origins: Array, directions: Array, reach: float) -> Array:
        """Returns (N,) 1 where nothing lies within `reach` along the ray, else 0."""
        hit = self._scene.run(origins, directions, np.full(len(origins), reach, np.float32), query="INTERSECT")
        return (np.asarray(hit) < 0).astype(np.float32)


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
    openness = caster.open_way(origins, _hemisphere(surface.normals, cell), AO_RADIUS)
    return sunlit, openness


def _smooth(openness: Array, depth: Array) -> Array:
    """Returns noisy openness (H, W) averaged over 5 x 5 pixels, kept apart where the depth jumps."""
    guide = np.log(np.minimum(depth, 500))

    def mean(values: Array) -> Array:
        return cv2.boxFilter(values, -1, (5, 5), borderType=cv2.BORDER_REFLECT)

    mean_guide, mean_open = mean(guide), mean(openness)
    slope = (mean(guide * openness) - mean_guide * mean_open) / (mean(guide * guide) - mean_guide**2 + 1e-3)
    return np.clip(mean(slope) * guide + mean(mean_open - slope * mean_guide), 0, 1)


def cast_depth(caster: Caster, camera: Pinhole) -> Array:
    """Returns depth (H, W) in metres along z at the pixel centres, inf for sky."""
    rays = camera.rays(*camera.pixels())
    origin = camera.T_world_camera[:3, 3].astype(np.float32)
    return caster.cast(np.tile(origin, (len(rays), 1)), rays)[0].reshape(camera.height, camera.width)


def render(
    caster: Caster, camera: Pinhole, section: CrossSection, lighting: Lighting, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Returns linear radiance (H, W, 3) and depth (H, W) in metres along z at the pixel centres, inf for sky."""
    H, W = camera.height, camera.width
    origin = camera.T_world_camera[:3, 3].astype(np.float32)
    scale = 1 / float(camera.K[0, 0])

    def trace(u: Array, v: Array, known_openness: Array | None) -> tuple[Array, Array, Array, np.ndarray]:
        rays = camera.rays(u, v)
        stretch = length(rays)
        view = rays / stretch[:, None]
        depth, triangle, bary = caster.cast(np.broadcast_to(origin, rays.shape).copy(), rays)
        hit = np.flatnonzero(triangle >= 0)
        missed = np.flatnonzero(triangle < 0)
        colour = np.zeros_like(view)
        colour[missed] = lighting.sky(view[missed])
        openness = np.ones(len(u), np.float32)
        if len(hit):
            points = origin + rays[hit] * depth[hit, None]
            surface = _surface(
                caster.mesh,
                triangle[hit],
                bary[hit],
                points,
                view[hit],
                depth[hit] * stretch[hit] * scale,
                section,
            )
            cell = (u[hit].astype(int) % 4) * 4 + v[hit].astype(int) % 4
            sunlit, raw = _light(caster, surface, lighting, (cell * 7) % 16)
            openness[hit] = raw
            if known_openness is None:
                openness = _smooth(openness.reshape(H, W), depth.reshape(H, W)).ravel()
            else:
                openness = known_openness
            soft = 0.08 + 0.92 * openness[hit] ** 1.2
            colour[hit] = shade(surface, lighting, sunlit, soft, depth[hit] * stretch[hit])
        return colour, depth, openness, triangle

    u, v = camera.pixels()
    image, depth, openness, triangle = trace(u, v, None)
    edges = np.flatnonzero(_edges(depth.reshape(H, W), triangle.reshape(H, W), caster.mesh).ravel())
    total = image[edges].copy()
    for k in range(EDGE_SAMPLES):
        shift = (np.array([(-0.33, 0.1), (0.1, 0.33), (0.3, -0.3)])[k] + rng.uniform(-0.1, 0.1, 2)).astype(
            np.float32
        )
        total += np.minimum(trace(u[edges] + shift[0], v[edges] + shift[1], openness[edges])[0], 3.0)
    image[edges] = total / (1 + EDGE_SAMPLES)
    return image.reshape(H, W, 3), depth.reshape(H, W)


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
