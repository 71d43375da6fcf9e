"""Depth error on a drive without LiDAR: points triangulated from its known poses stand for the truth.

    python -m benchmarks.triangulated ../shared/data/kitti_poses [--model MODEL] [--camera-height M]

Corners of each frame are tracked back through the frames before it (Lucas-Kanade, there and back) and triangulated
over all of them by least squares. A point is kept where every view agrees with it within MAX_RESIDUAL and its own
depth is certain within MAX_DEPTH_SIGMA. Corners lie on edges, leaves and railings, so the error is far larger than
on surfaces; what moves on its own mostly fails to agree, but a car that keeps its distance may not.

The poses lie in poses.txt, T_world_camera as 12 numbers a line. Where the drive has exact depth too (the bundled
one), the triangulated points are compared with it first.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.drive import Drive, DriveError, load_drive
from recon3d_ros.core.encodings import decode_compressed
from recon3d_ros.core.judge import judge
from recon3d_ros.core.lidar import Points, project
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.core.poses import read_poses
from recon3d_ros.core.report import make_report
from recon3d_ros.core.report_tables import report_markdown
from recon3d_ros.core.truth import TrueFrame
from recon3d_ros.engines import load_engine

VIEWS_BEFORE = 6
MIN_VIEWS = 4  # the frame itself included
PIXEL_SIGMA = 0.3  # pixels; of a tracked corner
MAX_RESIDUAL = 1.0  # pixels, in every view
MAX_DEPTH_SIGMA = 0.03  # part of the depth
MAX_RETURN = 0.5  # pixels between a corner and where it comes back to when it is tracked there and back

Array = npt.NDArray[np.float64]
TRACKING = {"winSize": (15, 15), "maxLevel": 4}


def track(images: Sequence[npt.NDArray[np.uint8]], corners: npt.NDArray[np.float32]) -> list[Array]:
    """Returns the (N, 2) pixels of the first image's corners in each image, NaN once they are lost."""
    tracks = [corners.astype(np.float64)]
    alive = np.ones(len(corners), dtype=bool)
    for before, after in itertools.pairwise(images):
        start = np.nan_to_num(tracks[-1]).astype(np.float32)
        there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, start, None, **TRACKING)
        back, returned, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **TRACKING)
        alive &= (found.ravel() == 1) & (returned.ravel() == 1)
        alive &= np.linalg.norm(back - start, axis=1) < MAX_RETURN
        tracks.append(np.where(alive[:, None], there.astype(np.float64), np.nan))
    return tracks


def triangulate(pixels: Array, T_view_first: Array, camera: CameraModel) -> tuple[Array, Array, Array]:
    """Returns the points that pixels of several views show, in the first view's camera frame.

    Args:
        pixels: (V, N, 2), NaN where a view does not show the point.
        T_view_first: (V, 4, 4).
        camera: undistorted, of all views.

    Returns:
        (N, 3) points, metres; (N,) largest residual, pixels; (N,) sigma of the depth, metres.
    """
    V, N, _ = pixels.shape
    seen = np.isfinite(pixels[..., 0])
    rays = np.dstack(
        [(pixels[..., 0] - camera.cx) / camera.fx, (pixels[..., 1] - camera.cy) / camera.fy, np.ones((V, N))]
    )
    # Inverse depth along the first view's ray is the one unknown: p = ray / rho, seen at R ray + rho t.
    first = rays[0]
    direction = np.einsum("vij,nj->vni", T_view_first[:, :3, :3], first)
    offset = T_view_first[:, None, :3, 3]
    rho = np.full(N, 0.1)
    for _ in range(15):
        residual, slope = _residuals(direction, offset, rho, rays, seen, camera)
        rho = np.clip(rho - (slope * residual).sum((0, 2)) / np.maximum((slope**2).sum((0, 2)), 1e-9), 1e-4, 10.0)
    residual, slope = _residuals(direction, offset, rho, rays, seen, camera)
    sigma_rho = PIXEL_SIGMA / np.sqrt(np.maximum((slope**2).sum((0, 2)), 1e-12))
    return first / rho[:, None], np.linalg.norm(residual, axis=2).max(0), sigma_rho / rho**2


