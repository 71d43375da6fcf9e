"""A triangle mesh, and whether it is closed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh.

    Attributes:
        vertices: (N, 3) float32, metres.
        triangles: (M, 3) int32 rows of vertices, counter-clockwise seen from outside.
        normals: (N, 3) float32, of length 1, out of the surface.
        colors: (N, 3) uint8 RGB, or None.
    """

    vertices: npt.NDArray[np.float32]
    triangles: npt.NDArray[np.int32]
    normals: npt.NDArray[np.float32]
    colors: npt.NDArray[np.uint8] | None = None

    @property
    def size(self) -> npt.NDArray[np.float32]:
        """(3,) float32 extent along each axis, metres."""
        return np.asarray(np.ptp(self.vertices, axis=0), dtype=np.float32)


@dataclass(frozen=True)
class Edges:
    """How the triangles of a mesh meet.

    Attributes:
        free: edges of one triangle only: the rim of a hole.
        shared: edges of three and more triangles.
        reversed: edges whose two triangles disagree on which side is outside.
    """

    free: int
    shared: int
    reversed: int

    @property
    def is_watertight(self) -> bool:
        """Whether the mesh bounds a volume, as a 3D printer needs it."""
        return not (self.free or self.shared or self.reversed)


def count_edges(triangles: npt.NDArray[np.int32]) -> Edges:
    """Returns how the triangles of a mesh meet.

    Args:
        triangles: (M, 3) rows of vertices.
    """
    directed = triangles.astype(np.int64)[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    is_forward = directed[:, 0] < directed[:, 1]
    low, high = directed.min(axis=1), directed.max(axis=1)
    _, edge, count = np.unique(low << 32 | high, return_inverse=True, return_counts=True)
    forward = np.bincount(edge.reshape(-1), weights=is_forward, minlength=len(count))
    return Edges(
        free=int((count == 1).sum()),
        shared=int((count > 2).sum()),
        reversed=int(((count == 2) & (forward != 1)).sum()),
    )
