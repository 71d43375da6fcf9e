"""Depth error of a drive against LiDAR or exact depth, beside the baselines that any network must beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import back_project
from recon3d_ros.core.drive import Drive, DriveError
from recon3d_ros.core.lidar import project, transform
from recon3d_ros.core.metrics import depth_metrics, mean_metrics
from recon3d_ros.core.pipeline import DepthFrame

Depths = npt.NDArray[np.float64]

MIN_DEPTH, MAX_DEPTH = 1.0, 80.0  # metres along z: the range that KITTI's literature judges depth in
RANGES = ((MIN_DEPTH, MAX_DEPTH), (MIN_DEPTH, 10.0), (10.0, 30.0), (30.0, MAX_DEPTH))
CAPS = np.arange(2.0, MAX_DEPTH + 0.25, 0.5)  # metres; tried for the ground plane


@dataclass(frozen=True)
class JudgedPixels:
    """The pixels of one frame where the true depth is known.

    Attributes:
        target: (N,) true depths, metres along z.
        prediction: (N,) the network's, metres; NaN where it is invalid.
        row: (N,) pixel rows.
        camera: of the depth image.
    """

    target: Depths
    prediction: Depths
    row: Depths
    camera: CameraModel


def true_points(drive: Drive, image: Path, camera: CameraModel) -> Depths | None:
    """Returns the (N, 3) points that are known of an image, metres in its optical frame, or None.

    Args:
        drive: with LiDAR sweeps and T_camera_lidar, or with exact depth.
        image: one of the drive's.
        camera: of the image, undistorted.
    """
    sweep = drive.lidar(image)
    if sweep is not None:
        if drive.calibration is None or drive.calibration.T_camera_lidar is None:
            raise DriveError(f"{drive.folder}: has lidar/ but its calibration has no T_camera_lidar")
        return transform(sweep, drive.calibration.T_camera_lidar)
    depth_mm = drive.depth_mm(image)
    if depth_mm is None:
        return None
    depth = np.where(depth_mm > 0, depth_mm * np.float32(0.001), np.float32(np.nan)).astype(np.float32)
    rays = camera.resized(width=depth.shape[1], height=depth.shape[0]).rays()
    points = back_project(depth, rays).reshape(-1, 3)
    return points[np.isfinite(points[:, 2])].astype(np.float64)


def judged_pixels(frame: DepthFrame, points: Depths, *, max_depth: float) -> JudgedPixels:
    """Returns a frame's depth at the pixels nearest to the projections of known points.

    Args:
        frame: the pipeline's output; +Inf counts as `max_depth`.
        points: (N, 3) metres, optical frame.
        max_depth: the network's, metres.
    """
    points = points[(points[:, 2] >= MIN_DEPTH) & (points[:, 2] <= MAX_DEPTH)]
    returns = project(points, frame.camera)
    prediction = np.minimum(frame.depth[returns.row, returns.column], max_depth).astype(np.float64)
    return JudgedPixels(returns.z, prediction, returns.row.astype(np.float64), frame.camera)


def best_constant(frames: Sequence[JudgedPixels]) -> float:
    """Returns the one depth with the least mean abs_rel over these very frames, metres.

    sum |c - t| / t is least at the median of t weighted by 1 / t; each frame weighs the same.
    """
    target = np.concatenate([frame.target for frame in frames])
    weight = np.concatenate([1 / (frame.target * len(frame.target)) for frame in frames])
    order = np.argsort(target)
    total = np.cumsum(weight[order])
    return float(target[order][np.searchsorted(total, total[-1] / 2)])


def ground_plane(frame: JudgedPixels, *, camera_height: float, cap: float) -> Depths:
    """Returns z = fy * height / (v - cy) of a level camera above flat ground, `cap` above the horizon, metres."""
    below = np.maximum(frame.row - frame.camera.cy, 1e-9)
    return np.minimum(frame.camera.fy * camera_height / below, cap)


def best_cap(frames: Sequence[JudgedPixels], camera_height: float) -> float:
    """Returns the cap of the ground plane with the least mean abs_rel over these very frames, metres."""

    def error(cap: float) -> float:
        planes = [ground_plane(frame, camera_height=camera_height, cap=cap) for frame in frames]
        return float(
            np.mean([np.mean(np.abs(p - f.target) / f.target) for p, f in zip(planes, frames, strict=True)])
        )

    return float(min(CAPS, key=error))


def errors_by_range(
    frames: Sequence[JudgedPixels], predict: Callable[[JudgedPixels], Depths]
) -> Iterator[tuple[tuple[float, float], dict[str, float]]]:
    """Yields each range of true depth and the metrics in it, averaged over the frames that have pixels there.

    Pixels whose prediction is NaN are left out.
    """
    for low, high in RANGES:
        metrics = []
        for frame in frames:
            prediction = predict(frame)
            kept = (frame.target >= low) & (frame.target <= high) & np.isfinite(prediction)
            if kept.any():
                metrics.append(depth_metrics(prediction[kept], frame.target[kept]))
        if metrics:
            yield (low, high), mean_metrics(metrics)
