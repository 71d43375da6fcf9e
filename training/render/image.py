"""The image of a camera: hits shaded, with shadows and soft light from the sky, antialiased at edges."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from training.render.compiled import compiled
from training.render.lighting import Lighting
from training.render.mesh import Array
from training.render.noise import noise_atlas
from training.render.pinhole import Pinhole
from training.render.pixels import locate, shade
from training.render.raycast import Caster
from training.render.road import CrossSection
from training.render.road_surface import Street, street_of
from training.render.shading import Light

OPENNESS_REACH = 2.5
SUN_REACH = 150.0
# Where in the pixel the further rays of an edge go, besides its centre.
EDGE_OFFSETS = np.float32([(-0.33, 0.1), (0.1, 0.33), (0.3, -0.3)])
# One ray into the sun's disc must not outweigh the other rays of its pixel.
BRIGHTEST_SAMPLE = 3.0


@dataclass(frozen=True)
class Hits:
    """What N rays have hit.

    Attributes:
        rays: (N, 3) world directions; a step of one is one metre of depth.
        depth: (N,) metres along z, inf for sky.
        triangle: (N,) int32, -1 for sky.
        bary: (N, 2) barycentric coordinates.
        points, normals: (N, 3) the surface, lifted by 2 cm, and its unit normal towards the viewer; 0 for sky.
    """

    rays: Array
    depth: Array
    triangle: npt.NDArray[np.int32]
    bary: Array
    points: Array
    normals: Array


def render(
    caster: Caster, camera: Pinhole, section: CrossSection, lighting: Lighting, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Returns linear radiance (H, W, 3) and depth (H, W) in metres along z at the pixel centres, inf for sky."""
    H, W = camera.height, camera.width
    u, v = camera.pixels()
    hits = _hits(caster, camera, u, v)
    openness = _openness(caster, hits, H, W)
    light, street = lighting.packed(), street_of(section)
    radiance = _shade(caster, camera, street, light, hits, openness)
    depth, triangle = hits.depth.reshape(H, W), hits.triangle.reshape(H, W)
    edges = np.flatnonzero(_edges(depth, triangle, caster.skin.material, caster.skin.colour))
    if len(edges) == 0:
        return radiance.reshape(H, W, 3), depth
    jitter = EDGE_OFFSETS + rng.uniform(-0.1, 0.1, EDGE_OFFSETS.shape).astype(np.float32)
    pixels = np.tile(edges, len(jitter))
    shift = np.repeat(jitter, len(edges), axis=0)
    further = _hits(caster, camera, u[pixels] + shift[:, 0], v[pixels] + shift[:, 1])
    samples = np.empty((len(pixels), 3), np.float32)
    new = np.flatnonzero(_reuse(pixels, further.triangle, triangle, radiance.reshape(H, W, 3), samples))
    samples[new] = _shade(caster, camera, street, light, _take(further, new), openness[pixels[new]])
    samples = np.minimum(samples, BRIGHTEST_SAMPLE).reshape(len(jitter), -1, 3)
    radiance[edges] = (radiance[edges] + samples.sum(axis=0)) / (1 + len(jitter))
    return radiance.reshape(H, W, 3), depth


def _hits(caster: Caster, camera: Pinhole, u: Array, v: Array) -> Hits:
    """Returns what the rays through pixel coordinates u, v (N,) hit."""
    eye = camera.T_world_camera[:3, 3].astype(np.float32)
    rays = camera.rays(u, v)
    depth, triangle, bary = caster.cast(np.broadcast_to(eye, rays.shape), rays)
    points, normals = np.empty_like(rays), np.empty_like(rays)
    locate(caster.skin, eye[None], rays, depth, triangle, bary, points, normals)
    return Hits(rays, depth, triangle, bary, points, normals)


def _take(hits: Hits, index: npt.NDArray[np.intp]) -> Hits:
    """Returns the hits of an index."""
    return Hits(
        *(getattr(hits, name)[index] for name in ("rays", "depth", "triangle", "bary", "points", "normals"))
    )


def _shade(
    caster: Caster, camera: Pinhole, street: Street, light: Light, hits: Hits, openness: Array
) -> npt.NDArray[np.float32]:
    """Returns the radiance (N, 3) of hits, with one shadow ray each."""
    sunlit = np.zeros(len(hits.depth), np.float32)
    if light.sun.any():
        facing = np.flatnonzero(hits.normals @ light.sun_direction > 0)
        towards = np.broadcast_to(light.sun_direction, (len(facing), 3))
        sunlit[facing] = caster.open_way(hits.points[facing], towards, SUN_REACH)
    radiance = np.empty((len(sunlit), 3), np.float32)
    pose = camera.T_world_camera.astype(np.float32)
    lenses = np.float32([1 / camera.K[0, 0]])
    shade(
        caster.skin, street, light, noise_atlas(), np.stack([pose[:3, 3]]), np.stack([pose[:3, 2]]), lenses,
        hits.rays, hits.depth, hits.triangle, hits.bary, sunlit, openness, radiance,
    )  # fmt: skip
    return radiance


