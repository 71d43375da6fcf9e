"""Vehicles on a street: driving, queued, parked, crossing; none overlaps another."""

from __future__ import annotations

import numpy as np

from training.render import vehicles
from training.render.mesh import Mesh
from training.render.site import Site
from training.render.stock import pick

# The stretch of road with vehicles, and that on which cameras may stand (m).
START, END = -150.0, 340.0
VIEWED = (-25.0, 70.0)
HEAVY_SHARE = {"highway": 0.45, "city": 0.3, "country": 0.25, "residential": 0.15, "car_park": 0.08}
# Length of the gap in a queue that the camera's own vehicle takes.
OWN_LENGTH = 5.6


def _vehicle(site: Site, heavy: float) -> Mesh:
    """Returns a vehicle of the traffic in a paint of its own."""
    if site.stock.own_vehicles and site.rng.uniform() < 0.5:
        return pick(site.stock.own_vehicles, site.rng)
    if site.rng.uniform() < heavy:
        return pick(site.stock.heavy, site.rng)
    return vehicles.repaint(pick(site.stock.cars, site.rng), site.rng)


def _length(mesh: Mesh) -> float:
    """Returns the length of a vehicle."""
    return float(np.ptp(mesh.points[..., 0]))


def fill_lanes(site: Site, kind: str, density: str) -> tuple[tuple[float, int], ...]:
    """Puts vehicles into the lanes; returns the lanes in which the camera's vehicle may drive."""
    rng, lanes = site.rng, site.section.lanes
    heavy = HEAVY_SHARE[kind]
    if density == "empty":
        own = lanes[rng.integers(len(lanes))]
        clear = rng.uniform(60, 150)
        bounds = (VIEWED[0] - 12, VIEWED[1] + clear) if own[1] > 0 else (VIEWED[0] - clear, VIEWED[1] + 12)
        gap = rng.choice([30.0, 70.0, 200.0, 600.0])
        for lane in lanes:
            _flow(site, lane, gap, heavy, bounds if lane == own else None)
        return (own,)
    for lane in lanes:
        queue = rng.uniform() < (0.7 if density == "dense" else 0.15)
        if queue:
            _queue(site, lane, max(heavy, 0.35 if density == "dense" else 0.0))
        else:
            _flow(site, lane, rng.uniform(6, 18) if density == "dense" else rng.uniform(10, 60), heavy, None)
    return lanes


def _flow(
    site: Site, lane: tuple[float, int], gap: float, heavy: float, clear: tuple[float, float] | None
) -> None:
    """Lets vehicles drive along a lane with random gaps of a mean length (m), none of them within `clear`."""
    rng = site.rng
    lateral, direction = lane
    s = START + rng.uniform(0, gap)
    while s < END:
        mesh = _vehicle(site, heavy)
        length = _length(mesh)
        if clear is None or s + length < clear[0] or s > clear[1]:
            turn = (0 if direction > 0 else np.pi) + rng.normal(0, 0.012)
            offset = lateral + np.clip(rng.normal(0, 0.2), -0.35, 0.35)
            placed = site.put_vehicle(mesh, s + length / 2, offset, turn=turn)
            if placed and length < 5.2 and rng.uniform() < 0.04:
                rear = s + length / 2 - direction * length / 2
                site.put_vehicle(pick(site.stock.trailers, rng), rear, offset, turn=turn, margin=-0.1)
        s += length + gap * rng.uniform(0.4, 1.8)


def _queue(site: Site, lane: tuple[float, int], heavy: float) -> None:
    """Lines vehicles up in a lane, close to the next lane's now and then, with gaps for the camera's vehicle."""
    rng = site.rng
    lateral, direction = lane
    gap, shift, s = rng.uniform(1.0, 5.0), rng.normal(0, 0.2), START
    while s < END:
        turn = (0 if direction > 0 else np.pi) + rng.normal(0, 0.02)
        offset = lateral + np.clip(shift + rng.normal(0, 0.15), -0.5, 0.5)
        if VIEWED[0] < s < VIEWED[1] and rng.uniform() < 0.3:
            front, back = gap * rng.uniform(0.4, 1.4), rng.uniform(0.5, 2)
            before = back if direction > 0 else front
            site.stands.append((s + before + OWN_LENGTH / 2, float(offset), direction))
            s += OWN_LENGTH + front + back
            continue
        mesh = _vehicle(site, heavy)
        length = _length(mesh)
        if not site.section.in_junction(s + length / 2, length / 2) or rng.uniform() < 0.3:
            site.put_vehicle(mesh, s + length / 2, offset, turn=turn, margin=0.12)
        s += length + gap * rng.uniform(0.5, 1.6)


def park_along_kerb(site: Site, side: int) -> None:
    """Parks vehicles along one kerb, in blocks of changing density."""
    rng, sign, section = site.rng, 1 - 2 * side, site.section
    across = rng.uniform() < 0.15
    on_kerb = rng.uniform(-0.3, 0.6) if rng.uniform() < 0.4 else -0.15
    driven = max(abs(offset) for offset, _ in section.lanes) + 1.1
    on_kerb = max(on_kerb, driven + 1.9 - section.half_road)
    s, share = -90.0, rng.uniform(0.2, 1.0)
    while s < 220:
        if rng.uniform() < 0.12:
            share = rng.choice([0.0, 0.5, 0.9, 0.98])
        mesh = _vehicle(site, 0.04)
        length = 2.5 if across else _length(mesh)
        if rng.uniform() < share and not section.in_junction(s + length / 2, length / 2 + 3):
            lateral = section.half_road + (0.5 if across else on_kerb - 0.95) + rng.normal(0, 0.08)
            turn = rng.choice([0, np.pi]) + rng.normal(0, 0.025) + (np.pi / 2 if across else 0)
            tipped = 0.5 * section.kerb if 0.2 < on_kerb and lateral < section.half_road else 0.0
            site.put_vehicle(mesh, s + length / 2, sign * lateral, turn=turn, raised=tipped)
        s += length + rng.uniform(0.4, 2.2)


def add_crossing_traffic(site: Site) -> None:
    """Puts vehicles on the crossing roads: waiting, crossing, or turning where the way is free."""
    rng = site.rng
    for centre, half in site.section.junctions:
        for direction in (-1, 1):
            lateral = -75 + rng.uniform(0, 30)
            gap = rng.choice([3.0, 15.0, 40.0])
            while lateral < 75:
                mesh = _vehicle(site, 0.25)
                length = _length(mesh)
                turn = direction * np.pi / 2 + rng.normal(0, 0.03)
                if abs(lateral + length / 2) < site.section.half_road:
                    turn += rng.choice([0.0, 0.0, rng.uniform(-0.6, 0.6)])
                site.put_vehicle(
                    mesh, centre + direction * half * 0.5, lateral + length / 2, turn=turn, margin=0.5
                )
                lateral += length + gap * rng.uniform(0.5, 1.6)


def park_in_rows(site: Site) -> None:
    """Fills the rows of stalls of a car park, two on each side of the lanes where there is room."""
    rng, half = site.rng, site.section.half_road
    for lateral in (half - 2.6, half - 8.4, 2.6 - half, 8.4 - half):
        if abs(lateral) <= 5.5:
            continue
        share = rng.uniform(0.3, 0.95)
        for s in np.arange(-40, 140, 2.6):
            if rng.uniform() < share:
                turn = rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.03)
                site.put_vehicle(_vehicle(site, 0.02), s, lateral + rng.normal(0, 0.15), turn=turn, margin=0.12)
