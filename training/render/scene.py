"""One street scene: a plan drawn by chance, then everything that stands on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.render import buildings, furniture, traffic, vehicles
from training.render.lighting import Lighting, make_lighting
from training.render.mesh import Array, Mesh, merge, place
from training.render.plans import random_kind, random_section
from training.render.road import CrossSection, RoadPath, far_land, ground_mesh, make_path
from training.render.roadside import add_street_life, fill_background, fill_sides
from training.render.site import Site


@dataclass(frozen=True)
class StreetScene:
    """Geometry, road and light of one scene.

    Attributes:
        vehicle_positions: (M, 3) x, y of vehicle centres and half their length, to keep cameras out of them.
    """

    kind: str
    mesh: Mesh
    path: RoadPath
    section: CrossSection
    lighting: Lighting
    vehicle_positions: Array


def make_scene(seed: int, kind: str | None = None, *, with_traffic: bool = True) -> StreetScene:
    """Returns the scene of a seed; the kind of street is drawn too unless given.

    Args:
        with_traffic: put vehicles into the lanes; without it they are free for a drive.
    """
    rng = np.random.default_rng(seed)
    kind = kind or random_kind(rng)
    winding = rng.choice([0.0, 0.12, 0.4, 0.9], p=[0.45, 0.25, 0.2, 0.1])
    path = make_path(rng, winding=0.0 if kind == "car_park" else winding)
    section = random_section(kind, rng)
    site = Site(rng, path, section)
    site.parts += [ground_mesh(path, section, rng), far_land(path, rng)]
    stock = [vehicles.parked_vehicle(rng) for _ in range(10)]
    fill_sides(site, kind)
    if kind in ("residential", "city"):
        for side in (0, 1):
            if rng.uniform() < 0.8:
                traffic.park_along_kerb(site, side, stock)
    if kind == "car_park":
        traffic.park_in_rows(site, stock)
    heavy = {"highway": 0.75, "city": 0.45}.get(kind, 0.15)
    moving = stock[:5] + [vehicles.driving_vehicle(rng, heavy) for _ in range(5)]
    if with_traffic:
        traffic.add_traffic(site, moving, kind)
        traffic.add_crossing_traffic(site, stock)
    add_street_life(site, kind)
    _add_structures(site, kind)
    lighting = make_lighting(rng)
    fill_background(site, kind)
    positions = np.array(site.vehicles or [(1e6, 0, 0)], np.float32)
    return StreetScene(kind, merge(site.parts), path, section, lighting, positions)


def _add_structures(site: Site, kind: str) -> None:
    """Adds what spans or divides the road: the median's barrier, gantries, bridges."""
    rng, section = site.rng, site.section
    if kind == "highway":
        inner = min(abs(offset) for offset, _ in section.lanes) - 1.9
        if rng.uniform() < 0.7:
            rail = buildings.guard_rail(12.0)
            for s in np.arange(-100, 200, 12.0):
                site.parts.append(place(rail, *site.pose(s, rng.uniform(-0.02, 0.02) * inner)))
        if rng.uniform() < 0.4:
            site.put(furniture.gantry(2 * section.half_road + 3, rng), rng.uniform(40, 130), 0.0)
    if rng.uniform() < (0.35 if kind == "highway" else 0.08):
        bridge = buildings.bridge(section.edge(0) + 3, rng)
        site.put(bridge, rng.uniform(25, 140), 0.0, turn=rng.normal(0, 0.25))
