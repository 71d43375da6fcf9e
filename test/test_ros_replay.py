"""A bag replayed over real DDS: everything arrives, at the bag's pace, with /clock ahead of it."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed (requirements/ros-jazzy.txt)")

from drives import STORE, camera_info_message, camera_messages, cut, header, image_message, make_image, write_bag  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime  # noqa: E402
from rosbags.rosbag2 import StoragePlugin, Writer  # noqa: E402
from rosbags.typesys import Stores, get_types_from_msg, get_typestore  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from recon3d_ros.bags.bag_path import BagError  # noqa: E402
from recon3d_ros.bags.reader import BagTopic  # noqa: E402
from recon3d_ros.ros.replay import BagReplay, find_message_class, header_stamp_ns, publisher_qos  # noqa: E402
from recon3d_ros.tools import cli  # noqa: E402

Heard = list[tuple[str, int, float, str]]


@pytest.fixture
def node() -> Iterator[Node]:
    context = Context()
    rclpy.init(context=context)
    node = Node("replay_tester", context=context)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


@contextmanager
def listener() -> Iterator[Any]:
    """Runs the listening process; what it yields returns what was heard, and ends it."""
    command = [sys.executable, str(Path(__file__).with_name("replay_listener.py"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline().strip() == "ready"

    def finish() -> Heard:
        time.sleep(0.3)  # the last messages are on their way
        return [tuple(item) for item in json.loads(process.communicate(timeout=20)[0])]

    try:
        yield finish
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize(("storage", "rate"), [("mcap", 1.0), ("sqlite3", 2.0)])
def test_every_message_arrives_in_another_process_unchanged_and_in_time(
    tmp_path: Path, node: Node, storage: str, rate: float
) -> None:
    count = 30
    bag = write_bag(tmp_path / "bag", camera_messages(count, period_ns=50_000_000), storage=storage)
    with listener() as finish, BagReplay(node, bag, rate=rate) as replay:
        assert replay.wait_for_subscribers(10.0)
        summary = replay.run()
        heard = finish()
    stamps = [1_000_000_000 + index * 50_000_000 for index in range(count)]
    images = [item for item in heard if item[0] == "/camera/image_raw"]
    assert [stamp for _, stamp, _, _ in images] == stamps
    assert [digest for *_, digest in images] == [
        hashlib.sha256(make_image(i).tobytes()).hexdigest() for i in range(count)
    ]
    assert [stamp for topic, stamp, _, _ in heard if topic == "/camera/camera_info"] == stamps
    assert summary.published == {"/camera/image_raw": count, "/camera/camera_info": count}
    assert not summary.skipped and not summary.damage
    # 28 periods of 50 ms; the machine may be busy, so only roughly. Before the second image the replay may wait
    # for the subscribers to connect.
    seconds = images[-1][2] - images[1][2]
    assert 0.7 * 28 * 0.05 / rate < seconds < 28 * 0.05 / rate + 2.0

    clock = [stamp for topic, stamp, _, _ in heard if topic == "/clock"]
    assert clock == sorted(clock)
    assert set(stamps) <= set(clock)
    assert max(late - early for early, late in pairwise(clock)) <= 50_000_000
    assert len(clock) > 2 * count  # it goes on between the messages too


def test_a_loop_lets_the_clock_and_the_stamps_jump_back(tmp_path: Path, node: Node) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(5, period_ns=20_000_000))
    with listener() as finish, BagReplay(node, bag) as replay:
        assert replay.wait_for_subscribers(10.0)
        thread = threading.Thread(target=replay.run, kwargs={"loop": True})
        thread.start()
        wait_for(lambda: replay.summary.published["/camera/image_raw"] >= 13)
        rclpy.try_shutdown(context=node.context)
        thread.join(5)
        assert not thread.is_alive()
        heard = finish()
    stamps = [stamp for topic, stamp, _, _ in heard if topic == "/camera/image_raw"]
    once = [1_000_000_000 + index * 20_000_000 for index in range(5)]
    assert stamps[:12] == (3 * once)[:12]
    clock = [stamp for topic, stamp, _, _ in heard if topic == "/clock"]
    jumps = [(early, late) for early, late in pairwise(clock) if late < early]
    assert len(jumps) >= 2 and set(jumps) == {(once[-1], once[0])}


def test_stamps_told_are_those_of_the_headers(tmp_path: Path, node: Node) -> None:
    messages = [("/camera/image_raw", image_message(make_image(0), 0, header=header(7_000_000_123)), 50)]
    told = []
    start = time.monotonic()
    with BagReplay(node, write_bag(tmp_path / "bag", messages)) as replay:
        replay.run(on_published=lambda *values: told.append(values))
    ((topic, stamp_ns, when),) = told
    assert (topic, stamp_ns) == ("/camera/image_raw", 7_000_000_123)
    assert start < when < time.monotonic()


@pytest.mark.parametrize(("order", "flag"), [("<", 1), (">", 0)])
def test_header_stamps_are_read_in_either_byte_order(order: str, flag: int) -> None:
    data = bytes([0, flag, 0, 0]) + struct.pack(f"{order}iI", 12, 34)
    assert header_stamp_ns(data) == 12_000_000_034


def test_a_type_without_a_python_package_is_left_out_and_the_rest_is_played(tmp_path: Path, node: Node) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("float64 torque", "my_msgs/msg/Gripper"))
    gripper = store.types["my_msgs/msg/Gripper"](torque=1.5)
    bag = write_bag(tmp_path / "bag", [*camera_messages(1), ("/gripper", gripper, 1_000_000_001)], store=store)
    with BagReplay(node, bag) as replay:
        summary = replay.run()
    assert summary.skipped == {"/gripper": "no Python package for my_msgs/msg/Gripper is installed"}
    assert summary.published == {"/camera/image_raw": 1, "/camera/camera_info": 1}


def test_only_the_chosen_topics_are_played_under_their_new_names(tmp_path: Path, node: Node) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(2))
    remap = {"/camera/image_raw": "/front/image"}
    with BagReplay(node, bag, topics=["/camera/image_raw"], remap=remap, rate=10.0) as replay:
        assert {publisher.topic_name for publisher in node.publishers} >= {"/front/image", "/clock"}
        assert replay.run().published == {"/camera/image_raw": 2}
        assert node.count_publishers("/camera/camera_info") == 0
    with pytest.raises(BagError, match=r"has no topic '/lidar'; its topics are /camera/camera_info"):
        BagReplay(node, bag, topics=["/lidar"])


def test_it_waits_for_subscribers_of_images_only(tmp_path: Path, node: Node) -> None:
    with BagReplay(node, write_bag(tmp_path / "bag", camera_messages(1))) as replay:
        node.create_subscription(CameraInfo, "/camera/camera_info", lambda message: None, 1)
        assert not replay.wait_for_subscribers(0.3)
        node.create_subscription(Image, "/camera/image_raw", lambda message: None, 1)
        assert replay.wait_for_subscribers(5.0)


def test_a_cut_off_bag_is_played_up_to_the_cut(tmp_path: Path, node: Node) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(60, period_ns=1_000_000))
    cut(bag, 0.5)
    with BagReplay(node, bag) as replay:
        summary = replay.run()
    assert 25 <= summary.published["/camera/image_raw"] <= 31
    assert "was cut off" in summary.damage[0]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_not_positive_is_refused(tmp_path: Path, node: Node, rate: float) -> None:
    with pytest.raises(ValueError, match="expected a positive number"):
        BagReplay(node, tmp_path, rate=rate)


def offered(reliability: QosReliability, durability: QosDurability, depth: int = 1) -> Qos:
    forever = QosTime(9223372036, 854775807)
    return Qos(
        QosHistory.KEEP_LAST,
        depth,
        reliability,
        durability,
        forever,
        forever,
        QosLiveliness.AUTOMATIC,
        forever,
        False,
    )


BEST_EFFORT = offered(QosReliability.BEST_EFFORT, QosDurability.VOLATILE, 5)
LATCHED = offered(QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, 50)


@pytest.mark.parametrize(
    ("name", "recorded", "reliability", "durability", "depth"),
    [
        ("/a", (), ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 10),
        ("/tf_static", (), ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 10),
        ("/a", (BEST_EFFORT,), ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, 10),
        ("/a", (LATCHED,), ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 50),
        ("/a", (LATCHED, BEST_EFFORT), ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 50),
    ],
)
def test_publishers_offer_what_was_recorded_where_all_agreed(
    name: str, recorded: tuple[Qos, ...], reliability: Any, durability: Any, depth: int
) -> None:
    qos = publisher_qos(BagTopic(name, "std_msgs/msg/String", 1, recorded))
    assert (qos.reliability, qos.durability, qos.depth) == (reliability, durability, depth)


def test_a_late_subscriber_still_gets_latched_messages(tmp_path: Path, node: Node) -> None:
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        kind = "sensor_msgs/msg/CameraInfo"
        connection = writer.add_connection("/latched", kind, typestore=STORE, offered_qos_profiles=[LATCHED])
        writer.write(connection, 1, STORE.serialize_cdr(camera_info_message(1), kind))
    with BagReplay(node, tmp_path / "bag") as replay:
        replay.run()
        heard: list[Any] = []
        qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(CameraInfo, "/latched", heard.append, qos)
        executor = rclpy.executors.SingleThreadedExecutor(context=node.context)
        executor.add_node(node)
        deadline = time.monotonic() + 10
        while not heard and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.1)
    assert len(heard) == 1


def test_message_classes_are_found_by_name() -> None:
    assert find_message_class("sensor_msgs/msg/Image") is Image
    assert find_message_class("sensor_msgs/msg/Nothing") is None
    assert find_message_class("no_such_msgs/msg/Nothing") is None


def test_the_command_plays_a_bag_and_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(3))
    assert cli.main(["replay", str(bag), "--rate", "5", "--delay", "0", "--wait-for-subscribers", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "nobody subscribed to an image within 0.1 s" in out
    assert "played: 3 on /camera/image_raw" in out and "no message was later than" in out
