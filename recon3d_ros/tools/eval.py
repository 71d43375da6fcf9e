"""recon3d eval: depth error of the network on a drive or camera ring with LiDAR, or with exact depth."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from recon3d_ros.bags.bag_path import is_bag
from recon3d_ros.core.atomic_file import write_json
from recon3d_ros.core.judge import judge
from recon3d_ros.core.report import make_report
from recon3d_ros.core.report_tables import report_markdown
from recon3d_ros.core.truth import TrueFrames
from recon3d_ros.core.worst_frames import WorstFrames
from recon3d_ros.tools.html_report import write_html
from recon3d_ros.tools.inputs import InputError
from recon3d_ros.tools.run import add_pipeline_arguments, make_pipeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `recon3d eval`."""
    parser.add_argument(
        "drive",
        type=Path,
        metavar="DRIVE",
        help="folder: image/, calibration.json, lidar/ or depth/; or one moment of a camera ring",
    )
    add_pipeline_arguments(parser)
    parser.add_argument(
        "--camera-height", type=float, metavar="M", help="above the ground (default: calibration's)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="write the worst frames there, the worst first"
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write a report with the worst frames first, one file for a browser",
    )


def main(args: argparse.Namespace) -> int:
    """Evaluates and prints; returns 1 if images were skipped."""
    if is_bag(args.drive):
        raise InputError(
            f"{args.drive}: is a rosbag2; write it out first, with the checkout's "
            f"'python -m training.extract {args.drive} FOLDER'"
        )
    source = TrueFrames(args.drive, camera_height=args.camera_height)
    worst = WorstFrames(args.pictures) if args.pictures or args.html else None
    pipeline = make_pipeline(args)
    report = make_report(judge(tqdm(source, total=source.length, unit="frame", disable=None), pipeline, worst))
    info = pipeline.engine.info
    print(f"{info.name} {info.version} on {args.drive}\n\n{report_markdown(report)}")
    if not info.is_metric:
        print("\nnote: the model's depth is relative: only the figures with median scaling say anything of it")
    if args.json:
        model = {"name": info.name, "version": info.version, "sha256": info.sha256}
        write_json(args.json, {"model": model, "drive": str(args.drive), **asdict(report)})
    if worst is not None and args.pictures:
        print(f"\n{len(worst.write())} pictures in {args.pictures}")
    if worst is not None and args.html:
        write_html(
            args.html,
            title=f"{info.name} {info.version} on {args.drive.resolve().name}",
            facts={"model": f"{info.name} {info.version}", "sha256": info.sha256, "recording": str(args.drive)},
            markdown=report_markdown(report),
            worst=worst.pictures(),
        )
        print(f"\nreport: {args.html}")
    for reason, count in source.skipped.items():
        print(f"skipped: {count} x {reason}", file=sys.stderr)
    return 1 if source.skipped else 0
