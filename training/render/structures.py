"""What is built along, over and across the road: barriers, noise walls, bridges, gantries, tunnels, road works."""

from __future__ import annotations

import numpy as np

from training.render import buildings, furniture, machines
from training.render.mesh import Material, Sort, merge, named
from training.render.site import Site
from training.render.sweep import sweep, wall_along

START, END = -200.0, 420.0
STEEL = (0.42, 0.43, 0.44)
PLAIN = (9, 1, 0, 0)


def add_structures(site: Site, kind: str) -> None:
    """Adds all of it, as often as it is met on a kind of street."""
    rng, section = site.rng, site.section
    edge = section.half_road
    if kind == "highway":
        if rng.uniform() < 0.85:
            crash_barrier(site, 0.0)
        for sign in (1, -1):
            choice = rng.uniform()
            if choice < 0.55:
                crash_barrier(site, sign * (edge + 0.5))
            if choice < 0.25 or choice > 0.85:
                noise_wall(site, sign * (edge + 1.6))
        if rng.uniform() < 0.6:
            gantry = named(furniture.gantry(2 * edge + 3, rng), Sort.POLE)
            for s in rng.uniform(25, 260, rng.integers(1, 4)):
                site.put(gantry, s, 0.0, margin=None)
    elif kind == "country" and rng.uniform() < 0.4:
        crash_barrier(site, rng.choice([-1, 1]) * (edge + 0.5), (rng.uniform(-100, 20), rng.uniform(60, 300)))
    for _ in range(rng.choice(3, p=[0.3, 0.5, 0.2] if kind == "highway" else [0.85, 0.12, 0.03])):
        s = rng.uniform(20, 240)
        span = section.edge(0) + 3
        site.put(buildings.bridge(span, rng), s, 0.0, turn=rng.normal(0, 0.2), margin=None)
    if kind != "car_park" and not section.junctions and rng.uniform() < 0.05:
        underpass(site)
    if rng.uniform() < (0.05 if kind == "car_park" else 0.14):
        road_works(site)


def crash_barrier(site: Site, lateral: float, span: tuple[float, float] = (START, END)) -> None:
    """Puts a steel rail on posts or a concrete barrier along the road."""
    rng, path, section = site.rng, site.path, site.section
    if rng.uniform() < 0.45:
        grey = rng.uniform(0.22, 0.5) * np.ones(3)
        height = rng.uniform(0.8, 1.15)
        mesh = wall_along(path, section, span, lateral, (0.6, height), Material.CONCRETE, grey, taper=0.65)
        site.add_strip(mesh, span[0], span[1] - span[0], lateral, 0.3)
        return
    level = -0.02 * min(abs(lateral), section.half_road)
    shade = np.array(STEEL) * rng.uniform(0.5, 1.2)
    for side in (-1, 1) if lateral == 0 else (-np.sign(lateral),):
        face = lateral + side * 0.08
        wave = [
            (face - 0.02 * side, 0.45),
            (face + 0.05 * side, 0.5),
            (face, 0.6),
            (face + 0.05 * side, 0.7),
            (face - 0.02 * side, 0.76),
        ]
        rail = sweep(path, span, [(a, b + level) for a, b in wave], Material.PANEL, shade, PLAIN)
        site.add_strip(rail, span[0], span[1] - span[0], lateral, 0.15)
    post = buildings.post(0.72)
    pitch = rng.choice([2.0, 4.0])
    for s in np.arange(max(span[0], -90.0), min(span[1], 190.0), pitch):
        site.put(post, s, lateral, margin=None)


