"""A folder of images or a video to a rosbag2."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2

from recon3d_ros.bags import messages as to_message
from recon3d_ros.bags.writer import BagWriter
from recon3d_ros.core.drive import DriveError
from recon3d_ros.tools.file_input import FolderSource, VideoSource
from recon3d_ros.tools.inputs import CameraFrame, InputError, InputOptions, open_input
from recon3d_ros.tools.transforms import LIDAR_FRAME

ENCODINGS = {"bgr": "bgr8", "bgra": "bgra8", "mono": "mono8"}
FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}


def make_bag(
    path: Path,
    output: Path,
    options: InputOptions = InputOptions(),  # noqa: B008 (frozen)
    *,
    compressed: bool = False,
    storage: str = "mcap",
) -> tuple[FolderSource | VideoSource, Counter[str]]:
    """Writes a bag of a folder of images or a video.

    Topics: /<camera>/image_raw (bgr8, bgra8 or mono8) or /<camera>/image_raw/compressed, /<camera>/camera_info,
    /tf_static (base_link -> <camera>_optical_frame -> lidar, as far as the calibration knows them),
    /lidar/points, and /<camera>/ground_truth/depth (16UC1) with its camera_info.

    Args:
        path: the folder or video.
        output: folder of the bag; it must not exist.
        options: how the input is read.
        compressed: CompressedImage, with the bytes of image files unchanged, instead of Image.
        storage: "mcap" or "sqlite3".

    Returns:
        The source, which says what was skipped, and the number of messages on each topic.

    Raises:
        InputError, DriveError, CameraError, BagError: the input cannot be used, or the output exists.
    """
    source = open_input(path, options)
    if not isinstance(source, FolderSource | VideoSource):
        raise InputError(f"{path}: is a bag already")
    counts: Counter[str] = Counter()
    with BagWriter(output, storage=storage) as writer:
        for message in source.static_transforms:
            writer.write("/tf_static", message, options.start_stamp_ns)
            counts["/tf_static"] += 1
        is_empty = True
        for frame in source:
            is_empty = False
            for topic, message in _messages(frame, source, compressed=compressed):
                writer.write(topic, message, frame.stamp_ns)
                counts[topic] += 1
        if is_empty:
            raise InputError(f"{path}: no image can be used: {'; '.join(source.skipped)}")
    return source, counts


def _messages(
    frame: CameraFrame, source: FolderSource | VideoSource, *, compressed: bool
) -> list[tuple[str, Any]]:
    """Returns what is recorded at the time of a frame: topics and messages."""
    header = to_message.header(frame.stamp_ns, frame.frame_id)
    camera = f"/{frame.camera_name}"
    file = source.drive.images[frame.index] if isinstance(source, FolderSource) else None
    messages: list[tuple[str, Any]] = [
        (f"{camera}/camera_info", to_message.camera_info_message(frame.camera, header))
    ]
    if compressed:
        content = file.read_bytes() if file else cv2.imencode(".jpg", frame.image.data)[1].tobytes()
        format = FORMATS[file.suffix.lower()] if file else "jpeg"
        image: Any = to_message.compressed_message(content, format, header)
        messages.append((f"{camera}/image_raw/compressed", image))
    else:
        image = to_message.image_message(frame.image.data, ENCODINGS[frame.image.channels], header)
        messages.append((f"{camera}/image_raw", image))
    if isinstance(source, FolderSource) and file is not None:
        messages += _truth(frame, source, file)
    return messages


def _truth(frame: CameraFrame, source: FolderSource, file: Path) -> list[tuple[str, Any]]:
    """Returns the LiDAR sweep and the exact depth of an image, where the drive has them."""
    messages: list[tuple[str, Any]] = []
    sweep, depth_mm = source.drive.lidar(file), source.drive.depth_mm(file)
    if sweep is not None:
        if source.calibration is None or source.calibration.T_camera_lidar is None:
            raise DriveError(f"{source.path}: has lidar/ but its calibration has no T_camera_lidar")
        lidar_header = to_message.header(frame.stamp_ns, LIDAR_FRAME)
        messages.append(("/lidar/points", to_message.lidar_message(sweep, lidar_header)))
    if depth_mm is not None:
        header = to_message.header(frame.stamp_ns, frame.frame_id)
        camera = frame.camera.resized(width=depth_mm.shape[1], height=depth_mm.shape[0])
        topic = f"/{frame.camera_name}/ground_truth"
        messages.append((f"{topic}/camera_info", to_message.camera_info_message(camera, header)))
        messages.append((f"{topic}/depth", to_message.image_message(depth_mm, "16UC1", header)))
    return messages
