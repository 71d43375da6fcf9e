"""Records topics as they come over DDS, serialised, with the time at which each message arrived."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message


@dataclass(frozen=True)
class RecordedMessage:
    """A message off the wire: its topic and type, its bytes, and its arrival on the monotonic clock, seconds."""

    topic: str
    message_type: Any
    data: bytes
    arrival: float

    def decode(self) -> Any:
        return deserialize_message(self.data, self.message_type)


class Recorder:
    """Subscribes to topics and hands each message on, undecoded."""

    def __init__(self, node: Node, topics: dict[str, Any], on_message: Callable[[RecordedMessage], None]) -> None:
        """Subscribes at once.

        Args:
            node: the node to subscribe with.
            topics: message class by topic.
            on_message: called in the executor's thread.
        """
        self.counts = dict.fromkeys(topics, 0)
        self._on_message = on_message
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        for topic, message_type in topics.items():
            node.create_subscription(message_type, topic, self._receiver(topic, message_type), qos, raw=True)

    def _receiver(self, topic: str, message_type: Any) -> Callable[[bytes], None]:
        def receive(data: bytes) -> None:
            self.counts[topic] += 1
            self._on_message(RecordedMessage(topic, message_type, data, time.monotonic()))

        return receive
