"""What is fused and how: frames with poses, the settings of a volume, and the memory that it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel

BLOCK = 8  # voxels along a block's edge
BLOCK_BYTES = BLOCK**3 * 20  # float32 distance and weight of each voxel, and three of colour
MESH_BLOCK_BYTES = BLOCK**3 * 16  # four int32 a voxel, which marching cubes takes beside it for a moment
MIN_TRUNCATION = 2.0  # voxels; below, the distances around a surface leave holes in it


class FusionError(ValueError):
    """Frames that cannot be fused, or a volume that does not fit."""


@dataclass(frozen=True, eq=False)
class PosedDepth:
    """A depth image and where it was taken.

    Attributes:
        depth: (H, W) float32, metres along z; NaN, +Inf and 0 are nothing.
        camera: of the depth, undistorted.
        T_world_camera: (4, 4), metres, optical frame.
        color: (h, w, 3) uint8 RGB of the same view, of any size, or None.
        confidence: (H, W) float32 in 0..1, or None where all pixels count alike.
        name: for messages.
    """

    depth: npt.NDArray[np.float32]
    camera: CameraModel
    T_world_camera: npt.NDArray[np.float64]
    color: npt.NDArray[np.uint8] | None = None
    confidence: npt.NDArray[np.float32] | None = None
    name: str = "frame"


@dataclass(frozen=True)
class FusionSettings:
    """How frames are fused.

    Attributes:
        voxel: edge of a voxel, metres.
        max_depth: farther depth is left out, metres along z.
        truncation_voxels: how far from a surface distances are kept, voxels; several times the depth's error.
        confidence_levels: a pixel weighs round(n * confidence) / n: 1 leaves out what is below 0.5 and counts the
            rest alike; 4 makes four weights, and takes four times as long.
        memory_mb: what volume and mesh may take, the moment in which the volume grows included.
        device: "cpu", "cuda" or "cuda:N".
    """

    voxel: float
    max_depth: float
    truncation_voxels: float = 4.0
    confidence_levels: int = 1
    memory_mb: float = 2048.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("voxel", "max_depth", "confidence_levels", "memory_mb"):
            if not 0 < getattr(self, name) < math.inf:
                raise FusionError(f"{name} is {getattr(self, name)}, expected a positive number")
        if not MIN_TRUNCATION <= self.truncation_voxels < math.inf:
            raise FusionError(
                f"truncation_voxels is {self.truncation_voxels:g}, expected at least {MIN_TRUNCATION:g}"
            )

    @property
    def truncation(self) -> float:
        """How far from a surface distances are kept, metres."""
        return self.truncation_voxels * self.voxel


def fits(settings: FusionSettings, blocks: int) -> bool:
    """Returns whether the blocks, and what their mesh takes for a moment, fit into the memory."""
    return blocks * (BLOCK_BYTES + MESH_BLOCK_BYTES) <= settings.memory_mb * 1e6


def fitting_voxel(settings: FusionSettings, blocks: int) -> float:
    """Returns about the voxel at which blocks that do not fit would, rounded up to two digits, metres.

    Surfaces are flat: twice the voxel needs a quarter of the blocks.
    """
    size = blocks * (BLOCK_BYTES + MESH_BLOCK_BYTES)
    voxel = 1.1 * settings.voxel * math.sqrt(size / (settings.memory_mb * 1e6))
    digit = 10.0 ** (math.floor(math.log10(voxel)) - 1)
    return math.ceil(voxel / digit) * digit


def too_large(settings: FusionSettings, blocks: int, voxel: float) -> FusionError:
    """Returns the error of a volume that does not fit, with a voxel that does, metres."""
    size = blocks * (BLOCK_BYTES + MESH_BLOCK_BYTES)
    return FusionError(
        f"at a voxel of {settings.voxel:g} m the volume takes {size / 1e6:.0f} MB or more, over the limit of "
        f"{settings.memory_mb:.0f} MB; {voxel:g} m should fit, or less max_depth, or more memory"
    )
