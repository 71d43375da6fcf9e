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
BORDER_RAYS = 16  # along each side of an image, by which overlapping views are told from others
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
        others = [other for other in clouds if other is not cloud and overlap(cloud, other)]
        if others and len(cloud.points):
            own = _off_axis(_project(cloud.points, cloud)[0], cloud.camera)
            for other in others:
                keep &= ~_sees_better(other, cloud.points, own)
        kept.append(keep)
    return kept


def overlap(cloud: CameraCloud, other: CameraCloud) -> bool:
    """Returns whether a part of one camera's view, as far as FAR, is in the other's image."""
    return _reaches(cloud, other) or _reaches(other, cloud)


def _reaches(cloud: CameraCloud, other: CameraCloud) -> bool:
    camera = cloud.camera
    u = np.linspace(0, camera.width - 1, BORDER_RAYS)
    v = np.linspace(0, camera.height - 1, BORDER_RAYS)
    pixels = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    rays = np.column_stack([(pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy), np.ones(len(pixels))])
    depths = np.geomspace(NEAR, FAR, 5)
    points = (rays[None] * depths[:, None, None]).reshape(-1, 3).astype(np.float32)
    return bool(_project(move(points, cloud.T_base_camera), other)[2].any())


def _sees_better(
    cloud: CameraCloud, points: npt.NDArray[np.float32], off_axis: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """Returns which points a camera sees, and nearer to its middle than `off_axis` says of another.

    Args:
        cloud: of the camera that is asked.
        points: (N, 3) float32 metres, base frame.
        off_axis: (N,) how far from its middle the other camera has them.
    """
    pixels, z, inside = _project(points, cloud)
    candidates = np.flatnonzero(inside)
    candidates = candidates[_off_axis(pixels[candidates], cloud.camera) < off_axis[candidates]]
    column, row = np.rint(pixels[candidates]).astype(np.intp).T
    seen = cloud.depth[row, column]
    better = np.zeros(len(points), dtype=np.bool_)
    with np.errstate(invalid="ignore"):
        better[candidates] = z[candidates] <= seen * np.float32(1.0 + HIDDEN)  # False where the depth is NaN
    return better


def _project(
    points: npt.NDArray[np.float32], cloud: CameraCloud
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Returns the (N, 2) pixels of base frame points, their (N,) z, and which are inside the image."""
    camera = cloud.camera
    optical = move(points, np.asarray(np.linalg.inv(cloud.T_base_camera), dtype=np.float64))
    z = optical[:, 2]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        focal = np.array((camera.fx, camera.fy), dtype=np.float32)
        centre = np.array((camera.cx, camera.cy), dtype=np.float32)
        pixels = optical[:, :2] / z[:, None] * focal + centre
        inside = (z > 0) & (pixels >= -0.5).all(axis=1)
        inside &= (pixels[:, 0] < camera.width - 0.5) & (pixels[:, 1] < camera.height - 0.5)
    return pixels, z, inside


def _off_axis(pixels: npt.NDArray[np.float32], camera: CameraModel) -> npt.NDArray[np.float32]:
    """Returns how far (N, 2) pixels are from the image's middle: 0 there, 1 in the middle of each side."""
    half = np.array((camera.width / 2, camera.height / 2), dtype=np.float32)
    x, y = ((pixels - (half - np.float32(0.5))) / half).T
    return np.asarray(np.hypot(x, y), dtype=np.float32)
