"""The road: its course through the world, its cross-section, and the ground on both sides."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from training.render.mesh import Array, Material, Mesh, from_quads, merge

S_MIN, S_MAX = -340.0, 580.0
FAR = 140.0
STEEPEST = 0.06


@dataclass(frozen=True)
class RoadPath:
    """The centre line, sampled by distance along it.

    Attributes:
        s, x, y, z, heading: (n,) metres and radians.
    """

    s: Array
    x: Array
    y: Array
    z: Array
    heading: Array

    def at(self, s: float, lateral: float) -> tuple[Array, float]:
        """Returns the ground point (3,) at a distance along and left of the centre line, and the heading there."""
        x, y, z, heading = (float(np.interp(s, self.s, v)) for v in (self.x, self.y, self.z, self.heading))
        return np.array([x - np.sin(heading) * lateral, y + np.cos(heading) * lateral, z], np.float32), heading

    def slope(self, s: float) -> float:
        """Returns how much the road rises for each metre along it."""
        z = np.interp([s - 2, s + 2], self.s, self.z)
        return float(z[1] - z[0]) / 4


def make_path(rng: np.random.Generator, *, winding: float) -> RoadPath:
    """Returns a random course; winding 0 is straight, 1 bends with radii down to about 90 m; slopes up to 6 %."""
    s = np.arange(S_MIN, S_MAX + 1, 1.0)
    knots = np.arange(S_MIN - 60, S_MAX + 61, 60.0)
    calm = np.where((knots > -150) & (knots < 250), 1.0, 0.35)
    heading = np.cumsum(np.interp(s, knots, rng.uniform(-1, 1, len(knots)) * calm) * winding / 90)
    heading -= np.interp(0, s, heading)
    x, y = np.cumsum(np.cos(heading)), np.cumsum(np.sin(heading))
    hilly = rng.choice([0.0, 0.3, 1.0], p=[0.35, 0.35, 0.3])
    waves = [(rng.uniform(0, 0.035), rng.uniform(20, 45)), (rng.uniform(0, 0.05), rng.uniform(60, 130))]
    slope = sum(hilly * rise * np.sin(s / wide + rng.uniform(0, 6.3)) for rise, wide in waves)
    z = np.cumsum(np.clip(slope + rng.normal(0, 0.012), -STEEPEST, STEEPEST))
    x, y, z = x - np.interp(0, s, x), y - np.interp(0, s, y), z - np.interp(0, s, z)
    return RoadPath(*(np.asarray(v, np.float32) for v in (s, x, y, z, heading)))


@dataclass(frozen=True)
class Marking:
    """A painted line: its offset left of the centre line, width, and dashes (gap 0 is solid); metres."""

    offset: float
    width: float
    dash: float
    gap: float
    colour: tuple[float, float, float] = (0.6, 0.6, 0.58)

    def moved(self, offset: float) -> Marking:
        """Returns the same line elsewhere."""
        return replace(self, offset=offset)


@dataclass(frozen=True)
class CrossSection:
    """A street seen along its course. Widths in metres, one value for each side (left, right).

    Attributes:
        half_road: from the centre line to the kerb.
        lanes: (offset, direction) of each driving lane; direction 1 drives along s.
        markings: painted lines.
        kerb: its height; 0 for none.
        sidewalk, verge: widths of the paved and the green strip; the verge lies beyond the sidewalk.
        rise: height of the ground beyond, at 12 m from the verge.
        beyond: what the ground beyond is made of.
        junctions: (s, half width) of the crossing roads.
    """

    half_road: float
    lanes: tuple[tuple[float, int], ...]
    markings: tuple[Marking, ...]
    kerb: float
    sidewalk: tuple[float, float]
    verge: tuple[float, float]
    rise: tuple[float, float]
    beyond: tuple[Material, Material]
    junctions: tuple[tuple[float, float], ...] = ()

    def edge(self, side: int) -> float:
        """Returns the distance from the centre line to the end of the verge; side 0 is left, 1 right."""
        return self.half_road + self.sidewalk[side] + self.verge[side]

    def in_junction(self, s: float, margin: float = 0.0) -> bool:
        """Returns whether a crossing road passes at s."""
        return any(abs(s - centre) < half + margin for centre, half in self.junctions)


COLOURS = {
    Material.ROAD: (0.11, 0.11, 0.112),
    Material.PAVING: (0.24, 0.23, 0.22),
    Material.GRASS: (0.07, 0.095, 0.03),
    Material.CONCRETE: (0.3, 0.3, 0.29),
}


def ground_mesh(path: RoadPath, section: CrossSection, rng: np.random.Generator) -> Mesh:
    """Returns road, kerbs, sidewalks, verges and the land beyond; uv is (left of the centre line, along it)."""
    colours = {m: np.array(c) * rng.uniform(0.6, 1.6) * rng.uniform(0.93, 1.07, 3) for m, c in COLOURS.items()}
    # Two halves: the road falls by 2 % from its centre line to both kerbs.
    strips: list[tuple[float, float, float, float, Material]] = [
        (side, 0.0, 0.0, 0.0, Material.ROAD) for side in (-section.half_road, section.half_road)
    ]
    for side, sign in ((0, 1), (1, -1)):
        a, k = section.half_road, section.kerb
        bands: list[tuple[float, float, float, float, Material]] = []
        if k > 0:
            bands += [(a, a + 0.02, 0.0, k, Material.CONCRETE), (a + 0.02, a + 0.16, k, k, Material.CONCRETE)]
        first, top = (bands[-1][1], k) if bands else (a, 0.0)
        walk_end, verge_end = a + section.sidewalk[side], section.edge(side)
        if walk_end > first:
            bands.append((first, walk_end, top, k + 0.03, Material.PAVING))
            first, top = walk_end, k + 0.03
        if verge_end > first:
            bands.append((first, verge_end, top, k + 0.06, Material.GRASS))
            top = k + 0.06
        land, rise = section.beyond[side], section.rise[side]
        bands.append((verge_end, verge_end + 12, top, k + rise, land))
        bands.append((verge_end + 12, FAR, k + rise, k + rise * 1.2, land))
        bands.append((FAR, FAR + 60, k + rise * 1.2, -12.0, land))
        strips += [(sign * p, sign * q, zp, zq, m) for p, q, zp, zq, m in bands]
    cuts = [c + e * (h + extra) for c, h in section.junctions for e in (-1, 1) for extra in (0.0, 0.4)]
    rows = np.unique(np.concatenate([np.arange(S_MIN, S_MAX + 1, 5.0), cuts]))
    flat = np.array([section.in_junction(s, 0.01) for s in rows], np.float32)
    inside = np.array([section.in_junction(s) for s in (rows[:-1] + rows[1:]) / 2])
    heading = np.interp(rows, path.s, path.heading)
    centre = np.stack([np.interp(rows, path.s, v) for v in (path.x, path.y, path.z)], axis=1)
    left = np.stack([-np.sin(heading), np.cos(heading), np.zeros_like(heading)], axis=1)
    bend = np.abs(np.gradient(heading, rows)).max() + 1e-6
    reach = min(FAR + 60, 0.75 / bend)
    parts = []
    for p, q, zp, zq, material in strips:
        edges = []
        for lateral, z in ((p, zp), (q, zq)):
            lateral = float(np.clip(lateral, -reach, reach))
            height = np.where(flat > 0, min(z, 0.015), z)
            points = centre + lateral * left
            points[:, 2] += height - 0.02 * min(abs(lateral), section.half_road)
            edges.append((points, np.stack([np.full(len(rows), lateral), rows], axis=1)))
        (a, ua), (b, ub) = edges
        quads = np.stack([a[:-1], b[:-1], b[1:], a[1:]], axis=1)
        uv = np.stack([ua[:-1], ub[:-1], ub[1:], ua[1:]], axis=1)
        for mask, kind, crossing in ((~inside, material, 0.0), (inside, Material.ROAD, 1.0)):
            if mask.any():
                parts.append(from_quads(quads[mask], uv[mask], kind, colours[kind], (crossing, 0, 0, 0)))
    return merge(parts)


def _ridge(
    path: RoadPath, low: float, radius: float, lift: float, colour: Array, rng: np.random.Generator
) -> Mesh:
    """Returns a ring of wooded hills around the scene, closed at the horizon."""
    n = 128
    angle = np.linspace(0, 2 * np.pi, n + 1)
    waves = sum(np.sin(angle * f + rng.uniform(0, 6.3)) / f**0.6 for f in rng.integers(1, 30, 12))
    height = np.maximum(3, lift * rng.uniform(0.4, 1.4) + waves * lift * rng.uniform(0.1, 0.4))
    height[-1] = height[0]
    middle = np.array([100.0, 0.0])
    rim = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    foot = np.concatenate([middle + radius * rim, np.full((n + 1, 1), low)], axis=1)
    crest = np.concatenate([middle + (radius + 3 * lift) * rim, float(path.z.mean()) + height[:, None]], axis=1)
    quads = np.stack([foot[:-1], foot[1:], crest[1:], crest[:-1]], axis=1)
    run, zero = angle * radius, 0 * angle
    uv = np.stack([np.stack(pair, 1) for pair in ((run, zero), (run, height))], axis=1)
    uv = np.stack([uv[:-1, 0], uv[1:, 0], uv[1:, 1], uv[:-1, 1]], axis=1)
    return from_quads(quads, uv, Material.LEAVES, colour)


def far_land(path: RoadPath, rng: np.random.Generator) -> Mesh:
    """Returns a plain below everything and rings of woods and hills at 580 and 900 m that close the horizon."""
    low = float(path.z.min()) - 2.0
    wood = np.array([0.05, 0.07, 0.035]) * rng.uniform(0.6, 1.5)
    plain = np.array([[(-1500, -1500, low), (1500, -1500, low), (1500, 1500, low), (-1500, 1500, low)]])
    return merge(
        [
            _ridge(path, low, 580.0, rng.uniform(3, 16), wood, rng),
            _ridge(path, low, 900.0, rng.uniform(5, 70), wood * np.array([0.9, 1.0, 1.3]), rng),
            from_quads(plain, plain[..., :2], Material.GRASS, np.array(COLOURS[Material.GRASS])),
        ]
    )
