"""The surface of a shape: read from its file, brought to one size, sampled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.datasets.files import DatasetError

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ShapeSurface:
    """Triangles of a shape; the longest side of its bounding box is 1 and the box is centred on the origin.

    Attributes:
        triangles: (T, 3, 3) float32, in the file's own orientation, z up.
    """

    triangles: Array

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Returns `count` points spread evenly by chance over the surface, (count, 3) float32."""
        a, b, c = (self.triangles[:, k] for k in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        chosen = rng.choice(len(area), size=count, p=area / area.sum(dtype=np.float64))
        u, v = rng.random((2, count, 1), dtype=np.float32)
        folded = u + v > 1  # the other half of the parallelogram, folded back
        u, v = np.where(folded, 1 - u, u), np.where(folded, 1 - v, v)
        return np.asarray(a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen], dtype=np.float32)


def load_surface(path: Path) -> ShapeSurface:
    """Returns the surface of a mesh file.

    ShapeNet's .obj files have y up and are turned to z up; .off files have z up already. A header that runs into
    the numbers ("OFF490 518 0", as many of ModelNet40's files have it) is read as well.

    Raises:
        DatasetError: The file cannot be read, has no area, or coordinates that are not finite.
    """
    import trimesh  # here: clouds are sampled without it

    try:
        # The shape alone: no materials, whose files are often missing, and corners in the file's own order.
        mesh = trimesh.load_mesh(path, process=False, skip_materials=True)
        triangles = np.asarray(mesh.triangles, dtype=np.float64)
    except Exception as error:  # every reader of trimesh raises errors of its own
        raise DatasetError(f"{path}: cannot be read as a mesh ({error})") from error
    bad = int((~np.isfinite(triangles).all(axis=(1, 2))).sum())
    if bad:
        raise DatasetError(f"{path}: {bad} of {len(triangles)} triangles have a corner that is NaN or infinite")
    if path.suffix.lower() == ".obj":
        triangles = np.stack([triangles[..., 0], -triangles[..., 2], triangles[..., 1]], axis=-1)
    return normalised(triangles, str(path))


def normalised(triangles: npt.NDArray[np.float64], origin: str) -> ShapeSurface:
    """Returns triangles (T, 3, 3) moved and scaled as ShapeSurface has them.

    Raises:
        DatasetError: They have no area.
    """
    corners = triangles.reshape(-1, 3)
    edges = triangles[:, 1:] - triangles[:, :1]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1).sum() if len(corners) else 0.0
    if area == 0.0:
        raise DatasetError(f"{origin}: its {len(triangles)} triangles have no area")
    low, high = corners.min(axis=0), corners.max(axis=0)
    return ShapeSurface(((triangles - (low + high) / 2) / (high - low).max()).astype(np.float32))


def resampled(points: Array, count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Returns the indices (count,) of a random choice of points, each once as long as there are enough.

    Of fewer points than asked for every one is taken, and some again: a network that takes the maximum over points
    gives the same answer.

    Args:
        points: (N, D) float32.

    Raises:
        ValueError: There is no point, or one is NaN or infinite.
    """
    N = len(points)
    bad = int((~np.isfinite(points).all(axis=1)).sum()) if N else 0
    if N == 0 or bad:
        reason = f"{bad} of {N} points are NaN or infinite; leave them out" if N else "the cloud has no point"
        raise ValueError(f"{reason}, expected finite points to take {count} of")
    if N >= count:
        return rng.choice(N, size=count, replace=False)
    return np.concatenate([np.arange(N), rng.choice(N, size=count - N)])