def _residuals(
    direction: Array, offset: Array, rho: Array, rays: Array, seen: npt.NDArray[np.bool_], camera: CameraModel
) -> tuple[Array, Array]:
    """Returns the (V, N, 2) reprojection errors, pixels, and their slopes by inverse depth; 0 where unseen."""
    focal = np.array([camera.fx, camera.fy])
    point = direction + rho[None, :, None] * offset
    z = np.maximum(point[..., 2:], 1e-6)
    error = (point[..., :2] / z - np.where(seen[..., None], rays[..., :2], 0.0)) * focal
    slope = (offset[..., :2] - point[..., :2] / z * offset[..., 2:]) / z * focal
    return np.where(seen[..., None], error, 0.0), np.where(seen[..., None], slope, 0.0)


def true_points(images: Sequence[npt.NDArray[np.uint8]], poses: Array, camera: CameraModel) -> Points:
    """Returns the (N, 3) triangulated points of the first of the images, metres in its optical frame."""
    corners = cv2.goodFeaturesToTrack(images[0], 4000, 0.002, 5)
    if corners is None:
        return np.empty((0, 3))
    pixels = np.stack(track(images, corners.reshape(-1, 2)))
    points, residual, sigma = triangulate(pixels, np.linalg.inv(poses) @ poses[0], camera)
    enough = np.isfinite(pixels[..., 0]).sum(0) >= MIN_VIEWS
    return points[enough & (residual < MAX_RESIDUAL) & (sigma < MAX_DEPTH_SIGMA * points[:, 2])]


def triangulated_frames(drive: Drive, camera_height: float | None) -> Iterator[TrueFrame]:
    """Yields the frames of a drive that have enough others before them.

    Raises:
        DriveError: if the drive has no calibration, or not as many poses as images.
    """
    if drive.calibration is None:
        raise DriveError(f"{drive.folder}: has no calibration.json, which says what the camera is")
    camera = drive.calibration.camera
    if camera != camera.undistorted():
        raise DriveError(f"{drive.folder}: the images are distorted; expected rectified ones")
    poses = read_poses(drive.folder / "poses.txt")
    if len(poses) != len(drive.images):
        raise DriveError(f"{drive.folder}: has {len(poses)} poses of {len(drive.images)} images")
    grey = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in drive.images]
    for index in range(VIEWS_BEFORE, len(grey)):
        views = slice(index, index - VIEWS_BEFORE - 1 if index > VIEWS_BEFORE else None, -1)
        points = true_points(grey[views], poses[views], camera)
        image = decode_compressed(drive.images[index].read_bytes())
        yield TrueFrame(drive.images[index].stem, "", image, camera, points, camera_height)


def error_of_triangulation(drive: Drive, frames: Sequence[TrueFrame]) -> Array:
    """Returns the relative errors of the triangulated depths where the drive has exact depth."""
    errors = []
    for path, frame in zip(drive.images[VIEWS_BEFORE:], frames, strict=True):
        exact = drive.depth_mm(path)
        if exact is None:
            return np.empty(0)
        returns = project(frame.points, frame.camera.resized(width=exact.shape[1], height=exact.shape[0]))
        true = exact[returns.row, returns.column] * 1e-3
        errors.append((returns.z[true > 0] - true[true > 0]) / true[true > 0])
    return np.concatenate(errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("drive", type=Path, help="folder: image/, calibration.json, poses.txt")
    parser.add_argument("--model", default="", help="one-file model; default: the shipped one")
    parser.add_argument("--camera-height", type=float, help="above the ground, metres")
    args = parser.parse_args()
    drive = load_drive(args.drive)
    frames = list(tqdm(triangulated_frames(drive, args.camera_height), unit="frame", disable=None))
    counts = [len(frame.points) for frame in frames]
    print(f"{len(frames)} frames, {np.median(counts):.0f} triangulated points a frame (median)")
    if len(errors := error_of_triangulation(drive, frames)):
        median, share = np.median(np.abs(errors)), (np.abs(errors) < 0.1).mean()
        bias = np.median(errors)
        print(f"against exact depth: median |error| {median:.3f}, within 10 %: {share:.3f}, bias {bias:+.3f}")
    pipeline = DepthPipeline(load_engine(args.model))
    print(report_markdown(make_report(judge(frames, pipeline))))


if __name__ == "__main__":
    main()
