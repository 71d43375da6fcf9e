"""Ways to put a large array into a message's data, side by side, and what the node's own conversions cost.

    python -m benchmarks.message_fill [--rounds 30]

Each round runs every way once, in random order, since one that allocates much slows its successor down; the
figures to trust are the ratios of one run.
"""

from __future__ import annotations

import argparse
import time
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from recon3d_ros.ros import messages

HEADER = Header(frame_id="camera")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    cloud = rng.integers(0, 256, (300_000, 16), dtype=np.uint8)
    print_table("msg.data of a 1280x720 bgr8 Image, 2.8 MB", measure(ways_to_fill(Image, image), rounds))
    print_table("msg.data of a PointCloud2, 300,000 x 16 bytes", measure(ways_to_fill(PointCloud2, cloud), rounds))
    print_table("conversions of the node", measure(conversions(image, rng), rounds))


def ways_to_fill(message_type: type, values: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Returns each way of filling a new message with the values."""

    def in_place() -> None:
        message_type().data.frombytes(values.reshape(-1).data)

    def private() -> None:
        data = array("B")
        data.frombytes(memoryview(values).cast("B"))
        message_type()._data = data

    def setter() -> None:
        data = array("B")
        data.frombytes(memoryview(values).cast("B"))
        message_type().data = data

    def from_bytes() -> None:
        message_type().data = values.tobytes()

    def from_ndarray() -> None:
        message_type().data = values.reshape(-1)

    return {
        "data.frombytes(view)": in_place,
        "array('B') to _data": private,
        "data = array('B')": setter,
        "data = tobytes()": from_bytes,
        "data = ndarray": from_ndarray,
    }


def conversions(image: np.ndarray, rng: np.random.Generator) -> dict[str, Callable[[], Any]]:
    """Returns the conversions of one frame: 720p in, depth and coloured cloud of 192x640 out."""
    message = messages.image_to_msg(image, HEADER)
    depth = rng.uniform(1, 80, (192, 640)).astype(np.float32)
    points = rng.normal(size=(192, 640, 3)).astype(np.float32)
    colors = rng.integers(0, 256, points.shape, dtype=np.uint8)
    return {
        "image_from_msg, 720p rgb8": lambda: messages.image_from_msg(message),
        "image_to_msg, 720p": lambda: messages.image_to_msg(image, HEADER),
        "depth_to_msg, 640x192 32FC1": lambda: messages.depth_to_msg(depth, HEADER, "32FC1"),
        "depth_to_msg, 640x192 16UC1": lambda: messages.depth_to_msg(depth, HEADER, "16UC1"),
        "points_to_msg, 640x192 xyz": lambda: messages.points_to_msg(points, HEADER),
        "points_to_msg, 640x192 xyzrgb": lambda: messages.points_to_msg(points, HEADER, colors),
    }


def measure(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Returns the median milliseconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for name in rng.permutation(names):
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) * 1e3 for name, values in seconds.items()}


def print_table(title: str, medians_ms: dict[str, float]) -> None:
    print(f"\n{title}: median of each\n")
    for name, milliseconds in medians_ms.items():
        print(f"  {name:32s} {milliseconds:9.3f} ms")


if __name__ == "__main__":
    main()
