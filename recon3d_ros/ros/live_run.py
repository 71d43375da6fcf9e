"""A bag played through a live depth node in its own process; what the node publishes is recorded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from recon3d_ros.bags.topics import CameraTopics
from recon3d_ros.bags.writer import BagWriter
from recon3d_ros.ros.node_process import NodeProcess
from recon3d_ros.ros.recorder import RecordedMessage, Recorder
from recon3d_ros.ros.replay import BagReplay

START_SECONDS = 30.0  # for the node to load its network and for DDS to connect
QUIET_SECONDS = 1.0  # without a new output: the node has caught up
DIAGNOSTICS_PERIOD = 0.2
OUTPUTS = {"depth/image_rect": Image, "depth/camera_info": CameraInfo, "image_rect": Image, "points": PointCloud2}


@dataclass
class LiveRun:
    """What went in and what came out; times on the monotonic clock, seconds.

    Attributes:
        published: when each message of the bag was put on its topic, by topic and stamp (nanoseconds).
        arrived: when each message of the node arrived, by topic and stamp.
        skipped: why a topic of the bag was not played, by topic.
    """

    published: dict[str, dict[int, float]] = field(default_factory=dict)
    arrived: dict[str, dict[int, float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def note_published(self, topic: str, stamp_ns: int, when: float) -> None:
        self.published.setdefault(topic, {})[stamp_ns] = when

    def note_arrived(self, message: RecordedMessage) -> None:
        self.arrived.setdefault(message.topic, {})[message.stamp_ns] = message.arrival


def play(
    bag: Path,
    camera: CameraTopics,
    recording: BagWriter,
    *,
    model: str,
    rate: float,
    log: Path,
    parameters: Mapping[str, Any] | None = None,
    watch: Callable[[int], AbstractContextManager[object]] | None = None,
) -> LiveRun:
    """Plays a bag through a depth node and records what it publishes.

    Args:
        bag: the rosbag2.
        camera: the topics of the camera to use.
        recording: takes the node's outputs and diagnostics.
        model: the node's model file; "" for the one that ships with the package.
        rate: times the bag's own pace.
        log: the file that takes the node's output.
        parameters: more parameters of the node.
        watch: given the node's process id, a context that holds while the bag is played.

    Raises:
        ChildProcessError: if the node ends; the message holds its last words.
        TimeoutError: if it does not connect within START_SECONDS.
    """
    run = LiveRun()

    def record(message: RecordedMessage) -> None:
        run.note_arrived(message)
        if not message.stamp_ns and message.topic == "/diagnostics":
            return  # from before the first /clock; at time 0 it would stretch the recording to decades
        recording.write_serialised(message.topic, message.type, message.data, message.stamp_ns)

    rclpy.init()
    node = rclpy.create_node("recon3d_demo")
    spinner = threading.Thread(target=_spin, args=(node,), daemon=True)
    try:
        outputs: dict[str, Any] = {f"/{camera.name}/{topic}": kind for topic, kind in OUTPUTS.items()}
        Recorder(node, {**outputs, "/diagnostics": DiagnosticArray}, record)
        spinner.start()
        with (
            BagReplay(node, bag, rate=rate) as replay,
            NodeProcess({**_parameters(camera, model), **(parameters or {})}, log=log) as process,
        ):

            def is_connected() -> bool:
                if process.poll() is not None:
                    last_words = "\n".join(log.read_text().splitlines()[-5:])
                    raise ChildProcessError(f"the node ended with status {process.poll()}:\n{last_words}")
                return replay.wait_for_subscribers(0.0) and all(map(node.count_publishers, outputs))

            if not _wait_for(is_connected, START_SECONDS):
                raise TimeoutError(f"the node did not connect within {START_SECONDS:.0f} s; see {log}")
            with watch(process.pid) if watch else nullcontext():
                run.skipped = replay.run(on_published=run.note_published).skipped
                _wait_until_quiet(lambda: sum(len(run.arrived.get(topic, ())) for topic in outputs))
    finally:
        rclpy.try_shutdown()
        spinner.join()
    return run


def _parameters(camera: CameraTopics, model: str) -> dict[str, Any]:
    """Returns the node's parameters for a camera whose topics have their full names."""
    parameters = {
        "cameras": [camera.name],
        "image_topic": camera.image.removesuffix("/compressed"),
        "camera_info_topic": camera.camera_info,
        "compressed": camera.image.endswith("/compressed"),
        "cloud_stride": 2,
        "diagnostics_period": DIAGNOSTICS_PERIOD,
        "use_sim_time": True,
    }
    return {**parameters, "model": model} if model else parameters


def _spin(node: Node) -> None:
    try:
        rclpy.spin(node)
    except ExternalShutdownException:
        return


def _wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _wait_until_quiet(count: Callable[[], int]) -> None:
    """Waits until nothing has come for QUIET_SECONDS, which lets the last diagnostics come too."""
    last, since = count(), time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        time.sleep(0.05)
        if count() != last:
            last, since = count(), time.monotonic()
