"""One moment of a camera ring to a rosbag2, as a live node would meet it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from recon3d_ros.bags import messages as to_message
from recon3d_ros.bags.writer import BagWriter
from recon3d_ros.core.drive import DriveError
from recon3d_ros.core.lidar import transform
from recon3d_ros.core.ring import RingCamera, load_ring
from recon3d_ros.tools.bag_make import ENCODINGS, FORMATS
from recon3d_ros.tools.transforms import BASE_FRAME

MAP_FRAME = "map"
PERIOD_NS = 500_000_000  # between two repetitions: the rate of annotated key frames
LIDAR_TOPIC = "/lidar/points"


def make_ring_bag(
    folder: Path, output: Path, *, repeat: int = 1, compressed: bool = False, storage: str = "mcap"
) -> Counter[str]:
    """Writes a bag of a ring's one moment.

    Topics: /<camera>/image_raw (bgr8) or /<camera>/image_raw/compressed, /<camera>/camera_info, /lidar/points (in
    base_link, at the first camera's stamp), /tf (map -> base_link at each camera's stamp), and /tf_static
    (base_link -> <camera>_optical_frame).

    Args:
        folder: of the ring.
        output: folder of the bag; it must not exist.
        repeat: how often the moment comes, twice a second, each time with new stamps.
        compressed: CompressedImage, with the bytes of the image files unchanged.
        storage: "mcap" or "sqlite3".

    Returns:
        The number of messages on each topic.

    Raises:
        DriveError, CameraError, LidarError: the ring cannot be used.
        BagError: the output exists.
    """
    cameras = sorted(load_ring(folder), key=lambda camera: camera.stamp_ns)
    images = {camera.name: _image(camera, compressed=compressed) for camera in cameras}
    counts: Counter[str] = Counter()
    with BagWriter(output, storage=storage) as writer:

        def write(topic: str, message: Any, stamp_ns: int) -> None:
            writer.write(topic, message, stamp_ns)
            counts[topic] += 1

        fixed = [(BASE_FRAME, frame_of(camera), camera.T_base_camera) for camera in cameras]
        start_ns = cameras[0].stamp_ns
        write("/tf_static", to_message.static_tf_message(fixed, start_ns), start_ns)
        sweep = transform(cameras[0].points, cameras[0].T_base_camera)
        rows = np.column_stack([sweep, np.zeros(len(sweep))]).astype(np.float32)
        for round_ns in range(0, repeat * PERIOD_NS, PERIOD_NS):
            lidar_header = to_message.header(start_ns + round_ns, BASE_FRAME)
            write(LIDAR_TOPIC, to_message.lidar_message(rows, lidar_header), start_ns + round_ns)
            for camera in cameras:
                stamp_ns = camera.stamp_ns + round_ns
                header = to_message.header(stamp_ns, frame_of(camera))
                moving = [(MAP_FRAME, BASE_FRAME, camera.T_map_base)]
                write("/tf", to_message.static_tf_message(moving, stamp_ns), stamp_ns)
                write(
                    f"/{camera.name}/camera_info", to_message.camera_info_message(camera.camera, header), stamp_ns
                )
                topic, content, kind = images[camera.name]
                if compressed:
                    write(topic, to_message.compressed_message(content, kind, header), stamp_ns)
                else:
                    write(topic, to_message.image_message(content, kind, header), stamp_ns)
    return counts


def frame_of(camera: RingCamera) -> str:
    """Returns the name of a camera's optical frame."""
    return f"{camera.name}_optical_frame"


def _image(camera: RingCamera, *, compressed: bool) -> tuple[str, Any, str]:
    """Returns the topic of a camera's image, its content, and the format or encoding."""
    topic = f"/{camera.name}/image_raw"
    if compressed:
        return f"{topic}/compressed", camera.image.read_bytes(), FORMATS[camera.image.suffix.lower()]
    pixels = cv2.imread(str(camera.image), cv2.IMREAD_COLOR)
    if pixels is None:
        raise DriveError(f"{camera.image}: cannot be read as an image")
    return topic, pixels, ENCODINGS["bgr"]
