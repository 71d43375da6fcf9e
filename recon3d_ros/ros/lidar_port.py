"""The LiDAR that the scale mode "lidar" goes by: its subscription, its last sweeps, and its health."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2

from recon3d_ros.core.encodings import EncodingError
from recon3d_ros.ros import messages
from recon3d_ros.ros.diagnostics import key_values

KEPT = 8  # sweeps; those around an image at the usual 10 Hz, however late the network is


@dataclass(frozen=True, eq=False)
class Sweep:
    """A sweep as it came.

    Attributes:
        number: counts the sweeps of this port.
        stamp: seconds.
        frame_id: the LiDAR's frame.
        points: (N, 3) float32 metres, LiDAR frame; no return at the LiDAR itself.
    """

    number: int
    stamp: float
    frame_id: str
    points: npt.NDArray[np.float32]


class LidarPort:
    """Keeps the last sweeps of a PointCloud2 topic. Without a topic it is always empty.

    Messages are stored by the executor's thread and decoded by the inference thread, which alone calls `sweeps`.
    """

    def __init__(self, node: LifecycleNode, topic: str, timeout: float) -> None:
        self.topic = topic
        self._timeout = timeout
        self._node = node
        self._arrived: deque[PointCloud2] = deque(maxlen=KEPT)
        self._sweeps: deque[Sweep] = deque(maxlen=KEPT)
        self._count = 0
        self._received = 0
        self._last_arrival = time.monotonic()
        self._error = ""
        self._is_bad = False  # the newest sweep
        self._subscription = None
        if topic:
            self._subscription = node.create_subscription(
                PointCloud2,
                topic,
                self._receive,
                QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )

    def sweeps(self) -> list[Sweep]:
        """Returns the last sweeps, oldest first."""
        while self._arrived:
            message = self._arrived.popleft()
            try:
                points = messages.points_from_msg(message)
            except EncodingError as error:
                self._error, self._is_bad = str(error), True
                continue
            self._is_bad = False
            stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
            if self._sweeps and stamp < self._sweeps[-1].stamp:
                self._sweeps.clear()  # a bag that loops
            self._count += 1
            is_return = (points != 0).any(axis=1)
            self._sweeps.append(Sweep(self._count, stamp, message.header.frame_id, points[is_return]))
        return list(self._sweeps)

    def report(self, *, is_active: bool) -> DiagnosticStatus:
        """Returns whether sweeps come; where they stop, the cameras go on with the last scale."""
        silence = time.monotonic() - self._last_arrival
        level, message = DiagnosticStatus.OK, "receiving"
        if not is_active:
            message = "not active"
        elif silence > self._timeout:
            level = DiagnosticStatus.STALE
            message = f"no sweep on {self.topic} for {silence:.1f} s; the last scale is held"
        elif self._is_bad:
            level, message = DiagnosticStatus.WARN, f"a sweep cannot be used: {self._error}"
        values = {"topic": self.topic, "received": self._received, "last_error": self._error}
        return DiagnosticStatus(
            level=level, name="recon3d_depth: lidar", message=message, values=key_values(values)
        )

    def destroy(self) -> None:
        """Removes the subscription from the node."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def _receive(self, message: PointCloud2) -> None:
        self._received += 1
        self._last_arrival = time.monotonic()
        self._arrived.append(message)
