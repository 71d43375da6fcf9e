"""What lines a street: buildings and gardens, trees, lamps, signs, people, small things."""

from __future__ import annotations

import numpy as np

from training.render import buildings, furniture, vegetation, vehicles
from training.render.mesh import Sort, named
from training.render.site import Site
from training.render.stock import pick


def _lots(site: Site, side: int, kind: str) -> None:
    """Puts buildings, and what divides their gardens from the street, along one side."""
    rng, section, sign = site.rng, site.section, 1 - 2 * side
    edge = section.edge(side)
    setback = rng.uniform(0.5, 8) if kind == "residential" else rng.uniform(0, 7) * (rng.uniform() < 0.8)
    density = rng.uniform(0.6, 1.0)
    divider = rng.uniform()
    s = -130 + rng.uniform(0, 8)
    while s < 330:
        make = buildings.house if kind == "residential" or rng.uniform() < 0.1 else buildings.block
        mesh, width, _ = make(rng)
        centre = s + width / 2
        gap = rng.uniform(1.5, 9) if kind == "residential" else rng.uniform(0, 4) * (rng.uniform() < 0.4)
        crossed = section.in_junction(centre, width / 2 + 2)
        if not crossed and rng.uniform() < density:
            front = sign * (edge + setback + rng.uniform(0, 1.5))
            turn = 0.0 if sign > 0 else np.pi
            house = named(mesh, Sort.BUILDING)
            built = site.put(house, centre, front, turn=turn, margin=-0.6) is not None
            if built and site.stock.fronts and rng.uniform() < 0.2:
                panel, away = pick(site.stock.fronts, rng), front - sign * 0.06
                site.put(panel, centre, away, turn=turn, scale=min(1.0, width / 13), margin=None)
        length = width + gap
        if setback > 1.0 and not section.in_junction(s + length / 2, length / 2):
            _divider(
                site, divider, s + length / 2, sign * (edge + 0.3), min(length, rng.uniform(0.5, 1.0) * length)
            )
        if setback > 2.0 and kind == "residential":
            for _ in range(int(rng.integers(0, 4))):
                things = site.stock.trees if rng.uniform() < 0.4 else site.stock.bushes
                spot = (s + rng.uniform(0, length), sign * (edge + rng.uniform(0.8, setback)))
                site.put(pick(things, rng), *spot, scale=0.6, turn=rng.uniform(0, 6.3))
            if setback > 5 and rng.uniform() < 0.4:
                turn = np.pi / 2 * rng.choice([-1, 1])
                car = vehicles.repaint(pick(site.stock.cars, rng), rng)
                site.put_vehicle(car, s + length - 1.5, sign * (edge + 2.8), turn=turn)
        s += length


def _divider(site: Site, choice: float, s: float, lateral: float, length: float) -> None:
    """Puts a hedge, wall or fence along the street."""
    if choice < 0.3:
        mesh = named(vegetation.hedge(length, site.rng.uniform(0.6, 2.2), site.rng), Sort.VEGETATION)
    elif choice < 0.55:
        mesh = buildings.wall(length, site.rng)
    elif choice < 0.8:
        mesh = buildings.fence(length, site.rng)
    else:
        return
    site.put(mesh, s, lateral, tilted=True, margin=-0.3)


def _greenery(site: Site, side: int, first: float, depth: float, spacing: float) -> None:
    """Scatters trees and bushes in a strip beside the street."""
    rng, sign = site.rng, 1 - 2 * side
    sort = [pick(site.stock.trees, rng) for _ in range(5)] + [pick(site.stock.bushes, rng) for _ in range(3)]
    s = -150 + rng.uniform(0, spacing)
    while s < 330:
        if not site.section.in_junction(s, 3):
            mesh, lateral = sort[rng.integers(len(sort))], sign * (first + rng.uniform(0, depth))
            site.put(mesh, s, lateral, turn=rng.uniform(0, 6.3), scale=rng.uniform(0.7, 1.25))
        s += spacing * rng.uniform(0.3, 1.7) * (1.0 if -40 < s < 140 else 2.5)


def _avenue(site: Site, side: int) -> None:
    """Puts a row of similar trees at the kerb."""
    rng, sign = site.rng, 1 - 2 * side
    mesh, spacing = pick(site.stock.street_trees, rng), rng.uniform(7, 18)
    lateral = site.section.half_road + rng.uniform(0.7, max(0.8, site.section.edge(side) - site.section.half_road))
    for s in np.arange(-120, 320, spacing):
        if not site.section.in_junction(s, 3) and rng.uniform() < 0.85:
            turn, scale = rng.uniform(0, 6.3), rng.uniform(0.9, 1.15)
            site.put(mesh, s + rng.normal(0, 0.5), sign * lateral, turn=turn, scale=scale)


def fill_sides(site: Site, kind: str) -> None:
    """Fills both sides of the street."""
    rng, section = site.rng, site.section
    for side in (0, 1):
        edge = section.edge(side)
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
            if rng.uniform() < 0.25:
                _lots(site, side, "residential")


