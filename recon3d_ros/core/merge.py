"""One cloud out of several cameras' clouds, without the double walls where their views overlap.

Two networks' answers about one wall differ by more than the wall's thickness, so where two cameras see the same
place one of them must be believed. It is the one that has the place nearer to its image's middle: there the
network sees the surroundings that it judges depth by, and the lens is at its best. The seam then runs through the
middle of the overlap. A camera is only believed about what it could see: a place behind the surface it sees is
hidden from it, and where its own depth is invalid it says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.lidar import Pose
from recon3d_ros.core.transforms import move

# Part of the depth by which a point must be behind what a camera sees to be hidden from it. Less is taken for the
# same surface at another depth: two networks' answers differ by as much.
HIDDEN = 0.3
GRID = 16  # rays along each side of an image, by which overlapping views are told from others
NEAR, FAR = 1.0, 100.0  # metres along z between which overlaps are looked for


@dataclass(frozen=True, eq=False)
class CameraCloud:
    """One camera's part of a merged cloud.

    Attributes:
        points: (N, 3) float32 metres, all finite, base frame.
        depth: (h, w) float32 metres along z, clean; what the camera saw: NaN nothing known, +Inf nothing in range.
        camera: of the depth, undistorted.
        T_base_camera: (4, 4), p_base = T_base_camera @ p_optical.
    """

    points: npt.NDArray[np.float32]
    depth: npt.NDArray[np.float32]
    camera: CameraModel
    T_base_camera: Pose


def kept_points(clouds: Sequence[CameraCloud]) -> list[npt.NDArray[np.bool_]]:
    """Returns which points of each camera are left where the cameras' views overlap.

    Args:
        clouds: of the cameras, all in one base frame.

    Returns:
        (N,) bool of each cloud.
    """
    kept = []
    for cloud in clouds:
        keep = np.ones(len(cloud.points), dtype=np.bool_)
        for other in clouds:
            if other is not cloud and overlap(cloud, other):
                keep[_better_seen(cloud, other)] = False
        kept.append(keep)
    return kept


def overlap(cloud: CameraCloud, other: CameraCloud) -> bool:
    """Returns whether a part of one camera's view, as far as FAR, is in the other's image."""
    return _reaches(cloud, other) or _reaches(other, cloud)


def _reaches(cloud: CameraCloud, other: CameraCloud) -> bool:
    camera = cloud.camera
    u = np.linspace(0, camera.width - 1, GRID)
    v = np.linspace(0, camera.height - 1, GRID)
    pixels = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    rays = np.column_stack([(pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy), np.ones(len(pixels))])
    points = (rays[None] * np.geomspace(NEAR, FAR, 5)[:, None, None]).reshape(-1, 3).astype(np.float32)
    return len(_in_image(_scaled_pixels(move(points, cloud.T_base_camera), other), other.camera)) > 0


def _better_seen(cloud: CameraCloud, other: CameraCloud) -> npt.NDArray[np.intp]:
    """Returns the numbers of a camera's points that the other camera sees, and nearer to its middle."""
    scaled = _scaled_pixels(cloud.points, other)
    index = _in_image(scaled, other.camera)
    z, pixels = scaled[index, 2], scaled[index, :2] / scaled[index, 2:]
    # float32 may put a pixel on the image's very edge, and rint may round that out of the image.
    size = other.camera.width, other.camera.height
    column, row = np.minimum(np.rint(pixels), np.subtract(size, 1)).astype(np.intp).T
    with np.errstate(invalid="ignore"):
        is_better = z <= other.depth[row, column] * np.float32(1.0 + HIDDEN)  # False where the depth is NaN
    own = _scaled_pixels(cloud.points[index], cloud)
    is_better &= _off_axis(pixels, other.camera) < _off_axis(own[:, :2] / own[:, 2:], cloud.camera)
    return np.asarray(index[is_better], dtype=np.intp)


def _scaled_pixels(points: npt.NDArray[np.float32], cloud: CameraCloud) -> npt.NDArray[np.float32]:
    """Returns (N, 3): u z, v z and z of base frame points in a camera; not yet divided by z, which may be 0."""
    projection = np.eye(4)
    projection[:3, :3] = cloud.camera.K
    return move(points, np.asarray(projection @ np.linalg.inv(cloud.T_base_camera), dtype=np.float64))


def _in_image(scaled: npt.NDArray[np.float32], camera: CameraModel) -> npt.NDArray[np.intp]:
    """Returns the numbers of those scaled pixels that are in front of the camera and inside its image."""
    u, v, z = scaled.T
    low, right, bottom = (np.float32(edge) for edge in (-0.5, camera.width - 0.5, camera.height - 0.5))
    return np.flatnonzero((z > 0) & (u >= low * z) & (u < right * z) & (v >= low * z) & (v < bottom * z)).astype(
        np.intp
    )


def _off_axis(pixels: npt.NDArray[np.float32], camera: CameraModel) -> npt.NDArray[np.float32]:
    """Returns how far (N, 2) pixels are from the image's middle: 0 there, 1 in the middle of each side."""
    half = np.array((camera.width / 2, camera.height / 2), dtype=np.float32)
    x, y = ((pixels - (half - np.float32(0.5))) / half).T
    return np.asarray(np.hypot(x, y), dtype=np.float32)
