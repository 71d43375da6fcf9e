"""One street scene: a plan drawn by chance, then everything that stands on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.render import structures, traffic
from training.render.lighting import Lighting, make_lighting
from training.render.mesh import Array, Mesh, Sort, merge, named
from training.render.plans import random_kind, random_section, random_traffic
from training.render.road import CrossSection, RoadPath, far_land, ground_mesh, make_path
from training.render.road_paint import add_road_paint
from training.render.roadside import add_street_life, fill_background, fill_sides
from training.render.site import Site
from training.render.stock import NO_FOLDERS, SCENES_A_STOCK, Folders, make_stock


@dataclass(frozen=True)
class StreetScene:
    """Geometry, road and light of one scene.

    Attributes:
        kind: of street.
        mesh: everything, in world coordinates: x along the road at its start, z up, metres.
        path, section: the road.
        lighting: the scene's light.
        traffic: dense, ordinary, or empty (nothing in the camera's lane for 60 to 150 m).
        vehicles: (M, 5) footprints of the vehicles: x, y, heading, half length, half width.
        solids: (N, 5) footprints of all that stands on the ground, vehicles among it.
        lanes: (offset, direction) of the lanes in which the camera's vehicle may drive.
        stands: s, lateral and direction of gaps between other vehicles where it stands in a queue.
    """

    kind: str
    mesh: Mesh
    path: RoadPath
    section: CrossSection
    lighting: Lighting
    traffic: str
    vehicles: Array
    solids: Array
    lanes: tuple[tuple[float, int], ...]
    stands: tuple[tuple[float, float, int], ...]


def make_scene(
    seed: int,
    kind: str | None = None,
    traffic_kind: str | None = None,
    *,
    with_traffic: bool = True,
    folders: Folders = NO_FOLDERS,
) -> StreetScene:
    """Returns the scene of a seed; the kinds of street and of traffic are drawn too unless given.

    Args:
        with_traffic: put vehicles into the lanes; without it they are free for a drive.
        folders: the user's own meshes and pictures.
    """
    rng = np.random.default_rng(seed)
    density = traffic_kind or random_traffic(rng)
    kind = kind or random_kind(density, rng)
    winding = rng.choice([0.0, 0.12, 0.4, 0.9], p=[0.45, 0.25, 0.2, 0.1])
    path = make_path(rng, winding=0.0 if kind == "car_park" else winding)
    section = random_section(kind, rng)
    site = Site(rng, path, section, make_stock(seed // SCENES_A_STOCK, folders))
    site.parts += [ground_mesh(path, section, rng), far_land(path, rng)]
    add_road_paint(site)
    site.parts = [named(part, Sort.GROUND) for part in site.parts]
    structures.add_structures(site, kind)
    lanes = section.lanes
    if with_traffic:
        lanes = traffic.fill_lanes(site, kind, density)
        traffic.add_crossing_traffic(site)
    if kind in ("residential", "city"):
        for side in (0, 1):
            if rng.uniform() < 0.8:
                traffic.park_along_kerb(site, side)
    if kind == "car_park":
        traffic.park_in_rows(site)
    fill_sides(site, kind)
    add_street_life(site, kind)
    lighting = make_lighting(rng)
    fill_background(site, kind)
    vehicles = np.array(site.vehicles, np.float32).reshape(-1, 5)
    return StreetScene(
        kind,
        merge(site.parts),
        path,
        section,
        lighting,
        density,
        vehicles,
        site.solids.rects.copy(),
        lanes,
        tuple(site.stands),
    )
