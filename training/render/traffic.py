"""Vehicles on a street: parked, driving, queued, crossing."""

from __future__ import annotations

import numpy as np

from training.render import vehicles
from training.render.mesh import Mesh
from training.render.site import Site


def park_along_kerb(site: Site, side: int, stock: list[Mesh]) -> None:
    """Parks vehicles along one kerb, in blocks of changing density."""
    rng, sign, section = site.rng, 1 - 2 * side, site.section
    across = rng.uniform() < 0.15
    on_kerb = rng.uniform(-0.3, 0.6) if rng.uniform() < 0.4 else -0.15
    driven = max(abs(offset) for offset, _ in section.lanes) + 1.1
    on_kerb = max(on_kerb, driven + 1.9 - section.half_road)
    s, share = -80.0, rng.uniform(0.2, 1.0)
    while s < 150:
        if rng.uniform() < 0.12:
            share = rng.choice([0.0, 0.5, 0.9, 0.98])
        mesh = stock[rng.integers(len(stock))]
        length = 2.5 if across else float(np.ptp(mesh.points[..., 0]))
        if rng.uniform() < share and not section.in_junction(s + length / 2, length / 2 + 3):
            lateral = section.half_road + (0.5 if across else on_kerb - 0.95) + rng.normal(0, 0.08)
            turn = rng.choice([0, np.pi]) + rng.normal(0, 0.025) + (np.pi / 2 if across else 0)
            tipped = 0.5 * section.kerb if 0.2 < on_kerb and lateral < section.half_road else 0.0
            site.put_vehicle(vehicles.repaint(mesh, rng), s + length / 2, sign * lateral, turn=turn, raised=tipped)
        s += length + rng.uniform(0.4, 2.2)


def add_traffic(site: Site, stock: list[Mesh], kind: str) -> None:
    """Puts vehicles into the lanes: flowing, or queued bumper to bumper."""
    rng = site.rng
    for lateral, direction in site.section.lanes:
        queue = rng.uniform() < (0.4 if kind in ("city", "highway") else 0.12)
        mean_gap = rng.uniform(2, 6) if queue else rng.uniform(10, 60)
        s = -90 + rng.uniform(0, mean_gap)
        while s < 170:
            mesh = stock[rng.integers(len(stock))]
            length = float(np.ptp(mesh.points[..., 0]))
            turn = (0 if direction > 0 else np.pi) + rng.normal(0, 0.02)
            site.put_vehicle(vehicles.repaint(mesh, rng), s + length / 2, lateral + rng.normal(0, 0.2), turn=turn)
            s += length + mean_gap * rng.uniform(0.4, 1.8)


def add_crossing_traffic(site: Site, stock: list[Mesh]) -> None:
    """Puts vehicles on the crossing roads."""
    rng = site.rng
    for centre, half in site.section.junctions:
        for _ in range(int(rng.integers(0, 4))):
            lateral = rng.uniform(-30, 30)
            direction = rng.choice([-1, 1])
            site.put_vehicle(
                stock[rng.integers(len(stock))],
                centre + direction * half * 0.45,
                lateral,
                turn=direction * np.pi / 2,
            )


def park_in_rows(site: Site, stock: list[Mesh]) -> None:
    """Fills the rows of stalls of a car park, two on each side of the lanes where there is room."""
    rng, half = site.rng, site.section.half_road
    for lateral in (half - 2.6, half - 8.4, 2.6 - half, 8.4 - half):
        if abs(lateral) <= 5.5:
            continue
        share = rng.uniform(0.3, 0.95)
        for s in np.arange(-40, 110, 2.6):
            if rng.uniform() < share:
                mesh = vehicles.repaint(stock[rng.integers(len(stock))], rng)
                offset = rng.normal(0, 0.15)
                turn = rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.03)
                site.put_vehicle(mesh, s, lateral + offset, turn=turn)
