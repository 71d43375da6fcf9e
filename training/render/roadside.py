"""What lines a street: buildings and gardens, trees, lamps, signs, people, small things."""

from __future__ import annotations

import numpy as np

from training.render import buildings, furniture, vegetation, vehicles
from training.render.mesh import place
from training.render.people import person
from training.render.site import Site


def _lots(site: Site, side: int, kind: str) -> None:
    """Puts buildings, and what divides their gardens from the street, along one side."""
    rng, section, sign = site.rng, site.section, 1 - 2 * side
    edge = section.edge(side)
    setback = rng.uniform(0.5, 8) if kind == "residential" else rng.uniform(0, 7) * (rng.uniform() < 0.8)
    density = rng.uniform(0.6, 1.0)
    divider = rng.uniform()
    s = -120 + rng.uniform(0, 8)
    while s < 230:
        make = buildings.house if kind == "residential" or rng.uniform() < 0.1 else buildings.block
        mesh, width, _ = make(rng)
        centre = s + width / 2
        gap = rng.uniform(1.5, 9) if kind == "residential" else rng.uniform(0, 4) * (rng.uniform() < 0.4)
        crossed = section.in_junction(centre, width / 2 + 2)
        if not crossed and rng.uniform() < density:
            site.put(mesh, centre, sign * (edge + setback + rng.uniform(0, 1.5)), turn=0.0 if sign > 0 else np.pi)
        length = width + gap
        if setback > 1.0 and not section.in_junction(s + length / 2, length / 2):
            _divider(
                site, divider, s + length / 2, sign * (edge + 0.3), min(length, rng.uniform(0.5, 1.0) * length)
            )
        if setback > 2.0 and kind == "residential":
            for _ in range(int(rng.integers(0, 4))):
                make_plant = rng.choice([vegetation.bush, vegetation.bush, vegetation.tree, vegetation.conifer])
                site.put(
                    make_plant(rng),
                    s + rng.uniform(0, length),
                    sign * (edge + rng.uniform(0.8, setback)),
                    scale=0.6,
                    turn=rng.uniform(0, 6.3),
                )
            if setback > 5 and rng.uniform() < 0.4:
                site.put_vehicle(
                    vehicles.parked_vehicle(rng),
                    s + length - 1.5,
                    sign * (edge + 2.8),
                    turn=np.pi / 2 * rng.choice([-1, 1]),
                )
        s += length


def _divider(site: Site, choice: float, s: float, lateral: float, length: float) -> None:
    """Puts a hedge, wall or fence along the street."""
    if choice < 0.3:
        mesh = vegetation.hedge(length, site.rng.uniform(0.6, 2.2), site.rng)
    elif choice < 0.55:
        mesh = buildings.wall(length, site.rng)
    elif choice < 0.8:
        mesh = buildings.fence(length, site.rng)
    else:
        return
    site.put(mesh, s, lateral)


def _greenery(site: Site, side: int, first: float, depth: float, spacing: float) -> None:
    """Scatters trees and bushes in a strip beside the street."""
    rng, sign = site.rng, 1 - 2 * side
    stock = [vegetation.tree(rng) for _ in range(4)] + [
        vegetation.conifer(rng),
        vegetation.bush(rng),
        vegetation.bush(rng),
    ]
    s = -110 + rng.uniform(0, spacing)
    while s < 210:
        if not site.section.in_junction(s, 3):
            mesh = stock[rng.integers(len(stock))]
            site.put(
                mesh,
                s,
                sign * (first + rng.uniform(0, depth)),
                turn=rng.uniform(0, 6.3),
                scale=rng.uniform(0.7, 1.25),
            )
        s += spacing * rng.uniform(0.3, 1.7)


def _avenue(site: Site, side: int) -> None:
    """Puts a row of similar trees at the kerb."""
    rng, sign = site.rng, 1 - 2 * side
    mesh, spacing = vegetation.tree(rng), rng.uniform(7, 18)
    lateral = site.section.half_road + rng.uniform(0.6, max(0.7, site.section.edge(side) - site.section.half_road))
    for s in np.arange(-90, 190, spacing):
        if not site.section.in_junction(s, 3) and rng.uniform() < 0.85:
            site.put(
                mesh,
                s + rng.normal(0, 0.5),
                sign * lateral,
                turn=rng.uniform(0, 6.3),
                scale=rng.uniform(0.85, 1.15),
            )


