"""A depth node in its own process, the cameras before it and the consumer behind it, over real DDS."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from recon3d_ros.ros.messages import depth_from_msg
from recon3d_ros.ros.node_process import NodeProcess

IS_LONG = bool(os.environ.get("SOAK"))  # 'make soak': the faults last longer
WIDTH, HEIGHT = 200, 120
FRAME_ID = "front_optical_frame"
RELIABLE = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
PERIOD = 0.1  # seconds between the node's diagnostics
COUNTERS = ("received", "lost", "published", "dropped", "unwanted", "rejected")
ODD_NODE = Path(__file__).with_name("odd_node.py")


class Depths:
    """The depth images that came: (arrival on the monotonic clock, stamp in seconds, median in metres)."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, float, float]] = []

    def take(self, message: Image) -> None:
        depth = depth_from_msg(message)
        stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        valid = depth[np.isfinite(depth)]
        self.frames.append((time.monotonic(), stamp, float(np.median(valid)) if valid.size else float("nan")))


class World:
    """The test's side of the graph. Close it, or use it as a context."""

    def __init__(self, folder: Path, model: Path, *, program: Path | None = None, **parameters: Any) -> None:
        self.parameters = {
            "model": str(model), "cameras": ["front"], "threads": 1, "diagnostics_period": PERIOD, **parameters,
        }  # fmt: skip
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = Node("world", context=self.context)
        self.depths = Depths()
        self.statuses: list[DiagnosticArray] = []
        self.node.create_subscription(Image, "/front/depth/image_rect", self.depths.take, RELIABLE)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.statuses.append, RELIABLE)
        self._counted_before = dict.fromkeys(COUNTERS, 0)
        self._folder, self._program = folder, program
        self._processes: list[NodeProcess] = []
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    @property
    def process(self) -> NodeProcess:
        return self._processes[-1]

    @property
    def log(self) -> str:
        """What the newest process of the node has printed."""
        return self._log_file(len(self._processes)).read_text()

    def start_node(self) -> NodeProcess:
        """Starts the node (again)."""
        self.statuses.clear()
        self._counted_before = dict.fromkeys(COUNTERS, 0)
        log = self._log_file(len(self._processes) + 1)
        self._processes.append(NodeProcess(self.parameters, log=log, program=self._program))
        return self.process

    def _log_file(self, number: int) -> Path:
        return self._folder / f"node_{number}.log"

    def status(self, name: str = "recon3d_depth: front") -> Any:
        """Returns the newest status of that name, or None."""
        for message in reversed(self.statuses[-3:]):
            for status in message.status:
                if status.name == name:
                    return status
        return None

    def value(self, key: str) -> str:
        """Returns a value of the camera's newest status, "" where there is none."""
        status = self.status()
        return next((item.value for item in status.values if item.key == key), "") if status else ""

    def counts(self) -> dict[str, int]:
        """Returns the camera's counters since start_counting."""
        return {key: int(self.value(key) or 0) - before for key, before in self._counted_before.items()}

    def start_counting(self, camera: Camera) -> None:
        """Counts from now on. The frames before, sent while DDS was connecting, may not all have arrived."""
        self._counted_before = dict.fromkeys(COUNTERS, 0)
        self._wait_for_news()
        self._counted_before = self.counts()
        self.depths.frames.clear()
        camera.sent = 0

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 40.0) -> float:
        """Waits until the condition holds; returns the seconds that it took."""
        start = time.monotonic()
        while not condition():
            if time.monotonic() - start > seconds:
                tail = "\n".join(self.log.splitlines()[-8:])
                raise AssertionError(f"waited {seconds} s in vain for {what}; the node's log ends:\n{tail}")
            time.sleep(0.01)
        return time.monotonic() - start

    def wait_for_frames(self, count: int = 3, *, after: float | None = None, stamp_after: float = 0.0) -> float:
        """Waits for good depth images that arrive from now (or `after`) on; returns the seconds to the first."""
        start = time.monotonic() if after is None else after

        def good() -> list[float]:
            # A copy: the executor's thread appends meanwhile.
            return [t for t, stamp, z in list(self.depths.frames) if t > start and stamp > stamp_after and z == z]

        self.wait_for(lambda: len(good()) >= count, f"{count} good depth images")
        return good()[0] - start

    def settle(self, camera: Camera) -> dict[str, int]:
        """Waits until the node has told of all that a camera has sent; returns its counters."""

        def has_all() -> bool:
            counts = self.counts()
            return counts["received"] + counts["lost"] >= camera.sent

        with contextlib.suppress(AssertionError):  # the caller's assertion says what is missing
            self.wait_for(has_all, "the node to get all", seconds=5.0)
        self._wait_for_news()
        return self.counts()

    def _wait_for_news(self) -> None:
        told = len(self.statuses)
        self.wait_for(lambda: len(self.statuses) >= told + 3, "diagnostics")

    def close(self) -> None:
        for process in self._processes:
            process.stop()
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Camera:
    """Publishes images and CameraInfo at a rate from a thread of its own, until it is stopped.

    Attributes:
        sent: images since `sent` was last set to 0.
        stamp: of the next image, seconds; it may be set.
        grey: of the next images; see odd_node for what some mean.
        size: (height, width) of the next images; `info_size` of the next CameraInfo.
    """

    def __init__(self, world: World, *, rate: float = 20.0) -> None:
        self.rate = rate
        self.sent = 0
        self.stamp = 1000.0
        self.grey = 100
        self.size = self.info_size = (HEIGHT, WIDTH)
        self._images = world.node.create_publisher(Image, "/front/image_raw", RELIABLE)
        self._infos = world.node.create_publisher(CameraInfo, "/front/camera_info", RELIABLE)
        self._world = world
        self._is_running = False
        self._thread: threading.Thread | None = None

    def wait_for_node(self) -> None:
        """Waits until the node hears images and CameraInfo, and the consumer hears the node."""
        node = self._world.node
        self._world.wait_for(
            lambda: (
                min(
                    self._images.get_subscription_count(),
                    self._infos.get_subscription_count(),
                    node.count_publishers("/front/depth/image_rect"),
                )
                > 0
            ),
            "the node's topics",
        )

    def start(self) -> None:
        self._is_running = True
        self._thread = threading.Thread(target=self._publish_until_stopped, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is None:
            return
        self._is_running = False
        self._thread.join()
        self._thread = None
        # At an even pace: only a later image tells the node that the one before it was lost.
        time.sleep(0.1)
        self.publish()

    def publish(self) -> None:
        """Publishes one image and its CameraInfo."""
        stamp_ns = round(self.stamp * 1e9)
        height, width = self.info_size
        info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
        info.k = [0.75 * width, 0.0, 0.52 * width, 0.0, 0.75 * width, 0.475 * height, 0.0, 0.0, 1.0]
        height, width = self.size
        image = Image(height=height, width=width, encoding="rgb8", step=width * 3)
        image.data = bytes([self.grey]) * (height * width * 3)
        for message in (info, image):
            message.header.frame_id = FRAME_ID
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
        self._infos.publish(info)
        self._images.publish(image)
        self.sent += 1
        self.stamp += 1.0 / self.rate

    def _publish_until_stopped(self) -> None:
        due = time.monotonic()
        while self._is_running:
            self.publish()
            due = max(due + 1.0 / self.rate, time.monotonic() - 1.0 / self.rate)
            time.sleep(max(due - time.monotonic(), 0.0))


@contextlib.contextmanager
def flowing(world: World, *, rate: float = 20.0) -> Iterator[Camera]:
    """Starts the node and a camera, and waits until depth flows."""
    world.start_node()
    camera = Camera(world, rate=rate)
    camera.wait_for_node()
    camera.start()
    try:
        world.wait_for_frames(5)
        camera.stop()
        world.start_counting(camera)
        camera.start()
        yield camera
    finally:
        camera.stop()


def accounted(sent: int, counts: dict[str, int]) -> str:
    """Asserts that every frame sent is one that came out or was counted; returns that as words."""
    rest = {key: count for key, count in counts.items() if key != "received" and count}
    assert counts["received"] + counts["lost"] == sent, f"{sent} sent, {counts}"
    assert sum(rest.values()) == sent, f"{sent} sent, {counts}"
    return f"{sent} in = " + " + ".join(f"{count} {key}" for key, count in rest.items())
