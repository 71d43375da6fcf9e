"""One street scene: a plan drawn by chance, then everything that stands on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from training.render import buildings, furniture, vegetation, vehicles
from training.render.lighting import Lighting, make_lighting
from training.render.mesh import Array, Material, Mesh, merge, place
from training.render.people import person
from training.render.road import CrossSection, Marking, RoadPath, far_land, ground_mesh, make_path

KINDS = {"residential": 0.4, "city": 0.33, "highway": 0.13, "country": 0.06, "car_park": 0.08}


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


@dataclass
class _Builder:
    """What is being put together."""

    rng: np.random.Generator
    path: RoadPath
    section: CrossSection
    parts: list[Mesh] = field(default_factory=list)
    vehicles: list[tuple[float, float, float]] = field(default_factory=list)

    def put(
        self, mesh: Mesh, s: float, lateral: float, *, turn: float = 0.0, raised: float = 0.0, scale: float = 1.0
    ) -> None:
        """Places a mesh on the ground at road coordinates, turned from the road's direction."""
        ground, heading = self.path.at(s, lateral)
        ground[2] += raised + self.height(lateral)
        self.parts.append(place(mesh, ground, heading + turn, scale))

    def height(self, lateral: float) -> float:
        """Returns how far the ground lies above the centre line."""
        side = 0 if lateral > 0 else 1
        section, reach = self.section, abs(lateral)
        drop = -0.02 * min(reach, section.half_road)
        if reach < section.half_road:
            return drop
        beyond = np.clip((reach - section.edge(side)) / 12, 0, 1)
        return drop + section.kerb + float(section.rise[side] * beyond)

    def put_vehicle(self, mesh: Mesh, s: float, lateral: float, *, turn: float = 0.0, raised: float = 0.0) -> None:
        """Places a vehicle and remembers where it is."""
        self.put(mesh, s, lateral, turn=turn, raised=raised)
        ground, _ = self.path.at(s, lateral)
        self.vehicles.append((float(ground[0]), float(ground[1]), float(np.ptp(mesh.points[..., 0]) / 2)))


def _section(kind: str, rng: np.random.Generator) -> CrossSection:
    """Returns a random cross-section of a kind of street."""
    u = rng.uniform
    grass, paving = Material.GRASS, Material.PAVING
    white = (0.6, 0.6, 0.58) if u() < 0.85 else (0.55, 0.38, 0.06)
    right_hand = 1 if u() < 0.75 else -1
    if kind == "highway":
        lanes_each, lane, median = int(rng.integers(2, 5)), u(3.4, 3.8), u(1.0, 5.0)
        offsets = [median / 2 + 0.6 + lane * (k + 0.5) for k in range(lanes_each)]
        lanes = tuple((sign * o, -sign * right_hand) for o in offsets for sign in (1, -1))
        edges = [median / 2 + 0.6 + lane * k for k in range(lanes_each + 1)]
        markings = tuple(
            Marking(sign * e, 0.15 if 0 < k < lanes_each else 0.2, 6.0, 9.0 if 0 < k < lanes_each else 0.0, white)
            for k, e in enumerate(edges)
            for sign in (1, -1)
        )
        shoulder = u(0.8, 3.2)
        return CrossSection(
            edges[-1] + shoulder,
            lanes,
            markings,
            0.0,
            (0, 0),
            (u(1, 6), u(1, 6)),
            (u(-2, 5), u(-2, 5)),
            (grass, grass),
        )
    if kind == "country":
        half = u(2.7, 4.0)
        lanes = ((half / 2, -right_hand), (-half / 2, right_hand))
        markings = (
            Marking(0, 0.12, 4.0, 8.0, white),
            Marking(half - 0.3, 0.12, 1, 0, white),
            Marking(0.3 - half, 0.12, 1, 0, white),
        )
        return CrossSection(
            half,
            lanes,
            markings if u() < 0.7 else (),
            0.0,
            (0, 0),
            (u(1, 4), u(1, 4)),
            (u(-1.5, 2), u(-1.5, 2)),
            (grass, grass),
        )
    if kind == "car_park":
        half = u(9, 16)
        stalls = tuple(Marking(sign * (half - 5.2), 0.1, 1, 0, white) for sign in (1, -1))
        return CrossSection(
            half,
            ((1.7, -right_hand), (-1.7, right_hand)),
            stalls,
            0.1,
            (u(0, 2), u(0, 2)),
            (u(0, 4), u(0, 4)),
            (0.0, 0.0),
            (paving, grass),
        )
    parking = (u() < 0.75) * u(1.9, 2.3), (u() < 0.75) * u(1.9, 2.3)
    each = 1 if kind == "residential" else int(rng.integers(1, 4))
    lane = u(2.5, 3.2) if kind == "residential" else u(2.9, 3.5)
    half = each * lane + max(parking)
    offsets = [lane * (k + 0.5) for k in range(each)]
    lanes = tuple((sign * o, -sign * right_hand) for o in offsets for sign in (1, -1))
    markings_list = []
    if kind == "city" or u() < 0.35:
        markings_list.append(Marking(0, 0.12, *((3.0, 6.0) if u() < 0.5 else (1.0, 0.0)), white))
        markings_list += [
            Marking(sign * lane * k, 0.12, 3.0, rng.choice([3.0, 6.0]), white)
            for k in range(1, each)
            for sign in (1, -1)
        ]
        if u() < 0.4:
            markings_list += [Marking(sign * lane * each, 0.12, 1, 0, white) for sign in (1, -1)]
    walk = (u(1.2, 3.0), u(1.2, 3.0)) if kind == "residential" else (u(2, 6), u(2, 6))
    verge = tuple((u() < 0.45) * u(0.5, 4 if kind == "residential" else 8) for _ in range(2))
    beyond = tuple(grass if u() < (0.75 if kind == "residential" else 0.3) else paving for _ in range(2))
    junctions = ()
    if u() < 0.5:
        junctions = ((u(15, 90), u(2.5, 4.5) if kind == "residential" else u(3, 8)),)
    return CrossSection(
        half,
        lanes,
        tuple(markings_list),
        u(0.03, 0.16),
        walk,
        (verge[0], verge[1]),
        (u(-0.3, 0.8), u(-0.3, 0.8)),
        (beyond[0], beyond[1]),
        junctions,
    )