def fill_background(site: Site, kind: str) -> None:
    """Closes the view between and behind what lines the street, and where it ends: woods, blocks, towers."""
    rng, section, woods = site.rng, site.section, site.stock.woods
    for side in (0, 1):
        if rng.uniform() > 0.65:
            continue
        sign, away = 1 - 2 * side, rng.uniform(20, 70)
        wood = pick(woods, rng)
        for s in np.arange(-150, 420, 24.0):
            if not section.in_junction(s, 14) and rng.uniform() < 0.75:
                lateral = sign * (section.edge(side) + away + rng.uniform(0, 8))
                turn, scale = 0.0 if sign > 0 else np.pi, rng.uniform(0.8, 1.2)
                site.put(wood, s, lateral, turn=turn, scale=scale, margin=None)
    towns = kind in ("city", "residential", "car_park") or rng.uniform() < 0.3
    for _ in range(int(rng.integers(4, 16)) if towns else 0):
        made, _, _ = buildings.block(rng) if rng.uniform() < 0.6 else buildings.house(rng)
        mesh = named(made, Sort.BUILDING)
        lateral = rng.choice([-1, 1]) * rng.uniform(45, 130)
        scale = rng.uniform(1.0, 1.6)
        site.put(mesh, rng.uniform(-120, 420), lateral, turn=rng.uniform(0, 6.3), scale=scale, margin=2.0)
    if rng.uniform() < 0.4:
        far = rng.uniform(320, 440)
        for lateral in np.arange(-90, 91, 24.0):
            wooded = kind not in ("city", "residential") or rng.uniform() < 0.5
            mesh = pick(woods, rng) if wooded else named(buildings.block(rng)[0], Sort.BUILDING)
            site.put(mesh, far + rng.uniform(-15, 15), lateral, turn=-np.pi / 2, margin=None)


def add_street_life(site: Site, kind: str) -> None:
    """Puts lamps, signs, signals, people, two-wheelers and small things."""
    rng, section = site.rng, site.section
    if kind != "country" or rng.uniform() < 0.3:
        lamp, spacing = named(furniture.street_lamp(rng), Sort.POLE), rng.uniform(16, 40)
        for side in rng.permutation(2)[: rng.integers(1, 3)]:
            sign = 1 - 2 * side
            for s in np.arange(-120, 320, spacing):
                site.put(lamp, s, sign * (section.half_road + 0.5), turn=0.0 if sign > 0 else np.pi)
    for _ in range(int(rng.integers(2, 14))):
        side = 1 - 2 * int(rng.integers(2))
        turn = rng.choice([0, np.pi, np.pi / 2]) + rng.normal(0, 0.1)
        spot = (rng.uniform(-40, 200), side * (section.half_road + rng.uniform(0.4, 1.0)))
        site.put(pick(site.stock.signs, rng), *spot, turn=turn)
    for _ in range(int(rng.integers(1, 6)) if site.stock.billboards else 0):
        side = int(rng.integers(2))
        spot = (rng.uniform(-30, 150), (1 - 2 * side) * (section.edge(side) + rng.uniform(0.2, 3)))
        turn = rng.choice([0.0, np.pi, np.pi / 2, -np.pi / 2]) + rng.normal(0, 0.1)
        site.put(pick(site.stock.billboards, rng), *spot, turn=turn)
    for centre, half in section.junctions:
        if rng.uniform() < 0.6:
            for sign in (1, -1):
                light, turn = named(furniture.traffic_light(rng), Sort.POLE), 0.0 if sign > 0 else np.pi
                site.put(light, centre - sign * (half + 1), -sign * (section.half_road + 0.5), turn=turn)
    if kind == "highway":
        return
    _add_people(site, kind)
    for _ in range(int(rng.integers(0, 16))):
        side = int(rng.integers(2))
        lateral = section.half_road + rng.uniform(0.4, max(0.6, section.edge(side) - section.half_road))
        turn = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.1)
        site.put(pick(site.stock.small_things, rng), rng.uniform(-40, 140), (1 - 2 * side) * lateral, turn=turn)


def _add_people(site: Site, kind: str) -> None:
    """Puts people on the sidewalks and crossing, some in groups, and cyclists along the kerb and in the lanes."""
    rng, section, stock = site.rng, site.section, site.stock
    walkers = int(rng.integers(0, 10) if kind in ("residential", "country") else rng.integers(0, 40))
    while walkers > 0:
        side = int(rng.integers(2))
        lateral = section.half_road + rng.uniform(0.2, max(0.5, section.sidewalk[side]))
        s = rng.uniform(-40, 110)
        if rng.uniform() < 0.2:
            lateral = rng.uniform(0, section.half_road)
            crossings = [c + e * (h + 2.5) for c, h in section.junctions for e in (-1, 1)]
            s = rng.choice(crossings) + rng.uniform(-1, 1) if crossings and rng.uniform() < 0.7 else s
        for _ in range(int(rng.integers(1, 5)) if rng.uniform() < 0.3 else 1):
            spot = (s + rng.normal(0, 0.6), (1 - 2 * side) * lateral + rng.normal(0, 0.3))
            site.put(pick(stock.people, rng), *spot, turn=rng.uniform(0, 6.3), scale=rng.uniform(0.93, 1.05))
            walkers -= 1
    for _ in range(int(rng.integers(0, 8))):
        ridden, side = rng.uniform() < 0.65, rng.choice([-1, 1])
        away = -rng.uniform(0.4, 1.5) if ridden else rng.uniform(0.4, 1.2)
        turn = rng.choice([0, np.pi]) if ridden else rng.uniform(0, 6.3)
        mesh = pick(stock.riders if ridden else stock.cycles, rng)
        site.put(mesh, rng.uniform(-40, 110), side * (section.half_road + away), turn=turn, tilted=True)
