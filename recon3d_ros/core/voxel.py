"""Thinning and outliers of a cloud by cells in space; compiled by numba where it is installed.

numpy must sort the cells, which takes the time of 10 to 20 of the compiled passes; both give the same points.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

logger = logging.getLogger(__name__)

MIN_SIZE = 0.01  # metres; a cell's number has 21 bits an axis, so 1 cm reaches 10 km
OFFSET = 1 << 20
HASH = np.int64(-7046029254386353131)  # 2^64 / golden ratio (Knuth's multiplicative hashing)


def nearest_to_voxel_centres(points: Points, size: float) -> Mask:
    """Returns which points stay, one a voxel: that nearest to its centre, which leaves the evenest spacing.

    A measured point is kept, not a mean: it has a pixel, a colour and a place in an organised cloud, and no mean
    of a car and the road behind it hangs in the air.

    Args:
        points: (N, 3) float32 metres, finite, within 10 km.
        size: edge of a voxel, metres, at least MIN_SIZE.

    Returns:
        (N,) bool.
    """
    if has_numba():
        return np.asarray(_compiled("voxels")(points, np.float32(1 / size), _table(len(points))), dtype=np.bool_)
    return _voxels_numpy(points, np.float32(1 / size))


def has_neighbours(points: Points, *, radius: float, count: int) -> Mask:
    """Returns which points have at least `count` others within `radius`.

    Args:
        points: (N, 3) float32 metres, finite, within 10 km.
        radius: metres, at least MIN_SIZE.
        count: 1 or more.

    Returns:
        (N,) bool.
    """
    if has_numba():
        kept = _compiled("neighbours")(
            points, np.float32(1 / radius), np.float32(radius**2), count, _table(len(points))
        )
        return np.asarray(kept, dtype=np.bool_)
    return _neighbours_numpy(points, np.float32(1 / radius), np.float32(radius**2), count)


@functools.cache
def has_numba() -> bool:
    """Whether numba is there and accepts this numpy; it is imported here, so that a node starts without it."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        logger.info("cloud filters run without numba, several times slower: %s", error)
        return False
    return True


def compile_now() -> None:
    """Compiles, or loads from the cache, what the first frame would otherwise wait for: seconds, once."""
    if has_numba():
        nearest_to_voxel_centres(np.zeros((1, 3), dtype=np.float32), 1.0)
        has_neighbours(np.zeros((1, 3), dtype=np.float32), radius=1.0, count=1)


@functools.cache
def _compiled(name: str) -> Callable[..., Any]:
    import numba

    loops: dict[str, Any] = {"voxels": _voxels_loop, "neighbours": _neighbours_loop}
    compiled: Callable[..., Any]
    try:
        compiled = numba.njit(cache=True)(loops[name])
    except RuntimeError:  # nowhere to write: a read-only installation and no home
        compiled = numba.njit(loops[name])
    return compiled


def _table(n: int) -> npt.NDArray[np.int32]:
    """Returns an empty hash table: a power of two of slots, at most half of them taken."""
    return np.full(1 << max(2 * n - 1, 1).bit_length(), -1, dtype=np.int32)


def _voxels_loop(points: Points, per_metre: np.float32, table: npt.NDArray[np.int32]) -> Mask:
    n = points.shape[0]
    last = table.shape[0] - 1
    half = np.float32(0.5)
    keys = np.empty(n, np.int64)
    distances = np.empty(n, np.float32)
    kept = np.zeros(n, np.bool_)
    for i in range(n):
        x, y, z = points[i, 0] * per_metre, points[i, 1] * per_metre, points[i, 2] * per_metre
        cx, cy, cz = np.floor(x), np.floor(y), np.floor(z)
        dx, dy, dz = x - cx - half, y - cy - half, z - cz - half
        distance = dx * dx + dy * dy + dz * dz
        key = ((np.int64(cx) + OFFSET) << 42) | ((np.int64(cy) + OFFSET) << 21) | (np.int64(cz) + OFFSET)
        keys[i], distances[i] = key, distance
        slot = ((key * HASH) >> 33) & last
        while table[slot] >= 0 and keys[table[slot]] != key:
            slot = (slot + 1) & last
        other = table[slot]
        if other < 0 or distance < distances[other]:
            if other >= 0:
                kept[other] = False
            kept[i] = True
            table[slot] = i
    return kept


