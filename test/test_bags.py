"""Reading bags: whole ones, and what is left of damaged ones."""

from __future__ import annotations

import io
import shutil
import sqlite3
import struct
from pathlib import Path

import pytest
from drives import STORE, camera_messages, cut, ros_message, write_bag
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from recon3d_ros.bags import salvage
from recon3d_ros.bags.bag_path import BagError
from recon3d_ros.bags.reader import BagReader

STORAGES = ("mcap", "sqlite3")


def read_stamps(bag: Path, topic: str = "/camera/image_raw") -> list[int]:
    with BagReader(bag) as reader:
        return [message.stamp_ns for message in reader.messages([topic])]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_whole_bag_gives_every_message_in_order(tmp_path: Path, storage: str) -> None:
    messages = camera_messages(5)
    with BagReader(write_bag(tmp_path / "bag", messages, storage=storage)) as reader:
        read = list(reader.messages())
        assert reader.damage == []
        assert {name: topic.count for name, topic in reader.topics.items()} == {
            "/camera/camera_info": 5,
            "/camera/image_raw": 5,
        }
        assert (reader.start_ns, reader.end_ns) == (1_000_000_000, 1_400_000_000)
    expected = [(topic, stamp, bytes(STORE.serialize_cdr(m, m.__msgtype__))) for topic, m, stamp in messages]
    assert [(m.topic, m.stamp_ns, m.data) for m in read] == expected


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("has_metadata", [True, False])
def test_a_bag_cut_in_the_middle_gives_what_is_before_the_cut_and_says_so(
    tmp_path: Path, storage: str, has_metadata: bool
) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(200), storage=storage)
    whole = read_stamps(bag)
    cut(bag, 0.5)
    if not has_metadata:
        (bag / "metadata.yaml").unlink()
    with BagReader(bag) as reader:
        stamps = [message.stamp_ns for message in reader.messages(["/camera/image_raw"])]
        (sentence,) = reader.damage
    assert stamps == whole[: len(stamps)]
    assert 90 <= len(stamps) <= 101
    assert "was cut off or not closed" in sentence and f"up to {stamps[-1] / 1e9:.3f} s" in sentence


def test_an_mcap_file_with_zstd_chunks_is_salvaged_too(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(400), compressed=True)
    cut(bag, 0.6)
    stamps = read_stamps(bag)
    assert 100 < len(stamps) < 400
    assert stamps == [1_000_000_000 + index * 10**8 for index in range(len(stamps))]


def test_an_mcap_chunk_with_lz4_is_salvaged_up_to_the_cut() -> None:
    channel = (
        struct.pack("<HH", 7, 0) + b"".join(struct.pack("<I", len(s)) + s for s in (b"/a", b"cdr")) + bytes(4)
    )
    message = struct.pack("<HIQQ", 7, 0, 42, 42) + b"content"
    records = b"".join(struct.pack("<BQ", op, len(body)) + body for op, body in ((0x04, channel), (0x05, message)))
    lz4_frame = pytest.importorskip("lz4.frame", reason="lz4 is not installed")
    packed = lz4_frame.compress(records)
    chunk = struct.pack("<QQQI", 42, 42, len(records), 0) + struct.pack("<I", 3) + b"lz4"
    chunk += struct.pack("<Q", len(packed)) + packed
    stream = io.BytesIO(struct.pack("<BQ", 0x06, len(chunk)) + chunk)
    (found,) = salvage._mcap_messages(stream, {}, {})
    assert (found.topic, found.stamp_ns, found.data) == ("/a", 42, b"content")


def test_a_recording_that_was_killed_before_its_index_loses_nothing(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(30))
    whole = read_stamps(bag)
    file = bag / "bag.mcap"
    content = file.read_bytes()
    file.write_bytes(content[: content.index(b"serialized_metadata") - 40])
    assert read_stamps(bag) == whole


@pytest.mark.parametrize("storage", STORAGES)
def test_a_bag_without_metadata_is_read_as_if_it_had_it(tmp_path: Path, storage: str) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(5), storage=storage)
    (bag / "metadata.yaml").unlink()
    with BagReader(bag) as reader:
        assert len(list(reader.messages())) == 10
        assert reader.damage == []


def test_a_single_storage_file_is_a_bag(tmp_path: Path) -> None:
    assert len(read_stamps(write_bag(tmp_path / "bag", camera_messages(3)) / "bag.mcap")) == 3


