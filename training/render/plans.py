"""Cross-sections of the kinds of street, drawn by chance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.render.mesh import Material
from training.render.road import CrossSection, Marking

GRASS, PAVING = Material.GRASS, Material.PAVING
Colour = tuple[float, float, float]
# Dash and gap (m) of lane lines in different countries.
DASHES = ((6.0, 12.0), (3.0, 9.0), (4.0, 8.0), (8.0, 12.0), (5.0, 15.0), (3.0, 4.5))
Plan = Callable[[np.random.Generator, Colour, int], CrossSection]


def _lanes(offsets: list[float], keep: int) -> tuple[tuple[float, int], ...]:
    """Returns lanes on both sides of the centre line; keep 1 drives on the right, -1 on the left."""
    return tuple((sign * offset, -sign * keep) for offset in offsets for sign in (1, -1))


def _highway(rng: np.random.Generator, paint: Colour, keep: int) -> CrossSection:
    u = rng.uniform
    count, width, median = int(rng.integers(2, 5)), u(3.4, 3.8), u(1.0, 5.0)
    edges = [median / 2 + 0.6 + width * k for k in range(count + 1)]
    solid = Marking(0.0, u(0.15, 0.4), 6.0, 0.0, paint)
    broken = Marking(0.0, u(0.12, 0.3), *DASHES[rng.integers(len(DASHES))], paint)
    markings = []
    for k, edge in enumerate(edges):
        for sign in (1, -1):
            line = broken if 0 < k < count else solid
            markings.append(line.moved(sign * edge))
    return CrossSection(
        half_road=edges[-1] + u(0.8, 3.2),
        lanes=_lanes([edge + width / 2 for edge in edges[:-1]], keep),
        markings=tuple(markings),
        kerb=0.0,
        sidewalk=(0.0, 0.0),
        verge=(u(1, 6), u(1, 6)),
        rise=(u(-2, 5), u(-2, 5)),
        beyond=(GRASS, GRASS),
    )


def _country(rng: np.random.Generator, paint: Colour, keep: int) -> CrossSection:
    u = rng.uniform
    half = u(2.7, 4.0)
    edge = Marking(half - 0.3, u(0.1, 0.25), 1.0, 0.0, paint)
    dash, gap = DASHES[rng.integers(len(DASHES))] if u() < 0.7 else (1.0, 0.0)
    markings = (Marking(0.0, u(0.1, 0.2), dash, gap, paint), edge, edge.moved(-edge.offset))
    return CrossSection(
        half_road=half,
        lanes=_lanes([half / 2], keep),
        markings=markings if u() < 0.7 else (),
        kerb=0.0,
        sidewalk=(0.0, 0.0),
        verge=(u(1, 4), u(1, 4)),
        rise=(u(-1.5, 2), u(-1.5, 2)),
        beyond=(GRASS, GRASS),
    )


def _car_park(rng: np.random.Generator, paint: Colour, keep: int) -> CrossSection:
    u = rng.uniform
    half = u(9, 16)
    stalls = Marking(half - 5.2, 0.1, 1.0, 0.0, paint)
    return CrossSection(
        half_road=half,
        lanes=_lanes([1.7], keep),
        markings=(stalls, stalls.moved(-stalls.offset)),
        kerb=0.1,
        sidewalk=(u(0, 2), u(0, 2)),
        verge=(u(0, 4), u(0, 4)),
        rise=(0.0, 0.0),
        beyond=(PAVING, GRASS),
    )


def _street(rng: np.random.Generator, paint: Colour, keep: int, *, city: bool) -> CrossSection:
    u = rng.uniform
    parking = max((u() < 0.75) * u(1.9, 2.3), (u() < 0.75) * u(1.9, 2.3))
    count = int(rng.integers(1, 4)) if city else 1
    width = u(2.75, 3.5) if city else u(2.5, 3.2)
    markings: list[Marking] = []
    if city or u() < 0.35:
        dash, gap = (3.0, 6.0) if u() < 0.5 else (1.0, 0.0)
        markings.append(Marking(0.0, 0.12, dash, gap, paint))
        for k in range(1, count):
            markings += [Marking(sign * width * k, 0.12, 3.0, rng.choice([3.0, 6.0]), paint) for sign in (1, -1)]
        if u() < 0.4:
            markings += [Marking(sign * width * count, 0.12, 1.0, 0.0, paint) for sign in (1, -1)]
    sidewalk = (u(2, 6), u(2, 6)) if city else (u(1.2, 3.0), u(1.2, 3.0))
    verge = [(u() < 0.45) * u(0.5, 8 if city else 4) for _ in range(2)]
    beyond = [GRASS if u() < (0.3 if city else 0.75) else PAVING for _ in range(2)]
    crossed = u() < 0.5
    return CrossSection(
        junctions=((u(15, 90), u(3, 8) if city else u(2.5, 4.5)),) if crossed else (),
        half_road=count * width + parking,
        lanes=_lanes([width * (k + 0.5) for k in range(count)], keep),
        markings=tuple(markings),
        kerb=u(0.03, 0.16),
        sidewalk=sidewalk,
        verge=(verge[0], verge[1]),
        rise=(u(-0.3, 0.8), u(-0.3, 0.8)),
        beyond=(beyond[0], beyond[1]),
    )


def _city(rng: np.random.Generator, paint: Colour, keep: int) -> CrossSection:
    return _street(rng, paint, keep, city=True)


def _residential(rng: np.random.Generator, paint: Colour, keep: int) -> CrossSection:
    return _street(rng, paint, keep, city=False)


PLANS: dict[str, Plan] = {
    "residential": _residential,
    "city": _city,
    "highway": _highway,
    "country": _country,
    "car_park": _car_park,
}
# How dense the traffic is: its share of the scenes, and the shares of the kinds of street then.
TRAFFIC: dict[str, tuple[float, dict[str, float]]] = {
    "dense": (0.35, {"residential": 0.22, "city": 0.42, "highway": 0.26, "country": 0.06, "car_park": 0.04}),
    "empty": (0.33, {"residential": 0.2, "city": 0.16, "highway": 0.4, "country": 0.24, "car_park": 0.0}),
    "ordinary": (0.32, {"residential": 0.38, "city": 0.3, "highway": 0.1, "country": 0.08, "car_park": 0.14}),
}


def random_traffic(rng: np.random.Generator) -> str:
    """Returns how dense the traffic is, as often as its share says."""
    return str(rng.choice(list(TRAFFIC), p=[share for share, _ in TRAFFIC.values()]))


def random_kind(traffic: str, rng: np.random.Generator) -> str:
    """Returns a kind of street, as often as its share for that traffic says."""
    shares = TRAFFIC[traffic][1]
    return str(rng.choice(list(shares), p=list(shares.values())))


def random_section(kind: str, rng: np.random.Generator) -> CrossSection:
    """Returns a cross-section of a kind of street, with left-hand or right-hand traffic."""
    paint = (0.6, 0.6, 0.58) if rng.uniform() < 0.85 else (0.55, 0.38, 0.06)
    keep = 1 if rng.uniform() < 0.75 else -1
    return PLANS[kind](rng, paint, keep)