def fill_sides(site: Site, kind: str) -> None:
    """Fills both sides of the street."""
    rng, section = site.rng, site.section
    for side in (0, 1):
        edge, sign = section.edge(side), 1 - 2 * side
        if kind in ("residential", "city", "car_park"):
            built = rng.uniform() < (0.9 if kind == "residential" else 0.8)
            if built:
                _lots(site, side, kind)
            if not built or rng.uniform() < 0.3:
                _greenery(site, side, edge + (0.5 if not built else 12.0), 12.0, rng.uniform(2.0, 7))
            if rng.uniform() < 0.45:
                _avenue(site, side)
        else:
            _greenery(site, side, edge + rng.uniform(1, 6), rng.uniform(3, 20), rng.uniform(1.8, 9))
            if kind == "highway" and rng.uniform() < 0.65:
                site.parts += [
                    place(buildings.guard_rail(12.0), *site.pose(s, sign * (section.half_road + 0.5)))
                    for s in np.arange(-100, 200, 12.0)
                ]
            if rng.uniform() < 0.25:
                _lots(site, side, "residential")


def fill_background(site: Site, kind: str) -> None:
    """Closes the view between and behind what lines the street: strips of wood, and blocks where it ends."""
    rng, section = site.rng, site.section
    for side in (0, 1):
        if rng.uniform() > 0.65:
            continue
        sign, away = 1 - 2 * side, rng.uniform(20, 60)
        wood = vegetation.wood(24.0, rng)
        for s in np.arange(-100, 260, 24.0):
            if not section.in_junction(s, 14) and rng.uniform() < 0.85:
                lateral = sign * (section.edge(side) + away + rng.uniform(0, 8))
                site.put(wood, s, lateral, turn=0.0 if sign > 0 else np.pi, scale=rng.uniform(0.8, 1.2))
    if rng.uniform() < 0.5:
        for lateral in np.arange(-60, 61, 24.0):
            wooded = kind not in ("city", "residential") or rng.uniform() < 0.5
            mesh = vegetation.wood(24.0, rng) if wooded else buildings.block(rng)[0]
            site.put(mesh, rng.uniform(170, 250), lateral, turn=-np.pi / 2)


def add_street_life(site: Site, kind: str) -> None:
    """Puts lamps, signs, signals, people, two-wheelers and small things."""
    rng, section = site.rng, site.section
    lamp, spacing = furniture.street_lamp(rng), rng.uniform(16, 40)
    for side in rng.permutation(2)[: rng.integers(1, 3)]:
        sign = 1 - 2 * side
        for s in np.arange(-90, 190, spacing):
            site.put(lamp, s, sign * (section.half_road + 0.5), turn=0.0 if sign > 0 else np.pi)
    for _ in range(int(rng.integers(2, 12))):
        side = 1 - 2 * int(rng.integers(2))
        site.put(
            furniture.sign(rng),
            rng.uniform(-40, 120),
            side * (section.half_road + rng.uniform(0.4, 1.0)),
            turn=rng.choice([0, np.pi, np.pi / 2]) + rng.normal(0, 0.1),
        )
    for centre, half in section.junctions:
        if rng.uniform() < 0.5:
            for sign in (1, -1):
                site.put(
                    furniture.traffic_light(rng),
                    centre - sign * (half + 1),
                    -sign * (section.half_road + 0.5),
                    turn=0.0 if sign > 0 else np.pi,
                )
    if kind == "highway":
        return
    walkers = int(rng.integers(0, 8) if kind in ("residential", "country") else rng.integers(0, 30))
    for _ in range(walkers):
        side = int(rng.integers(2))
        lateral = section.half_road + rng.uniform(0.3, max(0.5, section.sidewalk[side]))
        if rng.uniform() < 0.15:
            lateral = rng.uniform(0, section.half_road)
        site.put(person(rng), rng.uniform(-40, 90), (1 - 2 * side) * lateral, turn=rng.uniform(0, 6.3))
    for _ in range(int(rng.integers(0, 6))):
        ridden = rng.uniform() < 0.6
        lateral = (
            (section.half_road - rng.uniform(0.4, 1.2)) if ridden else section.half_road + rng.uniform(0.4, 1.2)
        )
        turn = rng.choice([0, np.pi]) if ridden else rng.uniform(0, 6.3)
        site.put(
            vehicles.two_wheeler(rng, ridden=ridden),
            rng.uniform(-40, 90),
            rng.choice([-1, 1]) * lateral,
            turn=turn,
        )
    for _ in range(int(rng.integers(0, 14))):
        side = int(rng.integers(2))
        lateral = section.half_road + rng.uniform(0.4, max(0.6, section.edge(side) - section.half_road))
        site.put(
            furniture.small_thing(rng),
            rng.uniform(-40, 100),
            (1 - 2 * side) * lateral,
            turn=rng.choice([0, np.pi / 2]) + rng.normal(0, 0.1),
        )
