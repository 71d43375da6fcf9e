"""A rosbag2 played through real topics at its own pace, with /clock."""

from __future__ import annotations

import importlib
import struct
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import QosDurability, QosReliability
from rosgraph_msgs.msg import Clock

from recon3d_ros.bags.bag_path import BagError
from recon3d_ros.bags.reader import BagReader, BagTopic

CLOCK_PERIOD = 0.01  # seconds; 100 Hz, as dense as the timers of a node usually are
DEPTH = 10
# DDS matches each side by itself. A subscriber that the publisher has found may not have found the publisher yet:
# a best-effort one then loses the first messages, a reliable one loses what the publisher's queue cannot hold
# until then. SETTLE_SECONDS is usually enough; on a busy machine the first message's acknowledgement is waited
# for, CONNECT_SECONDS at most: longer than the 3 s between the heartbeats by which Fast DDS repeats itself.
SETTLE_SECONDS = 0.5
CONNECT_SECONDS = 5.0
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

OnPublished = Callable[[str, int, float], None]


@dataclass
class ReplaySummary:
    """What was played.

    Attributes:
        published: messages by topic.
        skipped: why a topic was not played, by topic.
        max_lateness: of a message behind its due time, seconds.
        damage: sentences on what the bag has lost.
    """

    published: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    max_lateness: float = 0.0
    damage: list[str] = field(default_factory=list)


