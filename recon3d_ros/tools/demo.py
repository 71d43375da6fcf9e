"""recon3d demo: a recorded drive through the live depth node over real ROS 2 topics, recorded and measured."""

from __future__ import annotations

import argparse
import os
import random
import shutil
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from recon3d_ros.bags.cameras import find_cameras
from recon3d_ros.bags.reader import BagReader
from recon3d_ros.bags.topics import CameraTopics
from recon3d_ros.bags.writer import BagWriter
from recon3d_ros.core.image_files import write_image
from recon3d_ros.tools.bag_make import make_bag
from recon3d_ros.tools.demo_report import frame_table, last_diagnostics, latency_table, read_frames, truth_table
from recon3d_ros.tools.inputs import InputError
from recon3d_ros.tools.preview import preview_rows

PREVIEW_MOMENTS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `recon3d demo`."""
    parser.add_argument(
        "--bag", type=Path, help="your own rosbag2; default: the drive that ships with the package"
    )
    parser.add_argument("--image-topic", default="", help="which images, where the bag has several cameras")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"), help="folder of the results")
    parser.add_argument("--model", default="", help="one-file model; default: the one that ships with the package")
    parser.add_argument("--rate", type=float, default=1.0, help="times the bag's own pace")


def main(args: argparse.Namespace) -> int:
    """Plays, records, measures; returns 1 if no depth came out."""
    if not 0 < args.rate < float("inf"):
        raise InputError(f"--rate is {args.rate:g}, expected a positive number")
    args.output.mkdir(parents=True, exist_ok=True)
    bag = args.bag or bundled_bag(args.output / "drive")
    chosen = (args.image_topic,) if args.image_topic else ()
    with BagReader(bag) as reader:
        camera = find_cameras(reader, chosen)[0]
    set_environment()
    # rclpy is imported only here, so that `recon3d --help` works without ROS.
    from recon3d_ros.ros.live_run import play

    print(f"Playing {bag}, {camera.image}, through the live depth node ...", flush=True)
    recording, log = args.output / "out", args.output / "node.log"
    shutil.rmtree(recording, ignore_errors=True)
    with BagWriter(recording) as writer:
        _copy_static_transforms(bag, writer)
        run = play(bag, camera, writer, model=args.model, rate=args.rate, log=log)
    if run.skipped:
        print(f"not played, and not needed here (no Python package for their types): {', '.join(run.skipped)}")
    file = _single_file(recording, args.output / "out.mcap")
    said = last_diagnostics(file, camera.name)
    print(frame_table(run, said, camera))
    print(latency_table(run, said, camera))
    print(truth_table(file, bag, camera))
    depths = sorted(run.arrived.get(f"/{camera.name}/depth/image_rect", ()))
    if not depths:
        print(f"no depth came out; see {log}")
        return 1
    _write_preview(file, camera, depths, args.output / "preview.png")
    print(f"Look at {args.output / 'preview.png'}; open {file} in Foxglove, or play it to rviz2.")
    return 0


def set_environment() -> None:
    """Keeps to this host and to a DDS domain of its own: the demo neither hears nor disturbs a vehicle."""
    from recon3d_ros.ros.node_process import use_ros_environment

    os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 100)))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    use_ros_environment()


def bundled_bag(path: Path) -> Path:
    """Returns a rosbag2 of the drive that ships with the package, made anew."""
    shutil.rmtree(path, ignore_errors=True)
    with resources.as_file(resources.files("recon3d_ros") / "demo_drive") as drive:
        make_bag(drive, path, compressed=True)
    return path


def _copy_static_transforms(bag: Path, writer: BagWriter) -> None:
    """Takes the bag's static transforms over, so that the recording can be shown in the vehicle's frame."""
    with BagReader(bag) as reader:
        if "/tf_static" in reader.topics:
            for message in reader.messages(["/tf_static"]):
                writer.write_serialised(message.topic, message.type, message.data, reader.start_ns)


def _single_file(folder: Path, path: Path) -> Path:
    """Moves a bag's only storage file out of its folder; returns its new path."""
    (storage,) = folder.glob("*.mcap")
    storage.replace(path)
    shutil.rmtree(folder)
    return path


def _write_preview(recording: Path, camera: CameraTopics, stamps: list[int], path: Path) -> None:
    """Writes a picture of a few moments, spread evenly over the run."""
    moments = {stamps[i] for i in np.linspace(0, len(stamps) - 1, PREVIEW_MOMENTS + 2).astype(int)[1:-1]}
    frames = [frame for _, frame in read_frames(recording, camera.name, stamps=moments)]
    write_image(path, cv2.cvtColor(preview_rows(frames), cv2.COLOR_RGB2BGR))
