"""A building site: the road, and what has been put beside and onto it so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from training.render.mesh import Array, Mesh, place
from training.render.road import CrossSection, RoadPath


@dataclass
class Site:
    """A scene that is being put together.

    Attributes:
        rng: where all chance comes from.
        path, section: the road.
        parts: the meshes so far, in world coordinates.
        vehicles: x, y and half the length (m) of each vehicle so far.
    """

    rng: np.random.Generator
    path: RoadPath
    section: CrossSection
    parts: list[Mesh] = field(default_factory=list)
    vehicles: list[tuple[float, float, float]] = field(default_factory=list)

    def put(
        self, mesh: Mesh, s: float, lateral: float, *, turn: float = 0.0, raised: float = 0.0, scale: float = 1.0
    ) -> None:
        """Places a mesh on the ground at road coordinates, turned from the road's direction."""
        ground, heading = self.pose(s, lateral)
        ground[2] += raised
        self.parts.append(place(mesh, ground, heading + turn, scale))

    def pose(self, s: float, lateral: float) -> tuple[Array, float]:
        """Returns the ground point (3,) at road coordinates, and the road's heading there."""
        ground, heading = self.path.at(s, lateral)
        ground[2] += self.height(lateral)
        return ground, heading

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
