"""Meshes from a user's folder, beside the procedural ones: vehicles/, people/ and objects/ in it.

glTF files (.glb, .gltf) have y up and their front along z, as that format says; .obj, .stl and .ply are taken as
x forward, z up, which is the frame of the renderer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from training.render.cars import wheels
from training.render.mesh import Array, Material, Mesh, from_triangles, merge, place

if TYPE_CHECKING:
    import trimesh

logger = logging.getLogger(__name__)
SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")
MOST_TRIANGLES = 4000
# For each sub-folder: the axis whose extent is judged (0 length, 2 height, None the longest), the metres between
# which a file is believed, and the size that others get.
SIZES: dict[str, tuple[int | None, float, float, float]] = {
    "vehicles": (0, 1.5, 20.0, 4.5),
    "people": (2, 0.8, 2.2, 1.75),
    "objects": (None, 0.15, 8.0, 1.0),
}


@dataclass(frozen=True)
class UserMeshes:
    """What a user's folder holds; each mesh stands at the origin, x forward."""

    vehicles: tuple[Mesh, ...] = ()
    people: tuple[Mesh, ...] = ()
    objects: tuple[Mesh, ...] = ()


@lru_cache(maxsize=1)
def load_meshes(folder: Path) -> UserMeshes:
    """Returns all meshes of a folder.

    Raises:
        FileNotFoundError: no file of a known kind lies in vehicles/, people/ or objects/.
        ValueError: a file holds no triangles, or cannot be read.
    """
    found = {
        sort: sorted(p for p in (folder / sort).glob("**/*") if p.suffix.lower() in SUFFIXES) for sort in SIZES
    }
    if not any(found.values()):
        raise FileNotFoundError(
            f"{folder}: no mesh found; put {', '.join(SUFFIXES)} files into its vehicles, people or objects"
        )
    return UserMeshes(**{sort: tuple(load_mesh(path, sort) for path in paths) for sort, paths in found.items()})


def load_mesh(path: Path, sort: str) -> Mesh:
    """Returns the mesh of a file in metres, standing on the ground at the origin.

    Args:
        sort: vehicles, people or objects, which says how large it may be.
    """
    import trimesh  # here, as below: rendering without a user's meshes does not need it

    try:
        scene = trimesh.load_scene(path)
        bodies = [g for g in scene.dump() if isinstance(g, trimesh.Trimesh) and len(g.faces)]
    except Exception as error:  # every reader of trimesh raises errors of its own
        raise ValueError(f"{path}: cannot be read as a mesh ({error}); export it as .glb or .obj") from error
    if not bodies:
        raise ValueError(f"{path}: holds no triangles; export it as .glb or .obj with its faces")
    total = sum(len(body.faces) for body in bodies)
    share = min(1.0, MOST_TRIANGLES / total)
    material = Material.PAINT if sort == "vehicles" else Material.CLOTH
    mesh = merge([_converted(body, share, material) for body in bodies])
    if path.suffix.lower() in (".glb", ".gltf"):
        # y up, z forward, x left: turned to x forward, y left, z up.
        swap = [2, 0, 1]
        mesh = from_triangles(
            mesh.points[..., swap], mesh.uv, material, mesh.colour, normals=mesh.normals[..., swap]
        )
    return _standing(mesh, sort, path)


def _converted(body: trimesh.Trimesh, share: float, material: Material) -> Mesh:
    """Returns one body with the colour of each face, thinned out to a share of its triangles."""
    import trimesh

    colour = _face_colours(body)
    # Without its texture the vertices on both sides of a texture's seam become one.
    body = trimesh.Trimesh(body.vertices, body.faces, process=False)
    body.merge_vertices()
    if share < 1 and len(body.faces) > 40:
        thin = body.simplify_quadric_decimation(face_count=max(20, int(share * len(body.faces))))
        nearest = cv2.flann_Index(np.float32(body.triangles_center), {"algorithm": 0})
        colour = colour[nearest.knnSearch(np.float32(thin.triangles_center), 1, params={})[0][:, 0]]
        body = thin
    points = np.asarray(body.triangles, np.float32)
    return from_triangles(points, points[..., :2], material, colour, normals=_normals(body))


