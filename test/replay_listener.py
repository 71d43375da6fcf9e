"""A process that hears what is replayed until its input is closed, then prints what it heard as JSON."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

QOS = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)


class Listener(Node):
    """Keeps the order in which stamps arrive on /clock and the camera's topics."""

    def __init__(self) -> None:
        super().__init__("listener")
        self.heard: list[tuple[str, int, float, str]] = []
        self.create_subscription(Clock, "/clock", self._hear_clock, QOS)
        for topic, kind in (("/camera/image_raw", Image), ("/camera/camera_info", CameraInfo)):
            self.create_subscription(kind, topic, lambda message, topic=topic: self._hear(topic, message), QOS)

    def _hear_clock(self, message: Clock) -> None:
        self._add("/clock", message.clock, "")

    def _hear(self, topic: str, message: Any) -> None:
        digest = hashlib.sha256(bytes(message.data)).hexdigest() if topic.endswith("image_raw") else ""
        self._add(topic, message.header.stamp, digest)

    def _add(self, topic: str, stamp: Any, digest: str) -> None:
        self.heard.append((topic, stamp.sec * 10**9 + stamp.nanosec, time.monotonic(), digest))


def main() -> None:
    rclpy.init()
    node = Listener()
    thread = threading.Thread(target=rclpy.spin, args=(node,), daemon=True)
    thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    rclpy.shutdown()
    thread.join()
    print(json.dumps(node.heard))


if __name__ == "__main__":
    main()
