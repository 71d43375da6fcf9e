"""How a labeller of streets fares on a real drive: `python -m training.labels.look CHECKPOINT DRIVE OUT.jpg`.

The picture has a row for each of a few frames: the LiDAR's returns in the image, and the points of the shipped
depth network, both coloured by their labels. Real clouds come without the truth: it is to be looked at.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.atomic_file import open_atomically
from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import RayTable
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.core.preprocess import Rectifier
from recon3d_ros.engines import default_model_path, load_engine
from training.checkpoints import load_network
from training.datasets.drive import DriveFrames
from training.evaluate_points import point_scores
from training.labels.blocks import label_cloud
from training.labels.streets import LABELS, RANGE

Array = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]
# RGB of other, ground, building, vegetation, pole, person, vehicle.
COLOURS = np.array(
    [(150, 150, 150), (150, 100, 60), (70, 120, 255), (60, 200, 70), (255, 220, 0), (255, 0, 220), (255, 50, 40)],
    np.uint8,
)
STRIDE = 3
WIDTH = 640


def road_points(points: npt.NDArray[np.floating], camera_height: float) -> Array:
    """Returns optical points (N, 3) as training.labels.streets has them: x forward, y left, z above the road."""
    return np.stack([points[:, 2], -points[:, 0], camera_height - points[:, 1]], axis=1).astype(np.float32)


def draw(image: Picture, camera: CameraModel, points: Array, labels: npt.NDArray[np.int64]) -> Picture:
    """Returns the image, darkened and WIDTH pixels wide, with optical points (N, 3) in their labels' colours."""
    scale = WIDTH / image.shape[1]
    height = round(image.shape[0] * scale)
    shown = np.asarray(cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA) // 2, np.uint8)
    order = np.argsort(-points[:, 2])
    projected = points[order] @ camera.K.T
    pixels = (scale * projected[:, :2] / projected[:, 2:]).tolist()
    for (u, v), label in zip(pixels, labels[order].tolist(), strict=True):
        cv2.circle(shown, (round(u), round(v)), 1, COLOURS[label].tolist(), -1)
    return shown


def legend() -> Picture:
    """Returns the names of the labels in their colours, a strip twice WIDTH wide."""
    strip = np.full((24, 2 * WIDTH, 3), 20, np.uint8)
    for k, name in enumerate(LABELS):
        place = (12 + k * 2 * WIDTH // len(LABELS), 17)
        cv2.putText(strip, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, COLOURS[k].tolist(), 1, cv2.LINE_AA)
    return strip


@dataclass(frozen=True)
class Look:
    """What a labeller makes of a drive.

    Attributes:
        picture: (H, W, 3) uint8 RGB.
        counts: How many points of each kind of cloud ("lidar", "depth") got each label, (7,).
        depth_seconds, label_seconds: Times of the depth network and of the labels of its points, for each frame.
    """

    picture: Picture
    counts: dict[str, npt.NDArray[np.int64]]
    depth_seconds: list[float]
    label_seconds: list[float]


def look(checkpoint: Path, folder: Path, *, frames: int) -> Look:
    """Returns what the labeller of a checkpoint makes of a drive.

    Raises:
        CheckpointError, DriveError: A file cannot be used.
        ValueError: The network has other labels, or the drive's calibration lacks the camera's height.
    """
    network = load_network(checkpoint, "labels")
    if network.config.labels != LABELS:
        raise ValueError(f"{checkpoint}: has the labels {network.config.labels}, expected {LABELS}")
    scores_of = point_scores(network)
    drive, pipeline, rays = DriveFrames(folder), DepthPipeline(load_engine(default_model_path())), RayTable()
    rows, depth_seconds, label_seconds = [legend()], [], []
    counts = {"lidar": np.zeros(len(LABELS), np.int64), "depth": np.zeros(len(LABELS), np.int64)}
    for index in np.linspace(0, len(drive) - 1, frames).round().astype(int):
        true = drive.true_frame(int(index))
        if true.camera_height is None:
            raise ValueError(f"{folder}: calibration.json lacks the camera's height above the road")
        (frame,) = pipeline([true.image], [true.camera])
        depth = rays.points(frame.depth, frame.camera, stride=STRIDE).reshape(-1, 3)
        rectifier = Rectifier(true.camera, width=true.camera.width, height=true.camera.height)
        tiles = []
        for kind, image, camera, points in (
            ("lidar", rectifier(true.image), rectifier.camera, np.asarray(true.points, np.float32)),
            ("depth", frame.image, frame.camera, depth),
        ):
            ahead = points[(points[:, 2] > RANGE[0]) & (points[:, 2] < RANGE[1])]
            start = time.perf_counter()
            labels = label_cloud(road_points(ahead, true.camera_height), scores_of)
            seconds = time.perf_counter() - start  # of the depth cloud, which comes last
            counts[kind] += np.bincount(labels, minlength=len(LABELS))
            tiles.append(draw(image, camera, ahead, labels))
        depth_seconds.append(frame.latency["infer"])
        label_seconds.append(seconds)
        height = max(len(tile) for tile in tiles)
        padded = [cv2.copyMakeBorder(t, 0, height - len(t), 0, 0, cv2.BORDER_CONSTANT) for t in tiles]
        rows.append(np.hstack([np.asarray(tile, np.uint8) for tile in padded]))
    return Look(np.vstack(rows), counts, depth_seconds, label_seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Shows a labeller of streets on a real drive.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("drive", type=Path, help="drive folder with LiDAR and the camera's height")
    parser.add_argument("out", type=Path, help="a .jpg or .png file")
    parser.add_argument("--frames", type=int, default=4)
    options = parser.parse_args(arguments)
    if options.out.suffix not in (".jpg", ".png"):
        parser.error(f"{options.out}: give a .jpg or .png file")
    try:
        seen = look(options.checkpoint, options.drive, frames=options.frames)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 70] if options.out.suffix == ".jpg" else []
        _, data = cv2.imencode(options.out.suffix, np.ascontiguousarray(seen.picture[..., ::-1]), quality)
        with open_atomically(options.out) as file:
            file.write(data.tobytes())
    except (OSError, ValueError, RuntimeError) as error:
        parser.exit(1, f"{error}\n")
    for kind, count in seen.counts.items():
        shares = count / max(count.sum(), 1)
        print(f"{kind:6} " + "  ".join(f"{name} {share:.1%}" for name, share in zip(LABELS, shares, strict=True)))
    depth_ms, label_ms = (1e3 * np.median(values) for values in (seen.depth_seconds, seen.label_seconds))
    print(f"median: depth network {depth_ms:.0f} ms, labels of every {STRIDE}rd pixel's point {label_ms:.0f} ms")


if __name__ == "__main__":
    main()
