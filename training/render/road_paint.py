"""What lies flat on the road besides lane lines: arrows, words, stop lines, tyre marks, seams, patches, litter.

An empty road is never plain; none of this rises more than a centimetre above it.
"""

from __future__ import annotations

import numpy as np

from training.render.mesh import Array, Material, from_quads
from training.render.site import Site
from training.render.traffic import VIEWED

LIFT = 0.006
REACH = (VIEWED[0] - 30, VIEWED[1] + 130)
WHITE = (0.55, 0.55, 0.53)
# Outlines of an arrow 1 unit long and wide: shaft and head, as quads of (along, left).
ARROW = np.array([[(0, -0.06), (0.62, -0.06), (0.62, 0.06), (0, 0.06)], [(0.6, -0.2), (1, 0), (1, 0), (0.6, 0.2)]])
BEND = np.array(
    [[(0.45, -0.06), (0.57, -0.06), (0.57, 0.3), (0.45, 0.3)], [(0.4, 0.3), (0.62, 0.3), (0.51, 0.5), (0.51, 0.5)]]
)

# What letters are made of: corners of rectangles, in units of a letter's height along and its width across.
STROKES = (
    ((0, -0.5), (1, -0.3)),
    ((0, 0.3), (1, 0.5)),
    ((0, -0.5), (0.1, 0.5)),
    ((0.45, -0.5), (0.55, 0.5)),
    ((0.9, -0.5), (1, 0.5)),
)


def _lay(site: Site, quads: Array, colour: Array | tuple[float, float, float], material: Material) -> None:
    """Lays quads (Q, 4, 2) of (s, lateral) onto the road."""
    inside = site.section.half_road - 0.05
    quads = np.stack([quads[..., 0], np.clip(quads[..., 1], -inside, inside)], axis=-1)
    spots = [site.pose(float(s), float(lateral))[0] for s, lateral in quads.reshape(-1, 2)]
    points = np.array(spots).reshape(-1, 4, 3) + np.float32([0, 0, LIFT])
    site.parts.append(from_quads(points, quads, material, colour, (9, 1, 0, 0)))


def add_road_paint(site: Site) -> None:
    """Adds all of it, each as often as it is met; a third of the roads has almost none."""
    rng = site.rng
    busy = rng.choice([0.2, 1.0, 2.0])
    for lateral, direction in site.section.lanes:
        for _ in range(rng.poisson(0.5 * busy)):
            _arrow(site, rng.uniform(*REACH), lateral, direction)
        for _ in range(rng.poisson(0.25 * busy)):
            _word(site, rng.uniform(*REACH), lateral, direction)
        for _ in range(rng.poisson(0.8 * busy)):
            _tyre_mark(site, rng.uniform(*REACH), lateral)
    for centre, half in site.section.junctions:
        for lateral, direction in site.section.lanes:
            s = centre - direction * (half + 4.6)
            _lay(site, _rectangle(s, lateral, 0.4, 2.9), WHITE, Material.CONCRETE)
    for _ in range(rng.poisson(5 * busy)):
        _seam(site)
    for _ in range(rng.poisson(4 * busy)):
        _patch(site)
    for _ in range(rng.poisson(6 * busy)):
        spot = rng.uniform(*REACH), rng.uniform(-1, 1) * site.section.half_road
        leaf = rng.uniform(0.02, 0.5) * np.array([1, 0.85, 0.6])
        _lay(site, _rectangle(*spot, rng.uniform(0.05, 0.5), rng.uniform(0.05, 0.4)), leaf, Material.CLOTH)


def _rectangle(s: float, lateral: float, length: float, width: float) -> Array:
    """Returns one quad (1, 4, 2) centred at road coordinates."""
    half = np.array([length / 2, width / 2])
    return (np.array([[(-1, -1), (1, -1), (1, 1), (-1, 1)]]) * half + [s, lateral]).astype(np.float32)


def _arrow(site: Site, s: float, lateral: float, direction: int) -> None:
    """Lays a direction arrow 3 to 6 m long."""
    rng = site.rng
    size = np.array([rng.uniform(3, 6), rng.uniform(1.2, 2.2)]) * direction
    quads = ARROW if rng.uniform() < 0.6 else np.concatenate([ARROW[:1], BEND * [1, rng.choice([-1, 1])]])
    _lay(site, (quads * size + [s, lateral]).astype(np.float32), WHITE, Material.CONCRETE)


def _word(site: Site, s: float, lateral: float, direction: int) -> None:
    """Lays something like letters or figures, stretched along the road as they are."""
    rng = site.rng
    tall, wide, letters = rng.uniform(1.6, 4), rng.uniform(0.35, 0.6), int(rng.integers(2, 5))
    quads = []
    for k in range(letters):
        middle = (k - (letters - 1) / 2) * wide * 1.25
        for pick in np.flatnonzero(rng.uniform(size=5) < 0.65):
            (a, p), (b, q) = STROKES[pick]
            p, q = middle + p * wide, middle + q * wide
            quads.append([(a * tall, p), (b * tall, p), (b * tall, q), (a * tall, q)])
    if quads:
        _lay(site, (np.array(quads) * direction + [s, lateral]).astype(np.float32), WHITE, Material.CONCRETE)


def _tyre_mark(site: Site, s: float, lateral: float) -> None:
    """Lays the two dark lines of a braking vehicle, a little out of line."""
    rng = site.rng
    length, drift, shade = rng.uniform(4, 25), rng.normal(0, 0.5), np.full(3, rng.uniform(0.03, 0.06))
    steps = np.linspace(0, 1, 7)
    for wheel in (-0.72, 0.72):
        side = lateral + wheel + drift * steps**2
        edges = [np.stack([s + length * steps, side + e], axis=1) for e in (-0.09, 0.09)]
        quads = np.stack([edges[0][:-1], edges[0][1:], edges[1][1:], edges[1][:-1]], axis=1)
        _lay(site, quads.astype(np.float32), shade, Material.RUBBER)


def _seam(site: Site) -> None:
    """Lays a joint of tar, along or across the road."""
    rng, half = site.rng, site.section.half_road
    s, shade = rng.uniform(*REACH), np.full(3, rng.uniform(0.02, 0.05))
    if rng.uniform() < 0.5:
        wide = rng.uniform(0.04, 0.15)
        for side in (-half / 2, half / 2):  # the road bends at its centre line
            _lay(site, _rectangle(s, side, wide, half), shade, Material.RUBBER)
        return
    lateral, wander = rng.uniform(-0.9, 0.9) * half, np.cumsum(rng.normal(0, 0.12, 12))
    ends = np.stack([s + 3.0 * np.arange(12), np.clip(lateral + wander, -half, half)], axis=1)
    wide = np.array([0, rng.uniform(0.04, 0.1)])
    quads = np.stack([ends[:-1], ends[1:], ends[1:] + wide, ends[:-1] + wide], axis=1)
    _lay(site, quads.astype(np.float32), shade, Material.RUBBER)


def _patch(site: Site) -> None:
    """Lays a mended place, darker or lighter than the road."""
    rng, half = site.rng, site.section.half_road
    shade = np.full(3, rng.choice([0.04, 0.06, 0.16, 0.22])) * rng.uniform(0.8, 1.2)
    spot = rng.uniform(*REACH), rng.uniform(-0.8, 0.8) * half
    _lay(site, _rectangle(*spot, rng.uniform(0.5, 6), rng.uniform(0.4, 3)), shade, Material.CONCRETE)