def _voxels_numpy(points: Points, per_metre: np.float32) -> Mask:
    scaled = points * per_metre
    cells = np.floor(scaled)
    offset = scaled - cells - np.float32(0.5)
    offset *= offset
    distances = offset[:, 0] + offset[:, 1] + offset[:, 2]
    keys = _keys(cells.astype(np.int64))
    order = np.lexsort((distances, keys))
    is_first = np.diff(keys[order], prepend=-1) != 0
    kept = np.zeros(len(points), dtype=np.bool_)
    kept[order[is_first]] = True
    return kept


def _keys(cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    x, y, z = (cells + OFFSET).T
    return np.asarray((x << 42) | (y << 21) | z, dtype=np.int64)


def _neighbours_loop(
    points: Points, per_metre: np.float32, radius2: np.float32, count: int, table: npt.NDArray[np.int32]
) -> Mask:
    n = points.shape[0]
    last = table.shape[0] - 1
    cells = np.empty((n, 3), np.int64)
    keys = np.empty(n, np.int64)
    following = np.empty(n, np.int32)  # the next point of the same cell
    for i in range(n):
        for axis in range(3):
            cells[i, axis] = np.int64(np.floor(points[i, axis] * per_metre)) + OFFSET
        key = (cells[i, 0] << 42) | (cells[i, 1] << 21) | cells[i, 2]
        keys[i] = key
        slot = ((key * HASH) >> 33) & last
        while table[slot] >= 0 and keys[table[slot]] != key:
            slot = (slot + 1) & last
        following[i] = table[slot]
        table[slot] = i
    kept = np.zeros(n, np.bool_)
    for i in range(n):
        found = -1  # the point finds itself
        for number in range(27):
            x = cells[i, 0] + number // 9 - 1
            y = cells[i, 1] + number // 3 % 3 - 1
            z = cells[i, 2] + number % 3 - 1
            key = (x << 42) | (y << 21) | z
            slot = ((key * HASH) >> 33) & last
            while table[slot] >= 0 and keys[table[slot]] != key:
                slot = (slot + 1) & last
            j = table[slot]
            while j >= 0 and found < count:
                dx, dy, dz = points[i, 0] - points[j, 0], points[i, 1] - points[j, 1], points[i, 2] - points[j, 2]
                if dx * dx + dy * dy + dz * dz <= radius2:
                    found += 1
                j = following[j]
            if found >= count:
                kept[i] = True
                break
    return kept


def _neighbours_numpy(points: Points, per_metre: np.float32, radius2: np.float32, count: int) -> Mask:
    cells = np.floor(points * per_metre).astype(np.int64)
    keys = _keys(cells)
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    found = np.full(len(points), -1)  # each point finds itself
    for number in range(27):
        wanted = _keys(cells + np.array([number // 9 - 1, number // 3 % 3 - 1, number % 3 - 1]))
        start = np.searchsorted(sorted_keys, wanted, side="left")
        end = np.searchsorted(sorted_keys, wanted, side="right")
        waiting = np.flatnonzero((start < end) & (found < count))
        step = 0
        while len(waiting):
            offset = points[waiting] - points[order[start[waiting] + step]]
            offset *= offset
            found[waiting] += offset[:, 0] + offset[:, 1] + offset[:, 2] <= radius2
            step += 1
            waiting = waiting[(start[waiting] + step < end[waiting]) & (found[waiting] < count)]
    return np.asarray(found >= count, dtype=np.bool_)
