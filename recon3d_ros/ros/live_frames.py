"""What a running depth node publishes, put together again frame by frame."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from recon3d_ros.core.camera_info import camera_from_info
from recon3d_ros.core.shown_frame import ShownFrame
from recon3d_ros.core.stamps import stamp_ns_of
from recon3d_ros.ros import messages

# One message of each of these topics makes a frame: they carry the same stamp.
PARTS = {"image_rect": Image, "depth/image_rect": Image, "depth/camera_info": CameraInfo, "scale": DiagnosticArray}
MAX_INCOMPLETE = 8  # frames of a camera that wait for a part; older ones have lost it
LATENCY = ("latency.", ".median_ms")


class LiveFrames:
    """Subscribes to the outputs of a node's cameras; use it in a `with` block and iterate.

    Frames that come faster than they are taken are lost, the oldest first.

    Args:
        cameras: their namespaces.
    """

    def __init__(self, cameras: Sequence[str]) -> None:
        self._context = Context()
        rclpy.init(context=self._context)
        node = Node("recon3d_view", context=self._context)
        self._frames: queue.Queue[ShownFrame] = queue.Queue(maxsize=4)
        self._parts: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        self._latency: dict[str, dict[str, float]] = defaultdict(dict)
        qos = QoSProfile(depth=4, reliability=ReliabilityPolicy.RELIABLE)
        for camera in cameras:
            for topic, kind in PARTS.items():
                node.create_subscription(kind, f"{camera}/{topic}", self._receiver(camera, topic), qos)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._receive_diagnostics, qos)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def __enter__(self) -> LiveFrames:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        rclpy.try_shutdown(context=self._context)
        self._thread.join()

    def __iter__(self) -> Iterator[ShownFrame]:
        """Yields frames as they come, for ever."""
        while True:
            yield self._frames.get()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _receiver(self, camera: str, topic: str) -> Any:
        def receive(message: Any) -> None:
            stamp_ns = stamp_ns_of(message.header)
            waiting = self._parts[camera]
            parts = waiting.setdefault(stamp_ns, {})
            parts[topic] = message
            if len(parts) == len(PARTS):
                del waiting[stamp_ns]
                self._put(self._frame(camera, stamp_ns, parts))
            while len(waiting) > MAX_INCOMPLETE:
                del waiting[next(iter(waiting))]

        return receive

    def _put(self, frame: ShownFrame) -> None:
        if self._frames.full():
            self._frames.get()
        self._frames.put(frame)

    def _frame(self, camera: str, stamp_ns: int, parts: Mapping[str, Any]) -> ShownFrame:
        scale = {item.key: item.value for item in parts["scale"].status[0].values}
        scales = {"scale": float(scale["scale"])}
        if scale["scale_measured"]:
            scales["single_frame"] = float(scale["scale_measured"])
        return ShownFrame(
            camera_name=camera,
            stamp_ns=stamp_ns,
            image=messages.image_from_msg(parts["image_rect"]).data,
            depth=messages.depth_from_msg(parts["depth/image_rect"]),
            camera=camera_from_info(parts["depth/camera_info"]),
            scales=scales,
            latency=dict(self._latency[camera]),
        )

    def _receive_diagnostics(self, message: DiagnosticArray) -> None:
        prefix, suffix = LATENCY
        for status in message.status:
            camera = status.name.removeprefix("recon3d_depth: ")
            self._latency[camera] = {
                item.key.removeprefix(prefix).removesuffix(suffix): float(item.value) * 1e-3
                for item in status.values
                if item.key.startswith(prefix) and item.key.endswith(suffix)
            }
