"""A node's process, from its start to its end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import TypeVar

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

AnyNode = TypeVar("AnyNode", bound=Node)


def run_node(
    name: str,
    make: Callable[[], AnyNode],
    *,
    refusals: tuple[type[Exception], ...],
    prepare: Callable[[AnyNode], bool] = lambda node: True,
    arguments: Sequence[str] | None = None,
) -> int:
    """Makes a node and spins it until it is told to stop.

    Args:
        name: of the node, for the log while there is no node.
        make: makes it.
        refusals: what `make` raises where the user is to be told, without a traceback.
        prepare: called before the node spins; returns whether it may.
        arguments: of the command line, where they are not the process's own.

    Returns:
        The process's status: 0 after Ctrl-C or a shutdown, 1 if the node could not start.
    """
    node = None
    try:
        rclpy.init(args=arguments)
    except RuntimeError as error:  # a parameter file or argument that ROS cannot parse
        rclpy.logging.get_logger(name).fatal(str(error))
        return 1
    try:
        node = make()
        if not prepare(node):
            return 1
        rclpy.spin(node)
    except refusals as error:
        rclpy.logging.get_logger(name).fatal(str(error))
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # Ctrl-C shuts the context down under whatever is being waited for or published, seen once in 200 ends.
        if rclpy.ok():
            raise
    finally:
        # Under ros2 launch Ctrl-C arrives twice; the second must not cut the clean stop short.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0
