"""Small drives and bags with known content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install -r requirements/runtime.txt")

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

HEIGHT, WIDTH = 48, 80
K = [[60.0, 0.0, 37.5], [0.0, 62.0, 20.25], [0.0, 0.0, 1.0]]
# A LiDAR 0.3 m above and 0.1 m behind the camera: x forward, y left, z up.
T_CAMERA_LIDAR = [[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, -0.3], [1.0, 0.0, 0.0, -0.1], [0.0, 0.0, 0.0, 1.0]]
CALIBRATION = {
    "width": WIDTH,
    "height": HEIGHT,
    "K": K,
    "distortion_model": "plumb_bob",
    "D": [0.0] * 5,
    "T_camera_lidar": T_CAMERA_LIDAR,
    "rate_hz": 20.0,
    "camera_height_m": 1.5,
}
STORE = get_typestore(Stores.ROS2_JAZZY)


def make_image(index: int, *, height: int = HEIGHT, width: int = WIDTH) -> npt.NDArray[np.uint8]:
    """Returns a (height, width, 3) BGR picture: two ramps, and noise of its own for each index."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(index).integers(0, 256, rows.shape)
    return np.stack([columns * 3, rows * 5, noise], axis=-1).clip(0, 255).astype(np.uint8)


def write_drive(folder: Path, count: int = 4, *, suffix: str = ".png", **changes: Any) -> Path:
    """Writes a drive with images, LiDAR, exact depth of half the image's size, and calibration.json.

    The LiDAR has four returns: straight ahead at 10 m, and 5, 20 and 40 m ahead to the sides. The exact depth is
    4 m plus 1 m for each row, 0 in the first column.
    """
    for name in ("image", "lidar", "depth"):
        (folder / name).mkdir(parents=True)
    depth_mm = (4000 + 1000 * np.arange(HEIGHT // 2, dtype=np.uint16))[:, None].repeat(WIDTH // 2, axis=1)
    depth_mm[:, 0] = 0
    sweep = np.array([[10, 0, 0, 0.5], [5, 1, -0.5, 0.25], [20, -3, 1, 0.75], [40, 8, -1, 1]], dtype=np.float32)
    for index in range(count):
        cv2.imwrite(str(folder / "image" / f"{index:06d}{suffix}"), make_image(index))
        cv2.imwrite(str(folder / "depth" / f"{index:06d}.png"), depth_mm)
        np.save(folder / "lidar" / f"{index:06d}.npy", sweep)
    (folder / "calibration.json").write_text(json.dumps({**CALIBRATION, **changes}))
    return folder


def read_bag(path: Path) -> dict[str, list[Any]]:
    """Returns the messages of each topic, read by rosbags alone."""
    from rosbags.highlevel import AnyReader

    messages: dict[str, list[Any]] = {}
    with AnyReader([path]) as reader:
        for connection, _stamp, data in reader.messages():
            messages.setdefault(connection.topic, []).append(reader.deserialize(data, connection.msgtype))
    return messages


def write_bag(
    path: Path,
    messages: list[tuple[str, Any, int]],
    *,
    storage: str = "mcap",
    compressed: bool = False,
    store: Any = STORE,
) -> Path:
    """Writes (topic, message, stamp in nanoseconds) with rosbags alone; `compressed` means zstd chunks."""
    writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    if compressed:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, Any] = {}
        for topic, message, stamp_ns in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], stamp_ns, store.serialize_cdr(message, kind))
    return path


def ros_message(kind: str, **fields: Any) -> Any:
    """Returns a message of rosbags' classes: ros_message("std_msgs/msg/String", data="hello")."""
    return STORE.types[kind](**fields)


def header(stamp_ns: int, frame_id: str = "camera_optical_frame") -> Any:
    stamp = ros_message("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return ros_message("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def image_message(pixels: npt.NDArray[np.uint8], stamp_ns: int, *, encoding: str = "bgr8", **fields: Any) -> Any:
    values = {
        "header": header(stamp_ns),
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "encoding": encoding,
        "is_bigendian": 0,
        "step": pixels[0].nbytes,
        "data": pixels.reshape(-1).view(np.uint8),
    }
    return ros_message("sensor_msgs/msg/Image", **{**values, **fields})


def camera_info_message(stamp_ns: int, *, width: int = WIDTH, height: int = HEIGHT, **fields: Any) -> Any:
    matrix = np.array(K)
    values = {
        "header": header(stamp_ns),
        "height": height,
        "width": width,
        "distortion_model": "plumb_bob",
        "d": np.zeros(5),
        "k": matrix.reshape(-1),
        "r": np.eye(3).reshape(-1),
        "p": np.hstack([matrix, np.zeros((3, 1))]).reshape(-1),
        "binning_x": 0,
        "binning_y": 0,
        "roi": ros_message(
            "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    }
    return ros_message("sensor_msgs/msg/CameraInfo", **{**values, **fields})


def camera_messages(
    count: int, *, namespace: str = "/camera", period_ns: int = 10**8
) -> list[tuple[str, Any, int]]:
    """Returns the messages of a camera: a CameraInfo after each image, both with the image's stamp."""
    messages = []
    for index in range(count):
        stamp_ns = 1_000_000_000 + index * period_ns
        messages.append((f"{namespace}/image_raw", image_message(make_image(index), stamp_ns), stamp_ns))
        messages.append((f"{namespace}/camera_info", camera_info_message(stamp_ns), stamp_ns))
    return messages


def cut(bag: Path, share: float) -> None:
    """Cuts the storage file of a bag off after a share of its bytes."""
    (file,) = [file for file in bag.iterdir() if file.suffix in (".mcap", ".db3")]
    file.write_bytes(file.read_bytes()[: round(file.stat().st_size * share)])
