"""A building site: the road, and what has been put beside and onto it so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from training.render.footprints import Footprints, extent, rectangle
from training.render.mesh import Array, Mesh, place
from training.render.road import CrossSection, RoadPath
from training.render.stock import Stock


@dataclass
class Site:
    """A scene that is being put together.

    Attributes:
        rng: where all chance comes from.
        path, section: the road.
        stock: the things that are built once and placed as copies.
        parts: the meshes so far, in world coordinates.
        solids: the footprints of all that stands on the ground.
        vehicles: the footprints of the vehicles among them.
        stands: s, lateral and direction of gaps in the traffic where the camera's own vehicle fits.
    """

    rng: np.random.Generator
    path: RoadPath
    section: CrossSection
    stock: Stock
    parts: list[Mesh] = field(default_factory=list)
    solids: Footprints = field(default_factory=Footprints)
    vehicles: list[Array] = field(default_factory=list)
    stands: list[tuple[float, float, int]] = field(default_factory=list)
    _extents: dict[int, tuple[Array, Array]] = field(default_factory=dict)

    def put(
        self,
        mesh: Mesh,
        s: float,
        lateral: float,
        *,
        turn: float = 0.0,
        raised: float = 0.0,
        scale: float = 1.0,
        tilted: bool = False,
        margin: float | None = 0.05,
    ) -> Array | None:
        """Places a mesh on the ground at road coordinates, unless something stands there.

        Args:
            turn: from the road's direction, rad.
            raised: metres above the ground.
            tilted: follow the slope of the road, as vehicles and fences do.
            margin: metres to keep from everything else; None for what hangs above or may stand in other things,
                which also leaves no footprint.

        Returns:
            The footprint (5,), or None if nothing was placed.
        """
        ground, heading = self.pose(s, lateral)
        ground[2] += raised
        rect = rectangle(self._extent(mesh), ground, heading + turn, scale)
        if margin is not None:
            if self.solids.hits(rect, margin):
                return None
            self.solids.add(rect)
        pitch = -np.arctan(self.path.slope(s)) * np.cos(turn) if tilted else 0.0
        self.parts.append(place(mesh, ground, heading + turn, scale, pitch))
        return rect

    def put_vehicle(
        self,
        mesh: Mesh,
        s: float,
        lateral: float,
        *,
        turn: float = 0.0,
        raised: float = 0.0,
        scale: float = 1.0,
        margin: float = 0.25,
    ) -> bool:
        """Places a vehicle unless something is in its way; returns whether it was placed."""
        rect = self.put(mesh, s, lateral, turn=turn, raised=raised, scale=scale, tilted=True, margin=margin)
        if rect is not None:
            self.vehicles.append(rect)
        return rect is not None

    def add_strip(self, mesh: Mesh, s: float, length: float, lateral: float, half_width: float) -> None:
        """Adds what was built along the road from s on, and its footprint."""
        self.parts.append(mesh)
        for middle in np.arange(s + 6, s + length, 12.0):
            ground, heading = self.pose(middle, lateral)
            self.solids.add(np.array([ground[0], ground[1], heading, 6.2, half_width], np.float32))

    def pose(self, s: float, lateral: float) -> tuple[Array, float]:
        """Returns the ground point (3,) at road coordinates, and the road's heading there."""
        ground, heading = self.path.at(s, lateral)
        ground[2] += self.height(s, lateral)
        return ground, heading

    def height(self, s: float, lateral: float) -> float:
        """Returns how far the ground lies above the centre line."""
        side = 0 if lateral > 0 else 1
        section, reach = self.section, abs(lateral)
        drop = -0.02 * min(reach, section.half_road)
        if reach < section.half_road:
            return drop
        if section.in_junction(s):
            return drop + 0.015
        # The bands of ground_mesh: the sidewalk rises by 3 cm, the verge to 6 cm above the kerb, then the land.
        walk_end, edge, kerb = section.half_road + section.sidewalk[side], section.edge(side), section.kerb
        walk_top = kerb + 0.03 * (section.sidewalk[side] > 0.16)
        top = kerb + 0.06 if section.verge[side] > 0 else walk_top
        where = (section.half_road, walk_end, edge, edge + 12)
        return drop + float(np.interp(reach, where, (kerb, walk_top, top, kerb + section.rise[side])))

    def _extent(self, mesh: Mesh) -> Array:
        """Returns the mesh's extent on the ground, worked out once for all copies that share its points."""
        known = self._extents.get(id(mesh.points))
        if known is None:
            known = self._extents[id(mesh.points)] = (mesh.points, extent(mesh))
        return known[1]