def test_a_lost_part_of_a_split_bag_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(3))
    metadata = (bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(metadata.replace("- bag.mcap", "- bag.mcap\n  - bag_1.mcap"))
    with BagReader(bag) as reader:
        assert len(list(reader.messages())) == 6
        assert "bag_1.mcap" in reader.damage[0]


def test_damage_inside_a_file_is_said_with_the_number_of_messages(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(200), compressed=True)
    file = bag / "bag.mcap"
    content = bytearray(file.read_bytes())
    half = len(content) // 2
    content[half : half + 64] = bytes(64)
    file.write_bytes(content)
    with BagReader(bag) as reader:
        count = len(list(reader.messages()))
        assert 0 < count < 400
        assert f"{count} messages" in reader.damage[0] and "of 400" in reader.damage[0]


def write_humble_bag(folder: Path, *, journal_mode: str = "delete") -> sqlite3.Connection:
    """Writes a bag as Humble's recorder leaves it: without type definitions; returns the open database."""
    folder.mkdir()
    database = sqlite3.connect(folder / "bag_0.db3")
    database.execute(f"PRAGMA journal_mode={journal_mode}")
    database.execute(
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT, "
        "offered_qos_profiles TEXT)"
    )
    database.execute(
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)"
    )
    database.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
    topics = {"/camera/image_raw": 1, "/camera/camera_info": 2}
    messages = camera_messages(4)
    for topic, number in topics.items():
        kind = next(message.__msgtype__ for name, message, _ in messages if name == topic)
        database.execute("INSERT INTO topics VALUES(?, ?, ?, 'cdr', '')", (number, topic, kind))
    for topic, message, stamp in messages:
        data = bytes(STORE.serialize_cdr(message, message.__msgtype__))
        row = (topics[topic], stamp, data)
        database.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)", row)
    database.commit()
    return database


def test_a_bag_of_humble_which_has_no_type_definitions_is_read(tmp_path: Path) -> None:
    write_humble_bag(tmp_path / "bag").close()
    with BagReader(tmp_path / "bag") as reader:
        messages = list(reader.messages())
        assert len(messages) == 8 and not reader.damage
        assert reader.deserialise(messages[0]).encoding == "bgr8"


def test_messages_that_are_only_in_the_write_ahead_log_of_a_killed_recorder_are_read(tmp_path: Path) -> None:
    recorder = write_humble_bag(tmp_path / "recorded", journal_mode="wal")
    shutil.copytree(tmp_path / "recorded", tmp_path / "killed")
    recorder.close()
    assert (tmp_path / "killed" / "bag_0.db3-wal").stat().st_size > 0
    with BagReader(tmp_path / "killed") as reader:
        assert len(list(reader.messages())) == 8
        assert "the recorder was killed" in reader.damage[0]


def test_a_bag_with_a_type_that_nobody_knows_is_read(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("float64 torque", "my_msgs/msg/Gripper"))
    gripper = store.types["my_msgs/msg/Gripper"](torque=1.5)
    bag = write_bag(tmp_path / "bag", [*camera_messages(2), ("/gripper", gripper, 5)], store=store)
    with BagReader(bag) as reader:
        assert reader.topics["/gripper"].type == "my_msgs/msg/Gripper"
        assert len(list(reader.messages())) == 5
        (message,) = reader.messages(["/gripper"])
        with pytest.raises(BagError, match="no my_msgs/msg/Gripper"):
            reader.deserialise(message)


def test_bytes_that_are_no_message_are_refused(tmp_path: Path) -> None:
    text = ros_message("std_msgs/msg/String", data="hello")
    with BagReader(write_bag(tmp_path / "bag", [("/text", text, 1)])) as reader:
        (message,) = reader.messages()
        wrong = type(message)(message.topic, "sensor_msgs/msg/Image", message.stamp_ns, message.data)
        with pytest.raises(BagError, match=r"/text: a message's bytes are no sensor_msgs/msg/Image"):
            reader.deserialise(wrong)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("drive.bag", b"#ROSBAG V2.0\n", "ROS 1 bag; convert it with 'rosbags-convert"),
        ("drive.txt", b"hello", "is no rosbag2"),
        ("drive.mcap", b"", "0 messages can be read"),
        ("drive.db3", b"not a database at all", "0 messages can be read"),
        ("drive.mcap", b"\x89MCAP0\r\n" + b"\xff" * 100, "0 messages can be read"),
    ],
)
def test_what_is_no_bag_is_refused_with_the_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BagError, match=reason):
        BagReader(tmp_path / name)


def test_a_missing_bag_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="does not exist"):
        BagReader(tmp_path / "nowhere")
    with pytest.raises(BagError, match="is no rosbag2"):
        BagReader(tmp_path)