def _openness(caster: Caster, hits: Hits, H: int, W: int) -> Array:
    """Returns (N,) 0..1 how much of the sky each point sees, by one short ray at every fourth pixel.

    The noisy answers are spread by a guided filter (He et al. 2013) on log depth, so that they do not cross edges.
    """
    rows, columns = np.mgrid[0:H:2, 0:W:2]
    coarse = (rows * W + columns).ravel()
    hit = coarse[hits.triangle[coarse] >= 0]
    towards = np.empty((len(hit), 3), np.float32)
    _hemisphere(hits.normals[hit], hit // (2 * W), hit % W // 2, towards)
    raw = np.ones(H * W, np.float32)
    raw[hit] = caster.open_way(hits.points[hit], towards, OPENNESS_REACH)
    raw = raw[coarse].reshape(rows.shape)
    guide = np.log(np.minimum(hits.depth.reshape(H, W), np.float32(500)))

    def mean(values: Array, anchor: int = 1) -> Array:
        # As wide as the pattern of rays, so that it does not show.
        return cv2.boxFilter(values, -1, (4, 4), anchor=(anchor, anchor), borderType=cv2.BORDER_REFLECT)

    sparse = np.ascontiguousarray(guide[::2, ::2])
    mean_guide, mean_open = mean(sparse), mean(raw)
    slope = (mean(sparse * raw) - mean_guide * mean_open) / (mean(sparse * sparse) - mean_guide**2 + 1e-3)
    level = mean(mean_open - slope * mean_guide, 2)
    slope, level = (cv2.resize(a, (W, H), interpolation=cv2.INTER_LINEAR) for a in (mean(slope, 2), level))
    return np.clip(slope * guide + level, 0, 1).ravel()


@compiled
def _hemisphere(
    normals: Array, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], directions: Array
) -> None:
    """Fills one cosine-weighted direction (N, 3) for each normal; 4 x 4 pixels spread over the hemisphere."""
    for i in range(len(normals)):
        x, y, z = normals[i]
        cell = ((columns[i] % 4) * 4 + rows[i] % 4) * 7 % 16
        radius = math.sqrt((cell % 4 + 0.5) / 4)
        angle = (cell // 4 + 0.5 * (cell % 2)) * (math.pi / 2) + 0.4 * (cell % 4)
        a, b, c = radius * math.cos(angle), radius * math.sin(angle), math.sqrt(1 - radius * radius)
        # An orthonormal basis around the normal (Duff et al. 2017).
        sign = 1.0 if z >= 0 else -1.0
        f = -1 / (sign + z)
        g = x * y * f
        directions[i, 0] = a * (1 + sign * x * x * f) + b * g + c * x
        directions[i, 1] = a * sign * g + b * (sign + y * y * f) + c * y
        directions[i, 2] = -a * sign * x - b * y + c * z


@compiled
def _edges(
    depth: Array, triangle: npt.NDArray[np.int32], material: npt.NDArray[np.uint8], colour: Array
) -> npt.NDArray[np.bool_]:
    """Returns (H, W) bool: where neighbours differ in depth and in material or colour, or border on the sky."""
    H, W = depth.shape
    edge = np.zeros((H, W), np.bool_)
    for v in range(H):
        for u in range(W):
            for dv, du in ((0, 1), (1, 0)):
                y, x = v + dv, u + du
                if y >= H or x >= W:
                    continue
                s, t = triangle[v, u], triangle[y, x]
                if s == t:
                    continue
                if s >= 0 and t >= 0:
                    near, far = min(depth[v, u], depth[y, x]), max(depth[v, u], depth[y, x])
                    if far - near < 0.04 * near:
                        continue
                    tint = abs(colour[s, 0] - colour[t, 0]) + abs(colour[s, 1] - colour[t, 1])
                    if material[s] == material[t] and tint + abs(colour[s, 2] - colour[t, 2]) < 0.0005:
                        continue
                edge[v, u] = True
                edge[y, x] = True
    return edge


@compiled
def _reuse(
    pixels: npt.NDArray[np.intp],
    sampled: npt.NDArray[np.int32],
    triangle: npt.NDArray[np.int32],
    radiance: Array,
    samples: Array,
) -> npt.NDArray[np.bool_]:
    """Fills samples (N, 3) that hit the triangle of a pixel next to theirs with its radiance.

    Returns:
        (N,) bool: the samples that did not, and need shading of their own.
    """
    H, W = triangle.shape
    new = np.ones(len(pixels), np.bool_)
    for i in range(len(pixels)):
        v, u = pixels[i] // W, pixels[i] % W
        for dv, du in ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)):
            y, x = v + dv, u + du
            if 0 <= y < H and 0 <= x < W and triangle[y, x] == sampled[i]:
                for k in range(3):
                    samples[i, k] = radiance[y, x, k]
                new[i] = False
                break
    return new
