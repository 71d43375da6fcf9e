"""Rays cast at a mesh by Embree, and what they hit."""

from __future__ import annotations

import numpy as np

from training.render.mesh import Array, Mesh
from training.render.pinhole import Pinhole
from training.render.shading import skin_of


class Caster:
    """A mesh ready for rays.

    Raises:
        ImportError: embreex is not installed.
    """

    def __init__(self, mesh: Mesh) -> None:
        # Here: the rasteriser renders the same scenes where Embree has no wheel.
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise ImportError(
                f"rays are cast by embreex, which cannot be imported ({error}); pip install -r "
                "requirements/training.txt, or render with the rasteriser (renderer 'cpu' or 'cuda')"
            ) from error
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
