"""Obstacles near the vehicle: how many the network shows too far, too near, and where the lane is free.

    python -m benchmarks.obstacles ../shared/data/kitti_drive --camera-height 1.65
    python -m benchmarks.obstacles ../shared/data/kitti_poses --camera-height 1.65 --lane-is-free

With LiDAR or exact depth: of the points 0.4 to 2.5 m above the road and within 20 m, the share shown farther than
1.25 times their depth (missed) and nearer than 0.8 times (phantom), averaged over images with 20 such points.

With --lane-is-free, on a drive whose lane is known to be free: the share of images that show 20 or more points 0.4
to 2 m above the road in a corridor 1.8 m wide, 1.5 to 12 m ahead (every second row and column of the depth image).

The camera counts as level above a level road.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import back_project
from recon3d_ros.core.drive import DriveError, load_drive
from recon3d_ros.core.encodings import decode_compressed
from recon3d_ros.core.lidar import Points, project
from recon3d_ros.core.metrics import MIN_DEPTH
from recon3d_ros.core.network_size import DEFAULT_NETWORK_PIXELS
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.core.truth import TrueFrames
from recon3d_ros.engines import load_engine

T = TypeVar("T")

MIN_POINTS = 20
LOWEST = 0.4  # metres above the road
HIGHEST_POINT, FARTHEST_POINT = 2.5, 20.0  # metres; of the points that are judged
TOO_FAR, TOO_NEAR = 1.25, 0.8  # shown over true depth
LANE_HALF_WIDTH, LANE_HIGHEST, LANE_START, LANE_END = 0.9, 2.0, 1.5, 12.0  # metres


def missed_and_phantom(
    depth: npt.NDArray[np.float32], camera: CameraModel, points: Points, height: float
) -> tuple[float, float] | None:
    """Returns the shares of near obstacles' points that are shown too far and too near.

    Args:
        depth: (h, w) metres, +Inf where nothing is in range.
        camera: Of the depth image.
        points: (N, 3) metres, the camera's optical frame: what is there.
        height: Of the camera above the road, metres.

    Returns:
        The two shares, or None where fewer than MIN_POINTS points can be judged.
    """
    above, z = height - points[:, 1], points[:, 2]
    is_obstacle = (above > LOWEST) & (above < HIGHEST_POINT) & (z > MIN_DEPTH) & (z < FARTHEST_POINT)
    found = project(points[is_obstacle], camera)
    if len(found.z) < MIN_POINTS:
        return None
    ratio = depth[found.row, found.column] / found.z
    return float(np.mean(ratio > TOO_FAR)), float(np.mean(ratio < TOO_NEAR))


def is_lane_blocked(depth: npt.NDArray[np.float32], camera: CameraModel, height: float) -> bool:
    """Returns whether the depth image shows something standing in the lane ahead; arguments as above."""
    points = back_project(depth, camera.rays())[::2, ::2].reshape(-1, 3)
    x, above, z = points[:, 0], height - points[:, 1], points[:, 2]
    with np.errstate(invalid="ignore"):
        inside = (np.abs(x) < LANE_HALF_WIDTH) & (z > LANE_START) & (z < LANE_END)
        return int((inside & (above > LOWEST) & (above < LANE_HIGHEST)).sum()) >= MIN_POINTS


def blocked_share(folder: Path, pipeline: DepthPipeline, height: float) -> str:
    """Returns the row of a drive whose lane is free."""
    drive = load_drive(folder)
    if drive.calibration is None:
        raise DriveError(f"{folder}: has no calibration.json, which says what the camera is")
    camera = drive.calibration.camera
    frames = (pipeline([decode_compressed(path.read_bytes())], [camera])[0] for path in drive.images)
    blocked = [is_lane_blocked(frame.depth, frame.camera, height) for frame in _bar(frames, len(drive.images))]
    return f"{len(blocked)} images, the free lane looks blocked in {np.mean(blocked):.3f}"


def obstacle_shares(folder: Path, pipeline: DepthPipeline, height: float | None) -> str:
    """Returns the row of a drive or ring with LiDAR or exact depth."""
    source = TrueFrames(folder, camera_height=height)
    shares = []
    for true in _bar(source, source.length):
        if true.camera_height is None:
            raise DriveError(f"{folder}: the camera's height is unknown; give --camera-height")
        [frame] = pipeline([true.image], [true.camera])
        found = missed_and_phantom(frame.depth, frame.camera, true.points, true.camera_height)
        if found is not None:
            shares.append(found)
    if not shares:
        raise DriveError(f"{folder}: no image has {MIN_POINTS} points of near obstacles")
    missed, phantom = np.mean(shares, axis=0)
    return f"{len(shares)} images, missed {missed:.3f}, phantom {phantom:.3f}"


def _bar(frames: Iterable[T], length: int) -> Iterator[T]:
    yield from tqdm(frames, total=length, unit="frame", disable=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("drive", type=Path, help="folder of images with calibration.json, or a camera ring")
    parser.add_argument("--model", default="", help="one-file model; default: the shipped one")
    parser.add_argument(
        "--network-pixels", type=int, default=DEFAULT_NETWORK_PIXELS, help="0: the model's own size"
    )
    parser.add_argument("--camera-height", type=float, help="above the road, metres; default: calibration's")
    parser.add_argument("--lane-is-free", action="store_true", help="count the images whose lane looks blocked")
    args = parser.parse_args()
    if args.lane_is_free and args.camera_height is None:
        parser.error("--lane-is-free needs --camera-height")
    pipeline = DepthPipeline(load_engine(args.model), network_pixels=args.network_pixels)
    if args.lane_is_free:
        print(blocked_share(args.drive, pipeline, args.camera_height))
    else:
        print(obstacle_shares(args.drive, pipeline, args.camera_height))


if __name__ == "__main__":
    main()
