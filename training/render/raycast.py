"""Rays through the pixels of a pinhole camera, and what they hit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from training.render.mesh import Array, Mesh
from training.render.shading import skin_of


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
        self.skin = skin_of(mesh)
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, np.ascontiguousarray(mesh.points))
        # Embree builds its tree at the first ray.
        self.cast(np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32))

    def cast(self, origins: Array, directions: Array) -> tuple[Array, np.ndarray, Array]:
        """Returns distance in steps of `directions` (inf: none), triangle (-1: none), barycentric u v (N, 2)."""
        hit = self._scene.run(origins, directions, output=1)
        missed = hit["primID"] < 0
        distance = np.where(missed, np.inf, hit["tfar"]).astype(np.float32)
        return distance, hit["primID"], np.stack([hit["u"], hit["v"]], axis=1)

    def open_way(self, origins: Array, directions: Array, reach: float) -> Array:
        """Returns (N,) 1 where nothing lies within `reach` along the ray, else 0."""
        hit = self._scene.run(origins, directions, np.full(len(origins), reach, np.float32), query="OCCLUDED")
        return (np.asarray(hit) < 0).astype(np.float32)


def cast_depth(caster: Caster, camera: Pinhole) -> Array:
    """Returns depth (H, W) in metres along z at the pixel centres, inf for sky."""
    rays = camera.rays(*camera.pixels())
    origin = camera.T_world_camera[:3, 3].astype(np.float32)
    return caster.cast(np.tile(origin, (len(rays), 1)), rays)[0].reshape(camera.height, camera.width)
