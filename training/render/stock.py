"""Things that are built once for many scenes and placed as copies: building them costs more than placing them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from training.render import furniture, heavy, machines, people, vegetation, vehicles
from training.render.mesh import Array, Mesh, Sort, named
from training.render.meshes import load_meshes
from training.render.pictures import billboard, load_pictures, picture_panel

SCENES_A_STOCK = 100


@dataclass(frozen=True)
class Folders:
    """Where a user's own meshes and pictures lie, if anywhere; see meshes.py and pictures.py."""

    meshes: Path | None = None
    textures: Path | None = None


NO_FOLDERS = Folders()


@dataclass(frozen=True)
class Stock:
    """Meshes of each sort; every one stands at the origin, x forward.

    Attributes:
        cars: cars and vans.
        heavy: lorries, buses and machines.
        trailers: what cars draw, its coupling at the origin.
        cycles, riders: two-wheelers standing alone (vehicles by sort), and ridden (people).
        people: on foot.
        trees: mixed; street_trees: whose crowns leave 2.5 m clear; bushes.
        woods: strips of forest edge 24 m long.
        small_things: bins, cabinets, bollards.
        signs: that face -x.
        own_vehicles: of the user's folder; they keep their colours.
        billboards: with pictures of the user's folder, facing -y; fronts: such pictures for house walls.
    """

    cars: tuple[Mesh, ...]
    heavy: tuple[Mesh, ...]
    trailers: tuple[Mesh, ...]
    cycles: tuple[Mesh, ...]
    riders: tuple[Mesh, ...]
    people: tuple[Mesh, ...]
    trees: tuple[Mesh, ...]
    street_trees: tuple[Mesh, ...]
    bushes: tuple[Mesh, ...]
    woods: tuple[Mesh, ...]
    small_things: tuple[Mesh, ...]
    signs: tuple[Mesh, ...]
    own_vehicles: tuple[Mesh, ...] = ()
    billboards: tuple[Mesh, ...] = ()
    fronts: tuple[Mesh, ...] = ()


def pick(things: tuple[Mesh, ...], rng: np.random.Generator) -> Mesh:
    """Returns one of the things."""
    return things[rng.integers(len(things))]


@lru_cache(maxsize=2)
def make_stock(number: int, folders: Folders = NO_FOLDERS) -> Stock:
    """Returns the stock of a number; scenes of SCENES_A_STOCK successive seeds share one."""
    rng = np.random.default_rng([number, 77])

    def some(count: int, make: Callable[[np.random.Generator], Mesh], sort: Sort = Sort.OTHER) -> tuple[Mesh, ...]:
        return tuple(named(make(rng), sort) for _ in range(count))

    stock = Stock(
        cars=some(40, vehicles.parked_vehicle, Sort.VEHICLE),
        heavy=some(36, heavy.heavy_vehicle, Sort.VEHICLE),
        trailers=some(5, machines.car_trailer, Sort.VEHICLE),
        cycles=some(5, lambda r: vehicles.two_wheeler(r, ridden=False), Sort.VEHICLE),
        riders=some(8, lambda r: vehicles.two_wheeler(r, ridden=True), Sort.PERSON),
        people=some(24, people.person, Sort.PERSON),
        trees=some(10, vegetation.tree, Sort.VEGETATION) + some(4, vegetation.conifer, Sort.VEGETATION),
        street_trees=some(5, lambda r: vegetation.tree(r, clear=2.5), Sort.VEGETATION),
        bushes=some(8, vegetation.bush, Sort.VEGETATION),
        woods=some(4, lambda r: vegetation.wood(24.0, r), Sort.VEGETATION),
        small_things=some(14, furniture.small_thing),
        signs=some(14, furniture.sign, Sort.POLE),
    )
    if folders.textures:
        stock = _with_pictures(stock, load_pictures(folders.textures), rng)
    if folders.meshes:
        own = load_meshes(folders.meshes)
        stock = replace(
            stock,
            own_vehicles=tuple(named(mesh, Sort.VEHICLE) for mesh in own.vehicles),
            people=stock.people + tuple(named(mesh, Sort.PERSON) for mesh in _as_many(own.people, stock.people)),
            small_things=stock.small_things + _as_many(own.objects, stock.small_things),
        )
    return stock


def _as_many(own: tuple[Mesh, ...], others: tuple[Mesh, ...]) -> tuple[Mesh, ...]:
    """Returns the user's meshes repeated until they are about as many as the others."""
    return own * -(-len(others) // len(own)) if own else ()


def _with_pictures(stock: Stock, pictures: tuple[Array, ...], rng: np.random.Generator) -> Stock:
    """Returns the stock with pictures on a third of the lorries, on billboards and for house fronts."""
    drawn = [pictures[k] for k in rng.integers(len(pictures), size=28)]
    return replace(
        stock,
        heavy=stock.heavy
        + tuple(named(heavy.picture_lorry(rng, picture), Sort.VEHICLE) for picture in drawn[:12]),
        billboards=tuple(billboard(picture, rng) for picture in drawn[12:20]),
        fronts=tuple(picture_panel(p, (rng.uniform(4, 12), rng.uniform(3, 8)), rng) for p in drawn[20:]),
    )
