"""A pinhole camera in the world, and the rays through its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.render.mesh import Array


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
