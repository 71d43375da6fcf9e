"""The camera frames of a rosbag2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recon3d_ros.bags.reader import BagError, BagReader
from recon3d_ros.bags.topics import CameraTopics, base_topic
from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.camera_info import camera_from_info, check_image_size
from recon3d_ros.core.encodings import EncodingError, decode_compressed
from recon3d_ros.core.image_message import image_of
from recon3d_ros.core.preprocess import RawImage
from recon3d_ros.tools.inputs import CameraFrame, InputOptions

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
DEPTH_ENCODINGS = ("16UC1", "32FC1")


class BagSource:
    """The frames of a bag; see FrameSource."""

    def __init__(self, path: Path, options: InputOptions) -> None:
        """Opens the bag and finds its cameras.

        Raises:
            BagError: if it cannot be read, has no images, or leaves open which images are meant.
        """
        self._reader = BagReader(path)
        self._options = options
        self._topics = find_cameras(self._reader, options)
        self.camera_names = [topics.name for topics in self._topics]
        self.length: int | None = sum(self._reader.topics[topics.image].count for topics in self._topics)
        self.notes: list[str] = []
        self.skipped: Counter[str] = Counter()
        self.damage = self._reader.damage
        self.static_transforms: list[Any] = []
        if "/tf_static" in self._reader.topics:
            messages = self._reader.messages(["/tf_static"])
            self.static_transforms = [self._reader.deserialise(message) for message in messages]

    def __iter__(self) -> Iterator[CameraFrame]:
        by_image = {topics.image: topics for topics in self._topics}
        info_topics = [topics.camera_info for topics in self._topics if topics.camera_info]
        infos = {name: self._first(name) for name in info_topics}
        indices: Counter[str] = Counter()
        for message in self._reader.messages([*by_image, *infos]):
            if message.topic in infos:
                infos[message.topic] = self._reader.deserialise(message)
                continue
            topics = by_image[message.topic]
            index = indices[message.topic]
            indices[message.topic] += 1
            try:
                content = self._reader.deserialise(message)
                image = _decode(content)
                camera = self._camera(content.header.frame_id, infos.get(topics.camera_info))
                check_image_size(camera, image)
            except (BagError, CameraError, EncodingError) as error:
                self.skipped[f"{message.topic}: {error}"] += 1
                continue
            stamp_ns = content.header.stamp.sec * 1_000_000_000 + content.header.stamp.nanosec
            yield CameraFrame(index, stamp_ns, content.header.frame_id, topics.name, image, camera)

    def _camera(self, frame_id: str, info: Any) -> CameraModel:
        if self._options.calibration is not None:
            camera = self._options.calibration.camera
            return camera.undistorted() if self._options.rectified else camera
        if info.header.frame_id != frame_id:
            raise CameraError(
                f"image has frame_id '{frame_id}', its CameraInfo '{info.header.frame_id}'; they must be the same "
                "optical frame, or give the camera with --calibration"
            )
        return camera_from_info(info, rectified=self._options.rectified)

    def _first(self, topic: str) -> Any:
        """Returns the first CameraInfo: images recorded just before it belong to it too."""
        return self._reader.deserialise(next(self._reader.messages([topic])))


def find_cameras(reader: BagReader, options: InputOptions) -> list[CameraTopics]:
    """Returns the topics of the cameras that are asked for, or of the only one there is.

    Raises:
        BagError: if a topic does not exist or has no CameraInfo, or if it is not clear which images are meant.
    """
    images = [t.name for t in reader.topics.values() if t.type in (IMAGE, COMPRESSED_IMAGE) and t.count]
    colour = [name for name in images if not _is_depth(reader, name)]
    chosen = list(options.image_topics) or [name for name in colour if not _is_copy(name, colour)]
    if not colour:
        listing = ", ".join(f"{t.name} ({t.type})" for t in reader.topics.values())
        raise BagError(f"{reader.path}: has no colour or grey images; its topics are {listing}")
    for name in chosen:
        if name not in images:
            raise BagError(f"{reader.path}: has no images on '{name}'; they are on {', '.join(images)}")
    if len(chosen) > 1 and not options.image_topics:
        choice = " ".join(f"--image-topic {name}" for name in chosen)
        raise BagError(f"{reader.path}: has {len(chosen)} image topics; choose one or more: {choice}")
    is_calibrated = options.calibration is not None
    return [CameraTopics(name, "" if is_calibrated else _camera_info_topic(reader, name)) for name in chosen]


def _is_copy(name: str, names: list[str]) -> bool:
    return name != base_topic(name) and base_topic(name) in names


def _is_depth(reader: BagReader, topic: str) -> bool:
    message = next(reader.messages([topic]))
    try:
        content = reader.deserialise(message)
    except BagError:
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
        f"{', '.join(known) or 'no topic'}; give the camera with --calibration FILE"
    )


def _decode(content: Any) -> RawImage:
    """Returns the image of an Image or CompressedImage."""
    if hasattr(content, "format"):
        return decode_compressed(content.data, content.format)
    return image_of(content)
