"""A live depth node and the nodes around it, in one process with its own context, over real DDS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy

from recon3d_ros.ros.depth_node import DepthNode

RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


class RosHarness:
    """Runs a DepthNode and a test node; collects what is published on the topics asked for."""

    def __init__(self, **parameters: Any) -> None:
        self.context = Context()
        rclpy.init(context=self.context)
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node = DepthNode(context=self.context, parameter_overrides=overrides)
        self.tester = Node("tester", context=self.context)
        self.received: dict[str, list[Any]] = {}
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._executor.add_node(self.tester)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def collect(self, topic: str, message_type: Any) -> list[Any]:
        """Subscribes to a topic; returns the list that its messages will be appended to."""
        messages = self.received.setdefault(topic, [])
        self.tester.create_subscription(message_type, topic, messages.append, RELIABLE)
        return messages

    def publisher(self, topic: str, message_type: Any) -> Any:
        return self.tester.create_publisher(message_type, topic, RELIABLE)

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
        """Waits until the condition holds, or fails saying what was waited for."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds} s in vain for {what}")
            time.sleep(0.01)

    def wait_until_connected(self, publishers: list[Any], topics: list[str]) -> None:
        """Waits until each publisher has a subscriber and each collected topic a publisher."""
        self.wait_for(lambda: all(p.get_subscription_count() > 0 for p in publishers), "the node to subscribe")
        self.wait_for(lambda: all(self.tester.count_publishers(t) > 0 for t in topics), "the node to publish")
        # Matching is symmetric but not simultaneous: the node's own side may still be under way.
        ours = [p for p in self.node.publishers if p.topic_name in topics]
        self.wait_for(lambda: all(p.get_subscription_count() > 0 for p in ours), "the node to see its subscribers")

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        # destroy_node leaves the lifecycle's services in the graph until the node is collected. While one of them
        # is half gone, a later test's client takes no service of that name for available.
        self.node._state_machine.destroy_when_not_in_use()
        self.tester.destroy_node()
        rclpy.try_shutdown(context=self.context)
