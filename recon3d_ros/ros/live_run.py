"""A bag played through a live depth node in its own process; what the node publishes is recorded."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.camera_info import camera_from_info
from recon3d_ros.core.pipeline import DepthFrame
from recon3d_ros.ros.messages import depth_from_msg, image_from_msg
from recon3d_ros.ros.node_process import NodeProcess
from recon3d_ros.ros.recorder import RecordedMessage, Recorder
from recon3d_ros.ros.replay import BagReplay
from recon3d_ros.tools.bag_input import CameraTopics
from recon3d_ros.tools.bag_writer import BagWriter

START_SECONDS = 30.0  # for the node to load its network and for DDS to connect
QUIET_SECONDS = 1.0  # without a new message: the node has caught up
OUTPUTS = {"depth/image_rect": Image, "depth/camera_info": CameraInfo, "image_rect": Image, "points": PointCloud2}


class LiveRunError(RuntimeError):
    """The node did not come up; its log says why."""


@dataclass
class LiveRun:
    """What went in and what came out; stamps in nanoseconds, times on the monotonic clock in seconds.

    Attributes:
        recording: the mcap file of all outputs.
        published: when each image was put on its topic, by its stamp.
        arrived: when each output message arrived, by topic and stamp.
        frames: the depth frames, by stamp.
        diagnostics: the node's last values for the camera, by key.
    """

    recording: Path
    published: dict[int, float] = field(default_factory=dict)
    arrived: dict[str, dict[int, float]] = field(default_factory=dict)
    frames: dict[int, DepthFrame] = field(default_factory=dict)
    diagnostics: dict[str, str] = field(default_factory=dict)


def play(bag: Path, camera: CameraTopics, output: Path, *, model: str = "", rate: float = 1.0) -> LiveRun:
    """Plays a bag through a node and records what it publishes.

    Args:
        bag: the rosbag2.
        camera: the topics of the camera to use.
        output: folder for out.mcap (replaced when whole) and node.log.
        model: the node's model file; "" for the one that ships with the package.
        rate: times the bag's own pace.

    Raises:
        LiveRunError: if the node ends or does not connect within START_SECONDS.
    """
    run = LiveRun(output / "out.mcap")
    messages: list[RecordedMessage] = []
    rclpy.init()
    node = rclpy.create_node("recon3d_demo")
    spinner = threading.Thread(target=_spin, args=(node,), daemon=True)
    try:
        replay = BagReplay(node, bag, rate=rate)
        topics: dict[str, Any] = {f"/{camera.name}/{topic}": kind for topic, kind in OUTPUTS.items()}
        Recorder(node, {**topics, "/diagnostics": DiagnosticArray}, messages.append)
        spinner.start()
        log = output / "node.log"
        with NodeProcess(_parameters(camera, model), log=log) as process:

            def is_connected() -> bool:
                if process.poll() is not None:
                    raise LiveRunError(f"the node ended with {process.poll()}; its last words:\n{_tail(log)}")
                return node.count_subscribers(camera.image) > 0 and all(map(node.count_publishers, topics))

            if not _wait_for(is_connected, START_SECONDS):
                raise LiveRunError(f"the node did not connect within {START_SECONDS:.0f} s; see {log}")
            replay.run(on_published=lambda topic, stamp_ns, when: _note(run, camera, topic, stamp_ns, when))
            _wait_until_quiet(messages)
    finally:
        rclpy.try_shutdown()
        spinner.join()
    _digest(run, camera, messages)
    _write(run.recording, bag, messages)
    return run
