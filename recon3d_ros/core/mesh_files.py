"""A mesh as a PLY, GLB, STL or OBJ file; trimesh writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.atomic_file import open_atomically
from recon3d_ros.core.mesh import Mesh

# Where the format says nothing (STL), what its readers take for granted: slicers read millimetres.
UNITS = {".ply": "m", ".glb": "m", ".obj": "m", ".stl": "mm"}
STL_HEADER = b"binary STL written by recon3d_ros; unit=mm; up=+Z"
STL_HEADER_BYTES = 80
# glTF's default material is a metal, which viewers show black; a scanned surface is seen from both sides.
MATERIAL = {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}, "doubleSided": True}


class MeshFileError(ValueError):
    """A mesh that cannot be written."""


def check_suffix(path: Path) -> str:
    """Returns the suffix that names the format; raises MeshFileError where there is no such format."""
    suffix = path.suffix.lower()
    if suffix not in UNITS:
        raise MeshFileError(f"{path}: a mesh is written as {', '.join(UNITS)}, not '{path.suffix}'")
    return suffix


def write_mesh(path: Path, mesh: Mesh, *, up: tuple[int, int] = (2, 1)) -> None:
    """Writes a mesh whole or not at all, in the format that the file's suffix names.

    PLY and OBJ keep the world frame, in metres. GLB is in metres too, turned so that up is +Y, as glTF wants it.
    STL is in millimetres, turned so that up is +Z, as slicers want it; its header says so.

    Args:
        path: .ply, .glb, .obj or .stl.
        mesh: in metres, world frame.
        up: the world's axis that points up, as poses.up_axis returns it.

    Raises:
        MeshFileError: if the format is unknown or trimesh is not installed.
    """
    suffix = check_suffix(path)
    content = _encode(mesh, suffix, up)
    with open_atomically(path) as file:
        file.write(content)


def _encode(mesh: Mesh, suffix: str, up: tuple[int, int]) -> bytes:
    try:
        import trimesh  # here: only mesh files need it
    except ImportError as error:
        raise MeshFileError(
            f"mesh files need trimesh ({error}): pip install 'recon3d_ros[reconstruction]', or trimesh"
        ) from error
    turn = {".glb": _turn(up, to=1), ".stl": _turn(up, to=2)}.get(suffix, np.eye(3))
    scale = 1000.0 if UNITS[suffix] == "mm" else 1.0
    solid: Any = trimesh.Trimesh(
        vertices=scale * (mesh.vertices @ turn.T),
        faces=mesh.triangles,
        vertex_normals=mesh.normals @ turn.T,
        vertex_colors=_linear(mesh.colors) if suffix == ".glb" else mesh.colors,
        process=False,  # vertices and triangles stay as they are
    )
    if suffix == ".stl":
        return STL_HEADER.ljust(STL_HEADER_BYTES) + bytes(solid.export(file_type="stl")[STL_HEADER_BYTES:])
    if suffix == ".glb":
        return bytes(solid.export(file_type="glb", include_normals=True, tree_postprocessor=_add_material))
    if suffix == ".obj":
        return str(solid.export(file_type="obj", include_normals=True)).encode()
    return bytes(solid.export(file_type="ply", vertex_normal=True))


def _add_material(tree: dict[str, Any]) -> None:
    tree["materials"] = [MATERIAL]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0


def _linear(colors: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8] | None:
    """Returns sRGB colours as linear ones, which glTF's vertices have (IEC 61966-2-1)."""
    if colors is None:
        return None
    c = np.arange(256) / 255
    table = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.rint(255 * table).astype(np.uint8)[colors], dtype=np.uint8)


def _turn(up: tuple[int, int], *, to: int) -> npt.NDArray[np.float64]:
    """Returns the (3, 3) rotation that brings a signed axis to the positive axis `to`."""
    axis, sign = up
    turn = np.eye(3)
    if axis != to:  # a quarter turn in the plane of both
        turn[[axis, to]] = 0.0
        turn[to, axis], turn[axis, to] = sign, -sign
    elif sign < 0:  # half a turn about another axis
        other = (to + 1) % 3
        turn[to, to] = turn[other, other] = -1.0
    return turn
