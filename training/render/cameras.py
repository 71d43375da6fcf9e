"""Cameras on a device, and products of small matrices with many vectors there.

Every product is written as sums of products. torch's own may run in TF32 or bfloat16, round differently with the
number of vectors, and on a GPU set up libraries whose memory each loading process would pay for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from training.render.pinhole import Pinhole


@dataclass(frozen=True)
class Cameras:
    """C pinhole cameras of one size; tensors are float64.

    Attributes:
        width, height: pixels.
        K, K_inverse: (C, 3, 3).
        T_world_camera, T_camera_world: (C, 4, 4); the optical frame is x right, y down, z forward.
        projection: (C, 3, 4) from world points to pixels (u z, v z, z).
        to_world: (C, 3, 3) from pixels (u, v, 1) to world directions.
    """

    width: int
    height: int
    K: torch.Tensor
    K_inverse: torch.Tensor
    T_world_camera: torch.Tensor
    T_camera_world: torch.Tensor
    projection: torch.Tensor
    to_world: torch.Tensor

    @property
    def pixels(self) -> int:
        """The number of pixels of all cameras."""
        return len(self.K) * self.height * self.width

    def rays(self) -> torch.Tensor:
        """Returns (C, H, W, 3) float32 world directions; a step of one along them is one metre of depth."""
        v, u = torch.meshgrid(
            torch.arange(self.height, device=self.K.device, dtype=torch.float64),
            torch.arange(self.width, device=self.K.device, dtype=torch.float64),
            indexing="ij",
        )
        pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1)
        return times(self.to_world[:, None, None], pixels).float()


def to_cameras(cameras: Sequence[Pinhole], device: torch.device) -> Cameras:
    """Returns cameras of one size on a device."""
    K, poses = (np.stack([getattr(camera, name) for camera in cameras]) for name in ("K", "T_world_camera"))
    K_inverse, inverses = np.linalg.inv(K), np.linalg.inv(poses)
    arrays = (K, K_inverse, poses, inverses, K @ inverses[:, :3], poses[:, :3, :3] @ K_inverse)
    return Cameras(cameras[0].width, cameras[0].height, *(torch.from_numpy(a).to(device) for a in arrays))


def times(matrices: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Returns the products (..., 3) of matrices (..., 3, 3) and vectors (..., 3)."""
    return (
        matrices[..., 0] * vectors[..., :1]
        + matrices[..., 1] * vectors[..., 1:2]
        + matrices[..., 2] * vectors[..., 2:3]
    )


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Returns the scalar products (...) of vectors (..., 3)."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]
