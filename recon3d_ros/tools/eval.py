"""recon3d eval: depth error of the network on a drive with LiDAR or exact depth."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recon3d_ros.core.drive import DriveError
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.tools.depth_error import (
    Depths,
    JudgedPixels,
    best_cap,
    best_constant,
    errors_by_range,
    ground_plane,
    judged_pixels,
    true_points,
)
from recon3d_ros.tools.file_input import FolderSource
from recon3d_ros.tools.inputs import InputOptions
from recon3d_ros.tools.run import add_pipeline_arguments, make_pipeline

COLUMNS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "silog", "delta1", "delta2", "delta3")

Table = dict[str, dict[str, dict[str, float]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `recon3d eval`."""
    parser.add_argument(
        "drive", type=Path, metavar="DRIVE", help="folder: image/, calibration.json, lidar/ or depth/"
    )
    add_pipeline_arguments(parser)
    parser.add_argument(
        "--camera-height", type=float, metavar="M", help="above the ground (default: calibration's)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


@dataclass(frozen=True)
class Evaluation:
    """The error of a network on a drive.

    Attributes:
        frames, pixels: how many were judged.
        invalid_share: of these pixels, how many the network calls invalid (they are left out).
        constant, cap: of the fitted baselines, metres; cap is None without a camera height.
        table: metrics by method and range of true depth.
    """

    frames: int
    pixels: int
    invalid_share: float
    constant: float
    cap: float | None
    table: Table


def main(args: argparse.Namespace) -> int:
    """Evaluates and prints; returns 1 if images were skipped."""
    pipeline = make_pipeline(args)
    source = FolderSource(args.drive, InputOptions())
    frames = judge(source, pipeline)
    calibrated = source.calibration.camera_height_m if source.calibration else None
    evaluation = evaluate(frames, args.camera_height or calibrated)
    info = pipeline.engine.info
    if args.json:
        print(json.dumps({"model": f"{info.name} {info.version}", "drive": str(args.drive), **vars(evaluation)}))
    else:
        print(f"{info.name} {info.version} on {args.drive}\n\n{_markdown(evaluation)}")
    for reason, count in source.skipped.items():
        print(f"skipped: {count} x {reason}", file=sys.stderr)
    return 1 if source.skipped else 0


def judge(source: FolderSource, pipeline: DepthPipeline) -> list[JudgedPixels]:
    """Returns the judged pixels of each image of a drive that has any.

    Raises:
        DriveError: if the drive holds no true depth.
    """
    frames = []
    for frame in tqdm(source, total=source.length, unit="frame", disable=None):
        points = true_points(source.drive, source.drive.images[frame.index], frame.camera.undistorted())
        if points is None:
            continue
        depth_frame = pipeline([frame.image], [frame.camera])[0]
        judged = judged_pixels(depth_frame, points, max_depth=pipeline.engine.info.max_depth)
        if judged.target.size:
            frames.append(judged)
    if not frames:
        raise DriveError(
            f"{source.path}: no true depth; expected lidar/NNNNNN.npy or depth/NNNNNN.png of its images"
        )
    return frames


def evaluate(frames: list[JudgedPixels], camera_height: float | None) -> Evaluation:
    """Returns the metrics of the network and of the baselines fitted to these very frames."""
    constant = best_constant(frames)
    cap = best_cap(frames, camera_height) if camera_height else None

    def network(frame: JudgedPixels) -> Depths:
        return frame.prediction

    def constant_depth(frame: JudgedPixels) -> Depths:
        return np.full_like(frame.target, constant)

    def flat_ground(frame: JudgedPixels) -> Depths:
        return ground_plane(frame, camera_height=camera_height or 0.0, cap=cap or 0.0)

    methods = {"network": network, f"best constant, {constant:.1f} m": constant_depth}
    if camera_height:
        methods[f"flat ground {camera_height:g} m below, at most {cap:.1f} m"] = flat_ground
    table = {
        name: {f"{low:g}-{high:g} m": metrics for (low, high), metrics in errors_by_range(frames, predict)}
        for name, predict in methods.items()
    }
    invalid = np.concatenate([~np.isfinite(frame.prediction) for frame in frames])
    return Evaluation(len(frames), invalid.size, float(invalid.mean()), constant, cap, table)


def _markdown(evaluation: Evaluation) -> str:
    """Returns one table over the whole range, and one of abs_rel and delta1 by range."""
    lines = [
        f"{evaluation.frames} frames, {evaluation.pixels} pixels with known depth, "
        f"{100 * evaluation.invalid_share:.2f} % of them invalid in the prediction and left out.",
        "",
        "| | " + " | ".join(COLUMNS) + " |",
        "|---|" + "---|" * len(COLUMNS),
    ]
    for name, ranges in evaluation.table.items():
        metrics = next(iter(ranges.values()), {})
        lines.append(f"| {name} | " + " | ".join(f"{metrics.get(c, np.nan):.3f}" for c in COLUMNS) + " |")
    ranges_known = list(evaluation.table[next(reversed(evaluation.table))])
    lines += ["", "| abs_rel / delta1 | " + " | ".join(ranges_known) + " |", "|---|" + "---|" * len(ranges_known)]
    for name, ranges in evaluation.table.items():
        cells = [
            f"{ranges[r]['abs_rel']:.3f} / {ranges[r]['delta1']:.3f}" if r in ranges else "-" for r in ranges_known
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
