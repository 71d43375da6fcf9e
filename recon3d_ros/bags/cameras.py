"""The cameras of a bag: their topics and what their messages hold."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from recon3d_ros.bags.bag_path import BagError
from recon3d_ros.bags.reader import BagReader
from recon3d_ros.bags.topics import CameraTopics, base_topic
from recon3d_ros.core.encodings import decode_compressed
from recon3d_ros.core.image_message import image_of
from recon3d_ros.core.preprocess import RawImage

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
DEPTH_ENCODINGS = ("16UC1", "32FC1")


def find_cameras(
    reader: BagReader, image_topics: Collection[str] = (), *, is_calibrated: bool = False
) -> list[CameraTopics]:
    """Returns the topics of the cameras that are asked for, or of the only one there is.

    Args:
        reader: of the bag.
        image_topics: one for each camera; empty where there is only one.
        is_calibrated: the calibration comes from elsewhere, so that no CameraInfo is looked for.

    Raises:
        BagError: if a topic does not exist or has no CameraInfo, or if it is not clear which images are meant.
    """
    images = [t.name for t in reader.topics.values() if t.type in (IMAGE, COMPRESSED_IMAGE) and t.count]
    colour = [name for name in images if not _is_depth(reader, name)]
    chosen = list(image_topics) or [name for name in colour if not _is_copy(name, colour)]
    if not colour:
        listing = ", ".join(f"{t.name} ({t.type})" for t in reader.topics.values())
        raise BagError(f"{reader.path}: has no colour or grey images; its topics are {listing}")
    for name in chosen:
        if name not in images:
            raise BagError(f"{reader.path}: has no images on '{name}'; they are on {', '.join(images)}")
    if len(chosen) > 1 and not image_topics:
        choice = " ".join(f"--image-topic {name}" for name in chosen)
        raise BagError(f"{reader.path}: has {len(chosen)} image topics; choose one or more: {choice}")
    return [CameraTopics(name, "" if is_calibrated else _camera_info_topic(reader, name)) for name in chosen]


def _is_copy(name: str, names: list[str]) -> bool:
    return name != base_topic(name) and base_topic(name) in names


def _is_depth(reader: BagReader, topic: str) -> bool:
    try:
        message = next(reader.messages([topic]))
        content = reader.deserialise(message)
    except (BagError, StopIteration):  # StopIteration: damaged before its first message
        return False  # it is said when the frames are read
    if message.type == COMPRESSED_IMAGE:
        return "compresseddepth" in str(content.format).lower()
    return content.encoding in DEPTH_ENCODINGS


def _camera_info_topic(reader: BagReader, image_topic: str) -> str:
    """Returns the CameraInfo beside the image, where image_transport looks for it, or else below it."""
    base = base_topic(image_topic)
    candidates = (base.rpartition("/")[0] + "/camera_info", base + "/camera_info")
    for name in candidates:
        if name in reader.topics and reader.topics[name].type == CAMERA_INFO and reader.topics[name].count:
            return name
    known = [topic.name for topic in reader.topics.values() if topic.type == CAMERA_INFO and topic.count]
    raise BagError(
        f"{reader.path}: has no CameraInfo for {image_topic}: expected it on {candidates[0]}, found it on "
        f"{', '.join(known) or 'no topic'}; record it too, or give --calibration FILE to 'recon3d run'"
    )


def decode(content: Any) -> RawImage:
    """Returns the image of an Image or CompressedImage."""
    if hasattr(content, "format"):
        return decode_compressed(content.data, content.format)
    return image_of(content)