def _lots(b: _Builder, side: int, kind: str) -> None:
    """Puts buildings, and what divides their gardens from the street, along one side."""
    rng, section, sign = b.rng, b.section, 1 - 2 * side
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
            b.put(mesh, centre, sign * (edge + setback + rng.uniform(0, 1.5)), turn=0.0 if sign > 0 else np.pi)
        length = width + gap
        if setback > 1.0 and not section.in_junction(s + length / 2, length / 2):
            _divider(b, divider, s + length / 2, sign * (edge + 0.3), min(length, rng.uniform(0.5, 1.0) * length))
        if setback > 2.0 and kind == "residential":
            for _ in range(int(rng.integers(0, 4))):
                make_plant = rng.choice([vegetation.bush, vegetation.bush, vegetation.tree, vegetation.conifer])
                b.put(
                    make_plant(rng),
                    s + rng.uniform(0, length),
                    sign * (edge + rng.uniform(0.8, setback)),
                    scale=0.6,
                    turn=rng.uniform(0, 6.3),
                )
            if setback > 5 and rng.uniform() < 0.4:
                b.put_vehicle(
                    vehicles.parked_vehicle(rng),
                    s + length - 1.5,
                    sign * (edge + 2.8),
                    turn=np.pi / 2 * rng.choice([-1, 1]),
                )
        s += length


def _divider(b: _Builder, choice: float, s: float, lateral: float, length: float) -> None:
    """Puts a hedge, wall or fence along the street."""
    if choice < 0.3:
        mesh = vegetation.hedge(length, b.rng.uniform(0.6, 2.2), b.rng)
    elif choice < 0.55:
        mesh = buildings.wall(length, b.rng)
    elif choice < 0.8:
        mesh = buildings.fence(length, b.rng)
    else:
        return
    b.put(mesh, s, lateral)


def _greenery(b: _Builder, side: int, first: float, depth: float, spacing: float) -> None:
    """Scatters trees and bushes in a strip beside the street."""
    rng, sign = b.rng, 1 - 2 * side
    stock = [vegetation.tree(rng) for _ in range(4)] + [
        vegetation.conifer(rng),
        vegetation.bush(rng),
        vegetation.bush(rng),
    ]
    s = -110 + rng.uniform(0, spacing)
    while s < 210:
        if not b.section.in_junction(s, 3):
            mesh = stock[rng.integers(len(stock))]
            b.put(
                mesh,
                s,
                sign * (first + rng.uniform(0, depth)),
                turn=rng.uniform(0, 6.3),
                scale=rng.uniform(0.7, 1.25),
            )
        s += spacing * rng.uniform(0.3, 1.7)


