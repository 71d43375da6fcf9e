"""PointNet on clouds of streets: a cloud is cut into square columns, which it labels one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
BLOCK = (
    8.0  # metres: larger than a car, small enough for one maximum over all its points to tell what stands in it
)


def in_block(points: Array, centre: npt.NDArray[np.floating]) -> tuple[Array, npt.NDArray[np.intp]]:
    """Returns the points of a column in its own frame, (M, 3) in half sides of it, and their indices (M,).

    Args:
        points: (N, 3) metres, z above the road.
        centre: (2,) x and y of the column's middle.
    """
    chosen = np.flatnonzero((np.abs(points[:, :2] - centre) <= BLOCK / 2).all(axis=1))
    local = (points[chosen] - np.array([*centre, 0.0], np.float32)) / (BLOCK / 2)
    return local.astype(np.float32), chosen


def label_cloud(points: Array, scores_of: Callable[[Array], Array]) -> npt.NDArray[np.int64]:
    """Returns the label of each point of a street, (N,).

    Args:
        points: (N, 3) metres, z above the road.
        scores_of: Returns scores (M, C) of the points (M, 3) of a column in its own frame.

    Raises:
        ValueError: A point is NaN or infinite.
    """
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points).all(axis=1)).sum())
        raise ValueError(f"{bad} of {len(points)} points are NaN or infinite; leave them out first")
    labels = np.full(len(points), -1, np.int64)
    cell = np.floor(points[:, :2] / BLOCK).astype(np.int64)
    order = np.lexsort((cell[:, 1], cell[:, 0]))
    starts = np.flatnonzero(np.diff(cell[order], axis=0, prepend=cell[order][:1] - 1).any(axis=1))
    for chosen in np.split(order, starts[1:]) if len(points) else ():
        centre = (cell[chosen[0]] + 0.5) * BLOCK
        local = (points[chosen] - np.array([*centre, 0.0])) / (BLOCK / 2)
        labels[chosen] = scores_of(local.astype(np.float32)).argmax(axis=1)
    return labels
