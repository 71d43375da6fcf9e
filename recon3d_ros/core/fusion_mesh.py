"""A volume of signed distances as a mesh: the surface that was seen, or a closed body for printing."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.fusion import Volume, import_open3d, to_uint8
from recon3d_ros.core.fusion_settings import FusionError
from recon3d_ros.core.mesh import Mesh

MIN_TRIANGLES = 100  # a smaller part that hangs on nothing is a speck: about 7 x 7 voxels


def extract_mesh(
    volume: Volume,
    *,
    min_views: float = 3,
    min_triangles: int = MIN_TRIANGLES,
    parts: int | None = None,
    fill_holes: float = 0.0,
) -> Mesh:
    """Returns the surface in a volume without its specks; its vertices are the cleaned point cloud.

    Args:
        volume: of fused frames.
        min_views: what was seen less often is left out.
        min_triangles: smaller parts are left out.
        parts: only so many of the largest parts are kept; None for all.
        fill_holes: holes up to about this radius are closed, metres. What closes them is a guess.

    Raises:
        FusionError: if nothing is left.
    """
    o3d = import_open3d()
    mesh: Any = o3d.t.geometry.TriangleMesh()
    if volume.blocks:
        mesh = volume.grid.extract_triangle_mesh(volume.weight_of(min_views)).cpu()
    is_empty = "indices" not in mesh.triangle
    triangles = np.empty((0, 3), np.int32) if is_empty else np.asarray(mesh.triangle.indices.numpy(), np.int32)
    kept = triangles[_in_large_parts(mesh, min_triangles, parts)] if len(triangles) else triangles
    if len(kept) == 0:
        raise FusionError(
            f"of {len(triangles)} triangles seen {min_views:g} times or more, none is in a part of at least "
            f"{min_triangles}: take a larger voxel, fewer views or smaller parts; inverted poses look so too"
        )
    mesh.triangle.indices = o3d.core.Tensor(kept)
    if fill_holes > 0:
        # Without the clone its arrays lie in the memory of the mesh that is let go here (seen in Open3D 0.20).
        mesh = mesh.fill_holes(hole_size=fill_holes).clone()
        added = np.asarray(mesh.triangle.indices.numpy()[len(kept) :], dtype=np.int32)
        kept = np.concatenate([kept, _facing_alike(added, kept)])
    used, rows = np.unique(kept, return_inverse=True)
    return Mesh(
        vertices=np.asarray(mesh.vertex.positions.numpy()[used], dtype=np.float32),
        triangles=rows.reshape(-1, 3).astype(np.int32),
        normals=_unit(mesh.vertex.normals.numpy()[used]),
        colors=to_uint8(mesh.vertex.colors.numpy()[used]) if volume.has_color else None,
    )


def make_solid(volume: Volume, *, min_views: float = 3) -> None:
    """Turns the surface in a volume into a closed body as thick as the truncation; no frame can be added after.

    The distances behind a surface are negative as far as the truncation reaches. All that is not known to be there
    becomes free space, so that the body ends where knowledge ends and its skin is closed by construction. The
    seen side stays where it was measured.

    Raises:
        FusionError: if the room for it exceeds the memory.
    """
    o3d = import_open3d()
    threshold = volume.weight_of(min_views)
    volume.grid = volume.grid.cpu()
    hashmap = volume.grid.hashmap()
    index = hashmap.active_buf_indices().numpy()
    weight, distance = (volume.grid.attribute(name).numpy()[index, ..., 0] for name in ("weight", "tsdf"))
    is_inside = (weight > threshold) & (distance < 0)
    around = o3d.core.Tensor(_neighbours(hashmap.key_tensor().numpy()[index], is_inside))
    volume.reserve(around)
    hashmap = volume.grid.hashmap()
    hashmap.activate(around)
    index = hashmap.active_buf_indices().numpy()
    weight, distance = (volume.grid.attribute(name).numpy() for name in ("weight", "tsdf"))
    is_known = weight[index] > threshold
    distance[index] = np.where(is_known, distance[index], np.float32(1.0))
    weight[index] = np.float32(threshold + 1.0)


def _neighbours(keys: npt.NDArray[np.int32], is_inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Returns the (K, 3) blocks next to those whose inside reaches their border.

    Args:
        keys: (M, 3) x y z of each block.
        is_inside: (M, 8, 8, 8) of each voxel, in the order z y x.
    """
    border = {-1: slice(0, 1), 0: slice(None), 1: slice(-1, None)}
    found = [
        keys[is_inside[:, border[z], border[y], border[x]].any(axis=(1, 2, 3))] + np.array([x, y, z], np.int32)
        for x, y, z in product((-1, 0, 1), repeat=3)
    ]
    return np.unique(np.concatenate(found), axis=0).astype(np.int32)


def _in_large_parts(mesh: Any, min_triangles: int, parts: int | None) -> npt.NDArray[np.bool_]:
    """Returns which triangles of Open3D's mesh are in connected parts that are large enough."""
    part_of, counts, _ = mesh.to_legacy().cluster_connected_triangles()
    sizes = np.asarray(counts)
    is_kept = sizes >= min_triangles
    if parts is not None:
        is_kept[np.argsort(-sizes, kind="stable")[parts:]] = False
    return np.asarray(is_kept[np.asarray(part_of)], dtype=np.bool_)


def _facing_alike(added: npt.NDArray[np.int32], surface: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Returns triangles turned so that they run along the edges of a surface in the other direction.

    Open3D's fill_holes turns each patch as it comes. All triangles of a patch face alike.
    """
    o3d = import_open3d()
    if len(added) == 0:
        return added
    patches = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(np.zeros((int(added.max()) + 1, 3))), o3d.utility.Vector3iVector(added)
    )
    patch_of = np.asarray(patches.cluster_connected_triangles()[0])
    is_wrong = np.isin(_directed_edges(added), _directed_edges(surface)).any(axis=1)
    wrong_patches = np.unique(patch_of[is_wrong])
    return np.where(np.isin(patch_of, wrong_patches)[:, None], added[:, ::-1], added)


def _directed_edges(triangles: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Returns the (M, 3) edges of triangles as one number each, from their first vertex to their second."""
    start = triangles.astype(np.int64)
    return start << 32 | np.roll(start, -1, axis=1)


def _unit(normals: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(normals / np.maximum(lengths, 1e-12), dtype=np.float32)