def _avenue(b: _Builder, side: int) -> None:
    """Puts a row of similar trees at the kerb."""
    rng, sign = b.rng, 1 - 2 * side
    mesh, spacing = vegetation.tree(rng), rng.uniform(7, 18)
    lateral = b.section.half_road + rng.uniform(0.6, max(0.7, b.section.edge(side) - b.section.half_road))
    for s in np.arange(-90, 190, spacing):
        if not b.section.in_junction(s, 3) and rng.uniform() < 0.85:
            b.put(
                mesh,
                s + rng.normal(0, 0.5),
                sign * lateral,
                turn=rng.uniform(0, 6.3),
                scale=rng.uniform(0.85, 1.15),
            )


def _parked(b: _Builder, side: int, stock: list[Mesh]) -> None:
    """Parks vehicles along one kerb, in blocks of changing density."""
    rng, sign, section = b.rng, 1 - 2 * side, b.section
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
            b.put_vehicle(vehicles.repaint(mesh, rng), s + length / 2, sign * lateral, turn=turn, raised=tipped)
        s += length + rng.uniform(0.4, 2.2)


def _traffic(b: _Builder, stock: list[Mesh], kind: str) -> None:
    """Puts vehicles into the lanes: flowing, or queued bumper to bumper."""
    rng = b.rng
    for lateral, direction in b.section.lanes:
        queue = rng.uniform() < (0.4 if kind in ("city", "highway") else 0.12)
        mean_gap = rng.uniform(2, 6) if queue else rng.uniform(10, 60)
        s = -90 + rng.uniform(0, mean_gap)
        while s < 170:
            mesh = stock[rng.integers(len(stock))]
            length = float(np.ptp(mesh.points[..., 0]))
            turn = (0 if direction > 0 else np.pi) + rng.normal(0, 0.02)
            b.put_vehicle(vehicles.repaint(mesh, rng), s + length / 2, lateral + rng.normal(0, 0.2), turn=turn)
            s += length + mean_gap * rng.uniform(0.4, 1.8)


def _crossing_traffic(b: _Builder, stock: list[Mesh]) -> None:
    """Puts vehicles on the crossing roads."""
    rng = b.rng
    for centre, half in b.section.junctions:
        for _ in range(int(rng.integers(0, 4))):
            lateral = rng.uniform(-30, 30)
            direction = rng.choice([-1, 1])
            b.put_vehicle(
                stock[rng.integers(len(stock))],
                centre + direction * half * 0.45,
                lateral,
                turn=direction * np.pi / 2,
            )


