"""Where things stand on the ground: oriented rectangles, and whether they overlap."""

from __future__ import annotations

import numpy as np

from training.render.mesh import Array, Mesh

# Heights (m) between which a thing counts as standing in the way: its crown or its lamp above does not.
LOW, HIGH = 0.15, 1.9


def extent(mesh: Mesh) -> Array:
    """Returns x0, x1, y0, y1 (m) of what the mesh holds between LOW and HIGH, or of all where that is nothing."""
    points = mesh.points.reshape(-1, 3)
    low = points[(points[:, 2] > LOW) & (points[:, 2] < HIGH)] if len(points) > 40 else points
    x, y = (low if len(low) else points)[:, :2].T
    return np.array([x.min(), x.max(), y.min(), y.max()], np.float32)


def rectangle(bounds: Array, position: Array, heading: float, scale: float = 1.0) -> Array:
    """Returns x, y, heading, half length, half width (m, rad) of placed local bounds x0, x1, y0, y1."""
    x0, x1, y0, y1 = bounds * scale
    c, s = np.cos(heading), np.sin(heading)
    mx, my = (x0 + x1) / 2, (y0 + y1) / 2
    return np.array(
        [position[0] + c * mx - s * my, position[1] + s * mx + c * my, heading, (x1 - x0) / 2, (y1 - y0) / 2],
        np.float32,
    )


def overlapping(one: Array, others: Array, margin: float = 0.0) -> np.ndarray:
    """Returns (N,) bool: which rectangles (N, 5) come closer than a margin (m) to one rectangle (5,).

    Two convex shapes are apart if one of their sides' directions separates them.
    """
    one = one + np.float32([0, 0, 0, margin, margin])
    offset = others[:, :2] - one[:2]
    reach = np.hypot(one[3], one[4]) + np.hypot(others[:, 3], others[:, 4])
    result = (offset**2).sum(axis=1) < reach**2
    near = np.flatnonzero(result)
    if len(near):
        offset, rects = offset[near], others[near]
        turn = rects[:, 2] - one[2]
        c, s = np.abs(np.cos(turn)), np.abs(np.sin(turn))
        apart = np.zeros(len(near), bool)
        mine, theirs = np.broadcast_to(one[3:], (len(near), 2)), rects[:, 3:]
        for heading, own, other in ((one[2], mine, theirs), (rects[:, 2], theirs, mine)):
            along = np.abs(offset[:, 0] * np.cos(heading) + offset[:, 1] * np.sin(heading))
            across = np.abs(-offset[:, 0] * np.sin(heading) + offset[:, 1] * np.cos(heading))
            apart |= along > own[:, 0] + other[:, 0] * c + other[:, 1] * s
            apart |= across > own[:, 1] + other[:, 0] * s + other[:, 1] * c
        result[near] = ~apart
    return result


class Footprints:
    """The rectangles of everything that stands in a scene so far."""

    def __init__(self) -> None:
        self._rects = np.empty((1024, 5), np.float32)
        self._count = 0

    @property
    def rects(self) -> Array:
        """(N, 5) x, y, heading, half length, half width."""
        return self._rects[: self._count]

    def add(self, rect: Array) -> None:
        """Adds a rectangle (5,)."""
        if self._count == len(self._rects):
            self._rects = np.concatenate([self._rects, np.empty_like(self._rects)])
        self._rects[self._count] = rect
        self._count += 1

    def hits(self, rect: Array, margin: float) -> bool:
        """Returns whether anything comes closer than a margin (m) to the rectangle."""
        return bool(overlapping(rect, self.rects, margin).any())
