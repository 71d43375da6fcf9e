"""Triangle meshes that carry what shading needs, and the few ways to build and move them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class Material(IntEnum):
    """What a surface is made of; materials.py holds a function for each look."""

    ROAD = 0
    PAVING = 1
    GRASS = 2
    CONCRETE = 3
    FACADE = 4
    ROOF = 5
    LEAVES = 6
    BARK = 7
    PAINT = 8
    CAR_GLASS = 9
    RUBBER = 10
    LAMP = 11
    CLOTH = 12
    PANEL = 13
    BRICK = 14
    WOOD = 15


class Sort(IntEnum):
    """What a thing is, for whom labels points."""

    OTHER = 0
    GROUND = 1
    BUILDING = 2
    VEGETATION = 3
    POLE = 4
    PERSON = 5
    VEHICLE = 6


@dataclass(frozen=True)
class Mesh:
    """Triangles that share no vertex, so that every corner has its own normal and texture coordinate.

    Attributes:
        points: (T, 3, 3) float32 metres; x forward, y left, z up.
        normals: (T, 3, 3) float32 unit normals at the corners.
        uv: (T, 3, 2) float32 texture coordinates, metres unless the material says otherwise.
        material: (T,) uint8 Material.
        colour: (T, 3) float32 linear albedo.
        params: (T, 4) float32 numbers for the material's texture.
        sort: (T,) uint8 Sort.
    """

    points: Array
    normals: Array
    uv: Array
    material: npt.NDArray[np.uint8]
    colour: Array
    params: Array
    sort: npt.NDArray[np.uint8]


def dot(a: Array, b: Array) -> Array:
    """Returns the dot products (N,) of two lists of vectors (N, 3)."""
    return np.einsum("nk,nk->n", a, b)


def length(a: Array) -> Array:
    """Returns the lengths (N,) of vectors (N, 3)."""
    return np.sqrt(dot(a, a))


def from_triangles(
    points: Array,
    uv: Array,
    material: Material,
    colour: Sequence[float] | Array,
    params: Sequence[float] = (0, 0, 0, 0),
    normals: Array | None = None,
) -> Mesh:
    """Returns a mesh of (T, 3, 3) points and (T, 3, 2) uv; flat normals unless given."""
    points = np.asarray(points, np.float32)
    T = len(points)
    if normals is None:
        flat = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
        flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-12
        normals = np.repeat(flat[:, None], 3, axis=1)
    return Mesh(
        points,
        np.asarray(normals, np.float32),
        np.asarray(uv, np.float32),
        np.full(T, material, np.uint8),
        np.broadcast_to(np.asarray(colour, np.float32), (T, 3)),
        np.broadcast_to(np.asarray(params, np.float32), (T, 4)),
        np.full(T, Sort.OTHER, np.uint8),
    )


def from_quads(
    points: Array,
    uv: Array,
    material: Material,
    colour: Sequence[float] | Array,
    params: Sequence[float] = (0, 0, 0, 0),
    normals: Array | None = None,
) -> Mesh:
    """Returns a mesh of quads: points (Q, 4, 3) in order around each quad, uv (Q, 4, 2)."""

    def split(corners: Array) -> Array:
        corners = np.asarray(corners, np.float32)
        return np.concatenate([corners[:, (0, 1, 2)], corners[:, (0, 2, 3)]])

    colour = np.asarray(colour, np.float32)
    if colour.ndim == 2:
        colour = np.concatenate([colour, colour])
    return from_triangles(
        split(points), split(uv), material, colour, params, None if normals is None else split(normals)
    )


def grid(
    points: Array,
    uv: Array,
    material: Material,
    colour: Sequence[float] | Array,
    params: Sequence[float] = (0, 0, 0, 0),
    *,
    closed: bool = False,
) -> Mesh:
    """Returns a smooth surface through an (S, P, 3) grid of points with uv (S, P, 2).

    Args:
        closed: the P direction is a ring; its last column joins its first. uv then has P + 1 columns.
    """
    points, uv = np.asarray(points, np.float32), np.asarray(uv, np.float32)
    if closed:
        along_ring = np.roll(points, -1, axis=1) - np.roll(points, 1, axis=1)
    else:
        along_ring = np.gradient(points, axis=1)
    normals = np.cross(along_ring, np.gradient(points, axis=0))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True) + 1e-9
    if closed:
        points = np.concatenate([points, points[:, :1]], axis=1)
        normals = np.concatenate([normals, normals[:, :1]], axis=1)

    def corners(values: Array) -> Array:
        quads = np.stack([values[:-1, :-1], values[:-1, 1:], values[1:, 1:], values[1:, :-1]], axis=2)
        return quads.reshape(-1, 4, values.shape[-1])

    return from_quads(corners(points), corners(uv), material, colour, params, corners(normals))


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """Returns one mesh of all triangles."""
    return Mesh(
        np.concatenate([m.points for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.material for m in meshes]),
        np.concatenate([m.colour for m in meshes]),
        np.concatenate([m.params for m in meshes]),
        np.concatenate([m.sort for m in meshes]),
    )


def place(mesh: Mesh, position: Sequence[float], yaw: float = 0.0, scale: float = 1.0, pitch: float = 0.0) -> Mesh:
    """Returns the mesh scaled, pitched about y (nose down positive), turned about z, then moved; texture kept."""
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    c, s = np.cos(pitch), np.sin(pitch)
    rotation = (turn @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])).astype(np.float32)
    points = (mesh.points @ rotation.T) * np.float32(scale) + np.asarray(position, np.float32)
    return replace(mesh, points=points, normals=mesh.normals @ rotation.T)


def tint(mesh: Mesh, material: Material, colour: Sequence[float] | Array) -> Mesh:
    """Returns the mesh with every triangle of one material in another colour."""
    mask = (mesh.material == material)[:, None]
    return replace(mesh, colour=np.where(mask, np.asarray(colour, np.float32), mesh.colour))


def named(mesh: Mesh, sort: Sort) -> Mesh:
    """Returns the mesh with every triangle of one sort."""
    return replace(mesh, sort=np.full(len(mesh.sort), sort, np.uint8))