def _normals(body: trimesh.Trimesh) -> Array:
    """Returns normals (T, 3, 3) of the faces' corners, rounded where the surface bends by less than 40 degrees."""
    faces = np.asarray(body.faces)
    a, b, c = (np.asarray(body.vertices)[faces[:, k]] for k in range(3))
    weighted = np.cross(b - a, c - a)
    summed = np.zeros((len(body.vertices), 3))
    np.add.at(summed, faces.ravel(), np.repeat(weighted, 3, axis=0))
    smooth, flat = summed[faces], np.repeat(weighted[:, None], 3, axis=1)
    smooth, flat = (n / (np.linalg.norm(n, axis=2, keepdims=True) + 1e-12) for n in (smooth, flat))
    rounded = (flat * smooth).sum(axis=2, keepdims=True) > np.cos(np.radians(40))
    return np.where(rounded, smooth, flat).astype(np.float32)


def _face_colours(body: trimesh.Trimesh) -> Array:
    """Returns the linear albedo (T, 3) of each face, read from its texture, material or colours."""
    from trimesh.visual import TextureVisuals

    visual = body.visual
    if isinstance(visual, TextureVisuals):
        paint = visual.material
        image = getattr(paint, "baseColorTexture", None) or getattr(paint, "image", None)
        if image is None or visual.uv is None:
            srgb = np.tile(np.float32(paint.main_color)[:3] / 255, (len(body.faces), 1))
        else:
            srgb = _sampled(np.asarray(image.convert("RGB"), np.float32) / 255, visual.uv[body.faces])
    else:
        srgb = np.asarray(visual.face_colors, np.float32)[:, :3] / 255
    return np.clip(srgb**2.2, 0.01, 0.85).astype(np.float32)


def _sampled(image: Array, uv: Array) -> Array:
    """Returns the mean colour (T, 3) of an image (H, W, 3) at the corners and middles of faces, uv (T, 3, 2)."""
    H, W, _ = image.shape
    spots = np.concatenate([uv, uv.mean(axis=1, keepdims=True)], axis=1) % 1.0
    columns, rows = (spots[..., 0] * (W - 1)).astype(int), ((1 - spots[..., 1]) * (H - 1)).astype(int)
    return image[rows, columns].mean(axis=1)


def _standing(mesh: Mesh, sort: str, path: Path) -> Mesh:
    """Returns the mesh centred above the origin, in metres, on wheels if it has none."""
    axis, least, most, usual = SIZES[sort]
    corners = mesh.points.reshape(-1, 3)
    low, high = corners.min(axis=0), corners.max(axis=0)
    extent = high - low
    if sort == "vehicles" and extent[1] > extent[0]:
        mesh = place(mesh, (0, 0, 0), np.pi / 2)
        return _standing(mesh, sort, path)
    size = float(extent.max() if axis is None else extent[axis])
    scale = 1.0 if least <= size <= most else usual / size
    if scale != 1.0:
        logger.warning("%s: is %.3g m, expected %g to %g; scaled to %g m", path, size, least, most, usual)
    middle = (low + high) / 2 * scale
    lift = float(low[2] * scale)
    hollow = sort == "vehicles" and 0.1 < lift < 0.5
    mesh = place(mesh, (-middle[0], -middle[1], 0.0 if hollow else -lift), 0.0, scale)
    if hollow:
        length, width = float(extent[0] * scale), float(extent[1] * scale)
        rng = np.random.default_rng(0)
        mesh = merge([mesh, wheels([-0.29 * length, 0.31 * length], width / 2 * 0.93, 0.16 * width + 0.04, rng)])
    return mesh
