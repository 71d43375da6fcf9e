"""Records topics as they come over DDS, serialised, with the time at which each message arrived."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from recon3d_ros.ros.replay import header_stamp_ns

QUEUE = 100  # messages that may wait while one is being written


@dataclass(frozen=True)
class RecordedMessage:
    """A message off the wire.

    Attributes:
        topic: its full name.
        type: for example "sensor_msgs/msg/Image".
        stamp_ns: of its header.
        arrival: on the monotonic clock, seconds.
        data: its CDR bytes.
    """

    topic: str
    type: str
    stamp_ns: int
    arrival: float
    data: bytes


class Recorder:
    """Subscribes to topics whose messages begin with a header, and hands each message on undecoded.

    Args:
        node: the node to subscribe with.
        topics: message class by full topic name.
        on_message: called in the executor's thread.
    """

    def __init__(self, node: Node, topics: dict[str, Any], on_message: Callable[[RecordedMessage], None]) -> None:
        qos = QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.RELIABLE)
        for topic, message_class in topics.items():
            package = message_class.__module__.partition(".")[0]
            receive = _receiver(topic, f"{package}/msg/{message_class.__name__}", on_message)
            node.create_subscription(message_class, topic, receive, qos, raw=True)


def _receiver(
    topic: str, type_name: str, on_message: Callable[[RecordedMessage], None]
) -> Callable[[bytes], None]:
    def receive(data: bytes) -> None:
        on_message(RecordedMessage(topic, type_name, header_stamp_ns(data), time.monotonic(), data))

    return receive
