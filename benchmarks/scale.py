"""Metric scale by mode, on a drive with LiDAR or exact depth: error, steadiness, obstacles against ground, time.

    python -m benchmarks.scale ../shared/data/kitti_drive --picture docs/images/scale.jpg
    python -m benchmarks.scale recon3d_ros/demo_drive --camera-height 1.63

The LiDAR's scale is judged on returns that it has not seen: each frame is scaled by what the sweeps of the frames
before say. So is the affine fit, inverse depth = a * predicted + b. `alone` is without the filter over time: what
a frame (of the LiDAR: the sweep before) says by itself.

Static structure is the road: returns within 0.2 m of level ground at the camera's height, 4-20 m ahead, at most
5 m to the side. `road off by` is the root mean square of the log median of true over scaled depth there; jitter
that of the change from one frame to the next, of log(scale) and of this log median.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks.scale_picture import split_picture, write_picture, write_split_picture
from recon3d_ros.core.cloud import RayTable
from recon3d_ros.core.evaluation import FrameScore, frame_score, judged_pixels, mean_score
from recon3d_ros.core.ground import nominal_plane
from recon3d_ros.core.lidar import Points, project, remove_occluded
from recon3d_ros.core.lidar_scale import LidarScale
from recon3d_ros.core.metrics import WHOLE_RANGE, range_name
from recon3d_ros.core.mounting import Mounting
from recon3d_ros.core.obstacles import GROUND, OBSTACLE, split_ground
from recon3d_ros.core.pipeline import DepthFrame, DepthPipeline
from recon3d_ros.core.scale import GroundScale, ScaleEstimate, apply
from recon3d_ros.core.truth import TrueFrame, TrueFrames
from recon3d_ros.engines import load_engine

MAX_RETURNS = 20_000  # of an exact depth image's points, as many as a sweep has in the image
DISTANCES = ((4, 10), (10, 20), (20, 40))
FEET = 25  # pixels, the window about a return in which another is beside it
PICTURES = 3
SWEEPS = 5  # of the affine fit, as many as LidarScale's

Depths = npt.NDArray[np.float64]
Pairs = tuple[Depths, Depths]
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("drive", type=Path)
    parser.add_argument("--model", default="", help="default: the one that ships with the package")
    parser.add_argument("--camera-height", type=float, help="above the road, metres (default: calibration's)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--picture", type=Path, help="write the scale over the frames there")
    parser.add_argument("--split-picture", type=Path, help="write some frames' obstacles and ground there")
    args = parser.parse_args()
    source = TrueFrames(args.drive, camera_height=args.camera_height)
    pipeline = DepthPipeline(load_engine(args.model, threads=args.threads))
    run = Run()
    for index, true in enumerate(tqdm(source, total=source.length, disable=None)):
        [frame] = pipeline([true.image], [true.camera])
        run.add(frame, thinned(true), 1.0 + 0.1 * index)
    run.report()
    if args.picture:
        write_picture(args.picture, run.scales)
    if args.split_picture:
        chosen = np.linspace(0, len(run.pictures) - 1, PICTURES).astype(int)
        write_split_picture(args.split_picture, [run.pictures[index] for index in chosen])


def thinned(true: TrueFrame) -> TrueFrame:
    step = max(1, len(true.points) // MAX_RETURNS)
    return dataclasses.replace(true, points=true.points[::step])


class Run:
    """All modes on the frames of one drive, side by side."""

    def __init__(self) -> None:
        self.scales: dict[str, list[float]] = defaultdict(list)
        self.scores: dict[str, list[FrameScore]] = defaultdict(list)
        self.road_ratio: dict[str, list[float]] = defaultdict(list)
        self.labels: dict[tuple[int, int], list[npt.NDArray[np.int64]]] = defaultdict(list)
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.held: dict[str, int] = defaultdict(int)
        self.pictures: list[npt.NDArray[np.uint8]] = []
        self._ground: GroundScale | None = None
        self._lidar = LidarScale(np.eye(4))
        self._last_sweep = LidarScale(np.eye(4), sweeps=1)
        self._before: dict[str, ScaleEstimate] = {}
        self._pairs: deque[Pairs] = deque(maxlen=SWEEPS)
        self._rays = RayTable()

    def add(self, frame: DepthFrame, true: TrueFrame, stamp: float) -> None:
        if true.camera_height is None:
            raise SystemExit("the camera's height is not known: give --camera-height")
        ground_scale = self._ground = self._ground or GroundScale(Mounting.level(true.camera_height))
        self.seconds["inference"].append(frame.latency["infer"])
        ground = self._timed("ground", lambda: ground_scale.update(frame, stamp))
        if self._before:
            alone = ground.measured if ground.measured is not None else ground.scale
            scales = {"model": 1.0, "ground": ground.scale, "ground, alone": alone}
            scales |= {name: estimate.scale for name, estimate in self._before.items()}
            for name, scale in scales.items():
                self.scales[name].append(scale)
                depth = apply(frame.depth, ScaleEstimate(scale, 0.0, name))
                self._judge(name, dataclasses.replace(frame, depth=depth), true)
            depth = affine(frame.depth, *fit_affine(list(self._pairs)))
            self._judge("lidar, affine", dataclasses.replace(frame, depth=depth), true)
            self._split(frame, ground, true)
            self.held["ground"] += ground.is_held
        self._take_sweep(frame, true.points, stamp)

    def _take_sweep(self, frame: DepthFrame, points: Points, stamp: float) -> None:
        def update() -> ScaleEstimate:
            self._lidar.add_sweep(points, stamp)
            return self._lidar.update(frame, stamp)

        lidar = self._timed("lidar", update)
        self.held["lidar"] += lidar.is_held
        self._last_sweep.add_sweep(points, stamp)
        alone = self._last_sweep.update(frame, stamp)
        measured = alone.scale if alone.measured is None else alone.measured
        self._before = {"lidar": lidar, "lidar, alone": dataclasses.replace(alone, scale=measured)}
        seen = project(remove_occluded(points, frame.camera), frame.camera)
        depth = frame.depth[seen.row, seen.column].astype(np.float64)
        used = np.isfinite(depth) & (seen.z >= 1.0) & (seen.z <= 80.0)
        self._pairs.append((depth[used], seen.z[used]))

    def _timed(self, name: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        self.seconds[name].append(time.perf_counter() - start)
        return result

    def _judge(self, name: str, frame: DepthFrame, true: TrueFrame) -> None:
        pixels = judged_pixels(frame, true.points)
        self.scores[name].append(frame_score(pixels.prediction, pixels.target))
        returns = project(true.points, frame.camera)
        x, y, z = true.points[returns.index].T
        depth = frame.depth[returns.row, returns.column]
        road = (np.abs(y - (true.camera_height or 0.0)) < 0.2) & (z > 4) & (z < 20) & (np.abs(x) < 5)
        road &= np.isfinite(depth)
        self.road_ratio[name].append(float(np.median(z[road] / depth[road])))

    def _split(self, frame: DepthFrame, estimate: ScaleEstimate, true: TrueFrame) -> None:
        ground = self._ground
        if ground is None or true.camera_height is None:
            raise RuntimeError("no ground scale yet")
        points = self._rays.points(apply(frame.depth, estimate), frame.camera)
        plane = ground.fit.plane.scaled(estimate.scale) if ground.fit.plane else nominal_plane(ground.mounting)
        labels = self._timed("split", lambda: split_ground(points, plane))
        seen = remove_occluded(true.points, frame.camera)
        returns = project(seen, frame.camera)
        said = labels[returns.row, returns.column]
        height = true.camera_height - seen[returns.index, 1]
        self.pictures.append(split_picture(frame.image, labels, returns, height))
        beside = np.zeros(labels.shape, np.uint8)
        is_obstacle = (height > 0.4) & (height < 2.5)
        beside[returns.row[is_obstacle], returns.column[is_obstacle]] = 1
        at_feet = cv2.dilate(beside, np.ones((FEET, FEET), np.uint8))[returns.row, returns.column] > 0
        for near, far in DISTANCES:
            inside = (returns.z >= near) & (returns.z < far)
            road, obstacle = inside & (np.abs(height) < 0.2), inside & is_obstacle
            wrong_road, wrong_obstacle = road & (said == OBSTACLE), obstacle & (said == GROUND)
            counts = [which.sum() for which in (road, wrong_road, wrong_road & at_feet, obstacle, wrong_obstacle)]
            self.labels[near, far].append(np.array(counts, dtype=np.int64))

    def report(self) -> None:
        whole = range_name(WHOLE_RANGE)
        print("| mode | abs_rel | delta1 | scale, mean | road off by | jitter of scale | jitter on the road |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for name, scores in self.scores.items():
            metric = mean_score(scores).metric[whole]
            road = np.log(self.road_ratio[name])
            scale = self.scales.get(name)
            mean, jitter = (
                ("-", "-") if scale is None else (f"{np.mean(scale):.3f}", f"{rms_change(np.log(scale)):.4f}")
            )
            print(
                f"| {name} | {metric['abs_rel']:.3f} | {metric['delta1']:.3f} | {mean} | "
                f"{np.sqrt(np.mean(road**2)):.3f} | {jitter} | {rms_change(road):.4f} |"
            )
        print(f"\n{len(self.scores['model'])} frames; held: {dict(self.held)}")
        print("\n| ahead | road returns | called obstacle | and beside one | 0.4-2.5 m above it | called ground |")
        print("|---|---:|---:|---:|---:|---:|")
        for (near, far), rows in self.labels.items():
            road, wrong_road, at_feet, obstacle, wrong_obstacle = np.sum(rows, axis=0)
            print(
                f"| {near}-{far} m | {road} | {100 * wrong_road / max(road, 1):.1f} % | "
                f"{100 * at_feet / max(wrong_road, 1):.0f} % | {obstacle} | "
                f"{100 * wrong_obstacle / max(obstacle, 1):.1f} % |"
            )
        inference = float(np.median(self.seconds["inference"]))
        print()
        for name, seconds in self.seconds.items():
            middle = float(np.median(seconds))
            print(f"{name}: {1e3 * middle:.1f} ms a frame in the median, {middle / inference:.3f} of inference")


def rms_change(values: Depths) -> float:
    return float(np.sqrt(np.mean(np.diff(values) ** 2)))


def fit_affine(pairs: list[Pairs]) -> tuple[float, float]:
    """Returns a and b of 1 / true = a / predicted + b with the least mean |relative error|."""
    predicted, true = (np.concatenate(values) for values in zip(*pairs, strict=True))
    rows = np.stack([1 / predicted, np.ones(len(true))], axis=-1)
    solution = np.array([1.0, 0.0])
    for _ in range(12):
        weights = true**2 / np.maximum(np.abs(rows @ solution * true - 1), 0.02)
        weighted = rows * weights[:, None]
        solution = np.linalg.solve(weighted.T @ rows, weighted.T @ (1 / true))
    return float(solution[0]), float(solution[1])


def affine(depth: npt.NDArray[np.float32], a: float, b: float) -> npt.NDArray[np.float32]:
    with np.errstate(divide="ignore"):
        inverse = np.float32(a) / depth + np.float32(b)
        return np.where(np.isnan(depth), np.nan, np.where(inverse > 0, 1 / inverse, np.inf)).astype(np.float32)


if __name__ == "__main__":
    main()
