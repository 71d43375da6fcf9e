"""What `recon3d run` reads: the frames of a bag, a video or a folder of images, one after another."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from recon3d_ros.bags.bag_path import is_bag
from recon3d_ros.core.calibration import Calibration, load_calibration
from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.preprocess import RawImage
from recon3d_ros.core.ring import is_ring

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v")


class InputError(ValueError):
    """A recording that is neither bag, video nor folder of images, or lacks what is needed to use it."""


@dataclass(frozen=True)
class CameraFrame:
    """An image and the camera that took it.

    Attributes:
        index: of the image among those of its camera, counted from 0, unusable ones included.
        stamp_ns: of the header; of a file without stamps, counted from its rate.
        frame_id: the camera's optical frame.
        camera_name: the namespace of its topics, without slashes around.
        image, camera: fit each other in size.
    """

    index: int
    stamp_ns: int
    frame_id: str
    camera_name: str
    image: RawImage
    camera: CameraModel


@dataclass(frozen=True)
class InputOptions:
    """How a recording is to be read.

    Attributes:
        calibration: used instead of what the recording says of its camera.
        hfov_deg: horizontal field of view to guess the camera of a video or folder from.
        rate_hz: of a folder of images.
        start_stamp_ns: of the first frame of a video or folder.
        camera_name: of a video or folder: the namespace of its topics, from which its frame_id is made.
        image_topics: of a bag, one for each camera; empty where it has only one.
        rectified: the images have no lens distortion any more.
    """

    calibration: Calibration | None = None
    hfov_deg: float | None = None
    rate_hz: float | None = None
    start_stamp_ns: int = 1_700_000_000_000_000_000
    camera_name: str = "camera"
    image_topics: tuple[str, ...] = ()
    rectified: bool = False


class FrameSource(Protocol):
    """Frames in the order in which they were recorded.

    Attributes:
        camera_names: the cameras whose frames come.
        length: how many images there are to read, None where the file does not say.
        notes: what the user should know of how it is read.
        skipped: why images could not be used, and how many; complete after iteration.
        damage: sentences on what the file has lost; complete after iteration.
        static_transforms: messages of /tf_static, of rosbags' classes.
    """

    camera_names: list[str]
    length: int | None
    notes: list[str]
    skipped: Counter[str]
    damage: list[str]
    static_transforms: list[Any]

    def __iter__(self) -> Iterator[CameraFrame]: ...


def open_input(path: Path, options: InputOptions) -> FrameSource:
    """Returns the frames of a rosbag2, a video file or a folder of images.

    Raises:
        InputError, BagError, DriveError, CameraError: the recording or its calibration cannot be used.
    """
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    if is_bag(path):
        from recon3d_ros.tools.bag_input import BagSource

        return BagSource(path, options)
    from recon3d_ros.tools.file_input import FolderSource, VideoSource

    if path.is_dir():
        if is_ring(path):
            raise InputError(f"{path}: is a camera ring; make a bag of it with 'recon3d bag make {path} -o BAG'")
        return FolderSource(path, options)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return VideoSource(path, options)
    raise InputError(
        f"{path}: is no recording; expected a rosbag2, a folder of images, or one of {', '.join(VIDEO_SUFFIXES)}"
    )


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that input_options reads."""
    parser.add_argument("--calibration", type=Path, metavar="FILE", help="calibration.json or camera_info YAML")
    parser.add_argument(
        "--hfov-deg", type=float, metavar="DEG", help="guess the camera from its horizontal field of view"
    )
    parser.add_argument("--rate", type=float, metavar="HZ", help="of a folder of images (default: rate_hz)")


def input_options(args: argparse.Namespace) -> InputOptions:
    """Returns the options given on the command line."""
    return InputOptions(
        calibration=load_calibration(args.calibration) if args.calibration else None,
        hfov_deg=args.hfov_deg,
        rate_hz=args.rate,
        image_topics=tuple(getattr(args, "image_topic", None) or ()),
        rectified=getattr(args, "rectified", False),
    )
