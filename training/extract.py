"""A rosbag2 with LiDAR as a drive folder to train on: `python -m training.extract BAG FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from recon3d_ros.core.calibration import load_calibration


def add_bag_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options on what to take of a bag."""
    bag = parser.add_argument_group("of a bag")
    bag.add_argument("--image-topic", default="", help="where it has more than one camera")
    bag.add_argument("--lidar-topic", default="", help="where it has more than one point cloud")
    bag.add_argument("--calibration", type=Path, help="instead of CameraInfo, and of TF with T_camera_lidar")
    bag.add_argument("--every", type=int, default=1, metavar="N", help="take each N-th image")


def check_bag_arguments(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the command where an option of a bag cannot be."""
    if options.every < 1:
        parser.error(f"--every is {options.every}, expected 1 or more")


def extract(bag: Path, folder: Path, options: argparse.Namespace) -> None:
    """Writes a bag's images, each with its sweep, as a drive folder and says what became of them.

    Args:
        bag: The recording.
        folder: Must not exist yet.
        options: With those of `add_bag_arguments`.

    Raises:
        BagError, CameraError, LidarError, OSError: As reading and writing raise them.
    """
    from training.datasets.bag import (  # rosbags, which adapting to a drive folder does not need
        BagFrames,
        extract_drive,
    )

    frames = BagFrames(
        bag,
        image_topic=options.image_topic,
        lidar_topic=options.lidar_topic,
        calibration=None if options.calibration is None else load_calibration(options.calibration),
    )
    count = extract_drive(frames, folder, every=options.every)
    motion = frames.ego_motion
    moved = f"moved by the motion of '{motion.frame}'" if motion else "not moved: the bag has no odometry"
    if frames.unmoved:
        moved += f", but for {frames.unmoved} outside of its time"
    print(f"{folder}: {count} images with a sweep, {moved}")
    for reason, number in frames.skipped.items():
        print(f"left out: {number} x {reason}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bag", type=Path, help="rosbag2 with images, CameraInfo, TF and a LiDAR's PointCloud2")
    parser.add_argument("folder", type=Path, help="drive folder to write")
    add_bag_arguments(parser)
    options = parser.parse_args(arguments)
    check_bag_arguments(parser, options)
    try:
        extract(options.bag, options.folder, options)
    except (OSError, ValueError) as error:  # those of bags, cameras and LiDARs are ValueErrors
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