def noise_wall(site: Site, lateral: float) -> None:
    """Puts a high wall of concrete, wood or panels along the road."""
    rng = site.rng
    height = rng.uniform(2.0, 5.0)
    material = (Material.CONCRETE, Material.WOOD, Material.PANEL)[rng.integers(3)]
    colour = rng.uniform(0.12, 0.45) * rng.uniform(0.8, 1.2, 3)
    params = (rng.choice([0.5, 2.0, 4.0]), 1, 0, 0)
    span = (rng.uniform(START, -40), rng.uniform(80, END))
    mesh = wall_along(site.path, site.section, span, lateral, (0.25, height), material, colour, params)
    site.add_strip(mesh, span[0], span[1] - span[0], lateral, 0.2)


def underpass(site: Site) -> None:
    """Puts a tunnel or underpass over the road, with lamps under its ceiling."""
    rng, section, path = site.rng, site.section, site.path
    start = rng.uniform(-20, 90)
    span = (start, start + rng.choice([rng.uniform(12, 40), rng.uniform(60, 250)]))
    half, clear = section.half_road + max(*section.sidewalk, 0.6) + 0.3, rng.uniform(4.6, 6.0)
    grey = rng.uniform(0.2, 0.5) * np.ones(3)
    inside = [(half, -0.4), (half, clear), (-half, clear), (-half, -0.4)]
    outside = [(half + 0.8, -0.4), (half + 0.8, clear + 1.2), (-half - 0.8, clear + 1.2), (-half - 0.8, -0.4)]
    tiles = Material.PAVING if rng.uniform() < 0.3 else Material.CONCRETE
    site.parts.append(sweep(path, span, inside, tiles, grey))
    site.parts.append(sweep(path, span, outside, Material.CONCRETE, grey))
    for side in (half + 0.4, -half - 0.4):
        ends = []
        for s in span:
            size = (0.8, clear + 1.2)
            ends.append(wall_along(path, section, (s - 0.05, s + 0.05), side, size, Material.CONCRETE, grey))
        site.add_strip(merge(ends), span[0], span[1] - span[0], side, 0.4)
    for s in span:
        front = [(half, clear), (half, clear + 1.2), (-half, clear + 1.2), (-half, clear)]
        beam = sweep(path, (s - 0.05, s + 0.05), [*front, front[0]], Material.CONCRETE, grey)
        site.parts.append(beam)
    for lateral in (half * 0.4, -half * 0.4):
        lamps = [(lateral - 0.15, clear - 0.05), (lateral + 0.15, clear - 0.05)]
        site.parts.append(sweep(path, span, lamps, Material.LAMP, (0.9, 0.85, 0.7), (1.5, 0, 0, 0)))


def road_works(site: Site) -> None:
    """Closes the side of the road with cones or barriers, machines and heaps behind them."""
    rng, section = site.rng, site.section
    outer = max(section.lanes, key=lambda lane: abs(lane[0]))
    sign = float(np.sign(outer[0]))
    line = max(abs(outer[0]) - (1.5 if rng.uniform() < 0.4 else -1.3), 1.2)
    start = rng.uniform(0, 70)
    length = rng.uniform(15, 70)
    kind = rng.integers(3)
    things = (furniture.cone(rng), furniture.barrier(rng), furniture.barrier(rng))
    pitch = (rng.uniform(1.5, 5), 1.75, 1.75)[kind]
    for s in np.arange(start, start + length, pitch):
        taper = np.clip((s - start) / 12, 0, 1)
        lateral = sign * (section.half_road + (line - section.half_road) * taper)
        site.put(things[kind], s, lateral, turn=rng.normal(0, 0.04), tilted=True)
    for s in np.arange(start + 14, start + length - 4, rng.uniform(6, 14)):
        make, sort = (
            (machines.excavator, Sort.VEHICLE),
            (furniture.heap, Sort.OTHER),
            (furniture.crates, Sort.OTHER),
        )[rng.integers(3)]
        thing = named(make(rng), sort)
        site.put(thing, s, sign * (line + rng.uniform(1.5, 3.5)), turn=rng.uniform(0, 6.3))
    site.put(furniture.work_sign(rng), start - 3, sign * section.half_road, turn=0.0 if sign < 0 else np.pi)
