"""Metric depth error of a checkpoint on rendered shards and on a drive with LiDAR.

`python -m training.evaluate CHECKPOINT [--shards FOLDER] [--drive FOLDER]`
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.metrics import depth_metrics, mean_metrics
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.core.preprocess import RawImage
from training.checkpoints import load_network
from training.datasets import ShardFrames
from training.models.depth_network import DepthNetwork
from training.torch_engine import TorchEngine

MIN_RANGE, MAX_RANGE = 1.0, 80.0  # metres, as the KITTI literature evaluates
SURE_PART = 0.8  # part of the pixels that is kept to see whether confidence tells good from bad
HEIGHT, WIDTH = 192, 640


def frame_metrics(
    depth: npt.NDArray[np.float32], confidence: npt.NDArray[np.float32], target: npt.NDArray[np.float32]
) -> dict[str, float]:
    """Returns the error of one frame at the pixels whose true depth is within 1..80 m.

    Args:
        depth: (N,) metres; +Inf (nothing in range) counts as 80 m.
        confidence: (N,) 0..1.
        target: (N,) metres; NaN and Inf are left out.

    Returns:
        The metrics of recon3d_ros.core.metrics, and abs_rel_sure: abs_rel of the 80 % most confident pixels.
    """
    valid = (target >= MIN_RANGE) & (target <= MAX_RANGE)
    depth, confidence, target = np.clip(depth[valid], 1e-3, MAX_RANGE), confidence[valid], target[valid]
    metrics = depth_metrics(depth, target)
    sure = np.argsort(-confidence, kind="stable")[: max(1, int(SURE_PART * len(depth)))]
    metrics["abs_rel_sure"] = depth_metrics(depth[sure], target[sure])["abs_rel"]
    return metrics


def evaluate_shards(network: DepthNetwork, folder: Path, *, limit: int = 0) -> dict[str, float]:
    """Returns the per-frame average over rendered frames, evenly chosen if there are more than `limit`."""
    frames = ShardFrames([folder])
    count = min(limit, len(frames)) if limit else len(frames)
    results = []
    for index in np.linspace(0, len(frames) - 1, count).astype(int):
        frame = frames[int(index)]
        engine = TorchEngine(network, height=frame.camera.height, width=frame.camera.width)
        prediction = engine.infer(frame.image[None], np.array([frame.camera.fx], dtype=np.float32))
        if prediction.confidence is None:
            raise TypeError("the network gives no confidence")
        results.append(frame_metrics(prediction.depth.ravel(), prediction.confidence.ravel(), frame.depth.ravel()))
    return mean_metrics(results)


def evaluate_drive(network: DepthNetwork, folder: Path) -> dict[str, float]:
    """Returns the per-frame average over a drive with LiDAR, through the pipeline that the vehicle runs.

    Args:
        network: The network; its input is 192x640.
        folder: image/*.jpg, lidar/*.npy and calibration.json with T_camera_lidar.
    """
    calibration = json.loads((folder / "calibration.json").read_text())
    camera = CameraModel.from_calibration(
        width=calibration["width"],
        height=calibration["height"],
        K=calibration["K"],
        distortion_model=calibration.get("distortion_model", "none"),
        distortion=calibration.get("D", ()),
    )
    T_camera_lidar = np.asarray(calibration["T_camera_lidar"], dtype=np.float64)
    pipeline = DepthPipeline(TorchEngine(network, height=HEIGHT, width=WIDTH))
    results = []
    for path in sorted((folder / "lidar").glob("*.npy")):
        image = cv2.imread(str(folder / "image" / f"{path.stem}.jpg"), cv2.IMREAD_COLOR)
        if image is None:
            raise FileNotFoundError(f"{folder}/image/{path.stem}.jpg: no such image, or not readable")
        [frame] = pipeline([RawImage(image, "bgr")], [camera])
        if frame.confidence is None:
            raise TypeError("the network gives no confidence")
        target = project_lidar(np.load(path), T_camera_lidar, frame.camera)
        seen = ~np.isnan(frame.depth)
        results.append(frame_metrics(frame.depth[seen], frame.confidence[seen], target[seen]))
    if not results:
        raise FileNotFoundError(f"{folder}: no LiDAR sweep, expected lidar/NNNNNN.npy")
    return mean_metrics(results)


def project_lidar(
    sweep: npt.NDArray[np.float32], T_camera_lidar: npt.NDArray[np.float64], camera: CameraModel
) -> npt.NDArray[np.float32]:
    """Returns the depth image of a sweep: the nearest return of each pixel.

    Args:
        sweep: (N, 3 or more), x y z in metres, LiDAR frame.
        T_camera_lidar: (4, 4).
        camera: An undistorted camera.

    Returns:
        (height, width) float32 metres along z; NaN where there is no return.
    """
    points = sweep[:, :3].astype(np.float64) @ T_camera_lidar[:3, :3].T + T_camera_lidar[:3, 3]
    points = points[points[:, 2] > 0.1]
    columns, rows = np.rint(camera.project(points)).astype(int).T
    inside = (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
    nearest = np.full((camera.height, camera.width), np.inf, dtype=np.float32)
    np.minimum.at(nearest, (rows[inside], columns[inside]), points[inside, 2].astype(np.float32))
    nearest[np.isinf(nearest)] = np.nan
    return nearest


def format_metrics(metrics: dict[str, float]) -> str:
    """Returns the metrics on one line."""
    return " ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--shards", type=Path, help="folder of rendered shards")
    parser.add_argument("--drive", type=Path, help="drive folder with LiDAR")
    options = parser.parse_args(arguments)
    if options.shards is None and options.drive is None:
        parser.error("nothing to evaluate on: give --shards, --drive or both")
    network = load_network(options.checkpoint)
    if options.shards is not None:
        print("shards:", format_metrics(evaluate_shards(network, options.shards)))
    if options.drive is not None:
        print("drive: ", format_metrics(evaluate_drive(network, options.drive)))


if __name__ == "__main__":
    main()
