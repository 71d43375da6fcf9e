"""The depth node, whose context is shut down by Ctrl-C just before it publishes its third diagnostics."""

from __future__ import annotations

import sys

import rclpy

from recon3d_ros.ros.depth_node import DepthNode, main

publish = DepthNode._publish_diagnostics
calls = []


def publish_after_shutdown(node: DepthNode) -> None:
    calls.append(node)
    if len(calls) == 3:
        rclpy.try_shutdown()
    publish(node)


if __name__ == "__main__":
    DepthNode._publish_diagnostics = publish_after_shutdown
    sys.exit(main())