def _street_life(b: _Builder, kind: str) -> None:
    """Puts lamps, signs, signals, people, two-wheelers and small things."""
    rng, section = b.rng, b.section
    lamp, spacing = furniture.street_lamp(rng), rng.uniform(16, 40)
    for side in rng.permutation(2)[: rng.integers(1, 3)]:
        sign = 1 - 2 * side
        for s in np.arange(-90, 190, spacing):
            b.put(lamp, s, sign * (section.half_road + 0.5), turn=0.0 if sign > 0 else np.pi)
    for _ in range(int(rng.integers(2, 12))):
        side = 1 - 2 * int(rng.integers(2))
        b.put(
            furniture.sign(rng),
            rng.uniform(-40, 120),
            side * (section.half_road + rng.uniform(0.4, 1.0)),
            turn=rng.choice([0, np.pi, np.pi / 2]) + rng.normal(0, 0.1),
        )
    for centre, half in section.junctions:
        if rng.uniform() < 0.5:
            for sign in (1, -1):
                b.put(
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
        b.put(person(rng), rng.uniform(-40, 90), (1 - 2 * side) * lateral, turn=rng.uniform(0, 6.3))
    for _ in range(int(rng.integers(0, 6))):
        ridden = rng.uniform() < 0.6
        lateral = (
            (section.half_road - rng.uniform(0.4, 1.2)) if ridden else section.half_road + rng.uniform(0.4, 1.2)
        )
        turn = rng.choice([0, np.pi]) if ridden else rng.uniform(0, 6.3)
        b.put(
            vehicles.two_wheeler(rng, ridden=ridden),
            rng.uniform(-40, 90),
            rng.choice([-1, 1]) * lateral,
            turn=turn,
        )
    for _ in range(int(rng.integers(0, 14))):
        side = int(rng.integers(2))
        lateral = section.half_road + rng.uniform(0.4, max(0.6, section.edge(side) - section.half_road))
        b.put(
            furniture.small_thing(rng),
            rng.uniform(-40, 100),
            (1 - 2 * side) * lateral,
            turn=rng.choice([0, np.pi / 2]) + rng.normal(0, 0.1),
        )


def _sides(b: _Builder, kind: str) -> None:
    """Fills both sides of the street."""
    rng, section = b.rng, b.section
    for side in (0, 1):
        edge, sign = section.edge(side), 1 - 2 * side
        if kind in ("residential", "city", "car_park"):
            built = rng.uniform() < (0.9 if kind == "residential" else 0.8)
            if built:
                _lots(b, side, kind)
            if not built or rng.uniform() < 0.3:
                _greenery(b, side, edge + (0.5 if not built else 12.0), 12.0, rng.uniform(2.0, 7))
            if rng.uniform() < 0.45:
                _avenue(b, side)
        else:
            _greenery(b, side, edge + rng.uniform(1, 6), rng.uniform(3, 20), rng.uniform(1.8, 9))
            if kind == "highway" and rng.uniform() < 0.65:
                b.parts += [
                    place(buildings.guard_rail(12.0), *_pose(b, s, sign * (section.half_road + 0.5)))
                    for s in np.arange(-100, 200, 12.0)
                ]
            if rng.uniform() < 0.25:
                _lots(b, side, "residential")


def _pose(b: _Builder, s: float, lateral: float) -> tuple[Array, float]:
    """Returns ground point and heading."""
    ground, heading = b.path.at(s, lateral)
    ground[2] += b.height(lateral)
    return ground, heading


def make_scene(seed: int, kind: str | None = None, *, traffic: bool = True) -> StreetScene:
    """Returns the scene of a seed; the kind of street is drawn too unless given.

    Args:
        traffic: put vehicles into the lanes; without it they are free for a drive.
    """
    rng = np.random.default_rng(seed)
    kind = kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))
    winding = rng.choice([0.0, 0.12, 0.4, 0.9], p=[0.45, 0.25, 0.2, 0.1])
    path = make_path(rng, winding=0.0 if kind == "car_park" else winding)
    section = _section(kind, rng)
    b = _Builder(rng, path, section)
    b.parts += [ground_mesh(path, section, rng), far_land(path, rng)]
    stock = [vehicles.parked_vehicle(rng) for _ in range(10)]
    _sides(b, kind)
    if kind in ("residential", "city"):
        for side in (0, 1):
            if rng.uniform() < 0.8:
                _parked(b, side, stock)
    if kind == "car_park":
        for lateral in (
            section.half_road - 2.6,
            section.half_road - 8.4,
            2.6 - section.half_road,
            8.4 - section.half_road,
        ):
            if abs(lateral) > 5.5:
                share = rng.uniform(0.3, 0.95)
                for s in np.arange(-40, 110, 2.6):
                    if rng.uniform() < share:
                        mesh = vehicles.repaint(stock[rng.integers(len(stock))], rng)
                        b.put_vehicle(
                            mesh,
                            s,
                            lateral + rng.normal(0, 0.15),
                            turn=rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.03),
                        )
    heavy = {"highway": 0.3, "city": 0.18}.get(kind, 0.06)
    moving = stock[:5] + [vehicles.driving_vehicle(rng, heavy * 2.5) for _ in range(5)]
    if traffic:
        _traffic(b, moving, kind)
        _crossing_traffic(b, stock)
    _street_life(b, kind)
    if kind == "highway":
        inner = min(abs(o) for o, _ in section.lanes) - 1.9
        if rng.uniform() < 0.7:
            b.parts += [
                place(buildings.guard_rail(12.0), *_pose(b, s, rng.uniform(-0.02, 0.02) * inner))
                for s in np.arange(-100, 200, 12.0)
            ]
        if rng.uniform() < 0.4:
            b.put(furniture.gantry(2 * section.half_road + 3, rng), rng.uniform(40, 130), 0.0)
    if rng.uniform() < (0.35 if kind == "highway" else 0.08):
        b.put(buildings.bridge(section.edge(0) + 3, rng), rng.uniform(25, 140), 0.0, turn=rng.normal(0, 0.25))
    return StreetScene(
        kind, merge(b.parts), path, section, make_lighting(rng), np.array(b.vehicles or [(1e6, 0, 0)], np.float32)
    )
