"""Where a camera sits on its vehicle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MAX_HEIGHT = 20.0  # metres; no road vehicle carries a camera higher


class MountingError(ValueError):
    """A transform or height that no camera on a vehicle has."""


@dataclass(frozen=True, eq=False)
class Mounting:
    """The camera's place over the road when the vehicle stands level.

    Attributes:
        T_base_camera: (4, 4) float64, p_base = T_base_camera @ p_optical, metres. The base frame lies on the
            road under the vehicle: x forward, y left, z up. The optical frame: x right, y down, z forward.

    Raises:
        MountingError: if it is no rigid transform, or puts the camera on or under the road.
    """

    T_base_camera: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.asarray(self.T_base_camera, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise MountingError(f"T_base_camera is {matrix.tolist()}, expected a finite 4x4 transform")
        rotation = matrix[:3, :3]
        is_rotation = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) and np.linalg.det(rotation) > 0
        if not is_rotation or not np.allclose(matrix[3], (0.0, 0.0, 0.0, 1.0)):
            raise MountingError(
                f"T_base_camera is {matrix.tolist()}, expected a rotation, a translation in metres and a last row "
                "of 0 0 0 1; it may be transposed"
            )
        height = float(matrix[2, 3])
        if not 0.0 < height <= MAX_HEIGHT:
            raise MountingError(
                f"the camera is {height:g} m above the road, expected more than 0 and at most {MAX_HEIGHT:g}; "
                "the transform is p_base = T_base_camera @ p_optical, with the base frame on the road "
                "(base_footprint, not base_link at the axle): it may be inverted"
            )
        object.__setattr__(self, "T_base_camera", matrix)

    @classmethod
    def level(cls, height: float, *, pitch: float = 0.0) -> Mounting:
        """Returns the mounting of a camera that looks ahead.

        Args:
            height: above the road, metres.
            pitch: radians, positive looks down.
        """
        sin, cos = math.sin(pitch), math.cos(pitch)
        matrix = np.eye(4)
        matrix[:3, :3] = [[0.0, -sin, cos], [-1.0, 0.0, 0.0], [0.0, -cos, -sin]]
        matrix[2, 3] = height
        return cls(matrix)

    @property
    def height(self) -> float:
        """The camera's height above the road, metres."""
        return float(self.T_base_camera[2, 3])

    @property
    def up(self) -> npt.NDArray[np.float64]:
        """The (3,) unit vector that points up, optical frame."""
        return np.asarray(self.T_base_camera[2, :3], dtype=np.float64)