class BagReplay:
    """Publishes the serialised messages of a bag, without decoding them, in the rhythm of the recording.

    Before each message, and every CLOCK_PERIOD between them, /clock gets the bag's time. The publishers exist
    from the beginning, so that subscribers can connect before `run`.

    Args:
        node: owner of the publishers; it need not spin.
        path: the rosbag2.
        rate: times the bag's own pace.
        topics: which to play; None for all.
        remap: new names of topics.

    Raises:
        BagError: if the bag cannot be read or lacks one of the topics.
        ValueError: if the rate is not positive.
    """

    def __init__(
        self,
        node: Node,
        path: Path | str,
        *,
        rate: float = 1.0,
        topics: Collection[str] | None = None,
        remap: Mapping[str, str] | None = None,
    ) -> None:
        if not rate > 0:
            raise ValueError(f"rate is {rate}, expected a positive number")
        self.summary = ReplaySummary()
        self._node = node
        self._rate = rate
        self._now_ns = 0
        self._reader = BagReader(path)
        self._clock = node.create_publisher(Clock, "/clock", DEPTH)
        self._publishers: dict[str, Publisher] = {}
        self._stamped: set[str] = set()
        for topic in self._chosen(topics):
            self._add_publisher(topic, (remap or {}).get(topic.name, topic.name))

    def _chosen(self, names: Collection[str] | None) -> list[BagTopic]:
        known = self._reader.topics
        for name in names or ():
            if name not in known:
                raise BagError(f"{self._reader.path}: has no topic '{name}'; its topics are {', '.join(known)}")
        wanted = known if names is None else names
        return [topic for topic in known.values() if topic.name in wanted and topic.name != "/clock"]

    def _add_publisher(self, topic: BagTopic, name: str) -> None:
        message_class = find_message_class(topic.type)
        if message_class is None:
            self.summary.skipped[topic.name] = f"no Python package for {topic.type} is installed"
            return
        self._publishers[topic.name] = self._node.create_publisher(message_class, name, publisher_qos(topic))
        if next(iter(message_class.get_fields_and_field_types().items())) == ("header", "std_msgs/Header"):
            self._stamped.add(topic.name)

    def wait_for_subscribers(self, timeout: float) -> bool:
        """Waits until somebody subscribes to an image topic; returns False after `timeout` seconds without."""
        images = [
            self._publishers[name] for name in self._publishers if self._reader.topics[name].type in IMAGE_TYPES
        ]
        end = time.monotonic() + timeout
        while not any(publisher.get_subscription_count() for publisher in images):
            if time.monotonic() > end or not self._node.context.ok():
                return False
            time.sleep(0.02)
        time.sleep(SETTLE_SECONDS)
        return True

    def run(self, *, loop: bool = False, on_published: OnPublished | None = None) -> ReplaySummary:
        """Plays the bag once, or again and again; returns early when the node's context is shut down.

        Args:
            loop: start again at the end; /clock then jumps back to the bag's start.
            on_published: called for each message with its topic in the bag, its stamp in nanoseconds (of the
                header where it has one, else of the recording), and time.monotonic() as it was handed to DDS.
        """
        try:
            while self._play_once(on_published) and loop:
                pass
        except RuntimeError:
            # Shutting down between a check and a publication is the usual end of a loop.
            if self._node.context.ok():
                raise
        self.summary.damage = list(self._reader.damage)
        if self._node.context.ok():
            for publisher in self._publishers.values():
                publisher.wait_for_all_acked(Duration(seconds=SETTLE_SECONDS))
        return self.summary

    def _play_once(self, on_published: OnPublished | None) -> bool:
        """Plays from start to end; returns False if the context was shut down."""
        if not self._publishers:
            return False
        start_ns, start = self._reader.start_ns, time.monotonic()
        self._now_ns = start_ns
        unconnected = set(self._publishers) - set(self.summary.published)
        for message in self._reader.messages(self._publishers):
            due = start + (message.stamp_ns - start_ns) * 1e-9 / self._rate
            self._tick_until(due, start, start_ns)
            if not self._node.context.ok():
                return False
            self._publish_clock(message.stamp_ns)
            handed = time.monotonic()
            self._publishers[message.topic].publish(message.data)
            self.summary.published[message.topic] += 1
            self.summary.max_lateness = max(self.summary.max_lateness, handed - due)
            if on_published is not None:
                is_stamped = message.topic in self._stamped
                stamp_ns = header_stamp_ns(message.data) if is_stamped else message.stamp_ns
                on_published(message.topic, stamp_ns, handed)
            if message.topic in unconnected:
                unconnected.remove(message.topic)
                start += self._wait_until_received(message.topic)
        return True

    def _wait_until_received(self, topic: str) -> float:
        """Waits until every reliable subscriber has what was published; returns the seconds that took."""
        begin = time.monotonic()
        self._publishers[topic].wait_for_all_acked(Duration(seconds=CONNECT_SECONDS))
        return time.monotonic() - begin

    def _tick_until(self, due: float, start: float, start_ns: int) -> None:
        """Publishes /clock each CLOCK_PERIOD until a message is due."""
        while (remaining := due - time.monotonic()) > 0 and self._node.context.ok():
            time.sleep(min(remaining, CLOCK_PERIOD))
            now = time.monotonic()
            if now < due:
                self._publish_clock(start_ns + round((now - start) * self._rate * 1e9))

    def _publish_clock(self, stamp_ns: int) -> None:
        """Publishes the bag's time, which never goes back within one pass."""
        self._now_ns = max(self._now_ns, stamp_ns)
        sec, nanosec = divmod(self._now_ns, 1_000_000_000)
        self._clock.publish(Clock(clock=Time(sec=sec, nanosec=nanosec)))

    def close(self) -> None:
        """Removes the publishers and closes the bag."""
        for publisher in (*self._publishers.values(), self._clock):
            self._node.destroy_publisher(publisher)
        self._publishers = {}
        self._reader.close()

    def __enter__(self) -> BagReplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def open_replay(path: Path | str, **options: Any) -> Iterator[BagReplay]:
    """Returns a BagReplay with a node of its own, for the length of a `with` block; options as BagReplay's."""
    rclpy.init()
    node = rclpy.create_node("recon3d_replay")
    try:
        with BagReplay(node, path, **options) as replay:
            yield replay
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def publisher_qos(topic: BagTopic) -> QoSProfile:
    """Returns what the publisher offers: what was recorded where all agreed, else reliable and volatile."""
    is_static_tf = topic.name == "/tf_static"
    reliability = {qos.reliability for qos in topic.qos}
    durability = {qos.durability for qos in topic.qos}
    is_best_effort = reliability == {QosReliability.BEST_EFFORT}
    is_latched = durability == {QosDurability.TRANSIENT_LOCAL} or (is_static_tf and not durability)
    return QoSProfile(
        depth=max([DEPTH, *(qos.depth for qos in topic.qos)]),
        reliability=ReliabilityPolicy.BEST_EFFORT if is_best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if is_latched else DurabilityPolicy.VOLATILE,
    )


def find_message_class(type_name: str) -> Any:
    """Returns the Python class of "package/msg/Name", or None where the package is not installed."""
    package, _, name = type_name.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        return None


def header_stamp_ns(data: bytes) -> int:
    """Returns the stamp of a serialised message that begins with a std_msgs/Header.

    Source: the CDR encapsulation of DDS-XTypes; byte 1 tells the byte order, the content begins at byte 4.
    """
    sec, nanosec = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(sec) * 1_000_000_000 + int(nanosec)
