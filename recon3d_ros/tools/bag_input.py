"""The camera frames of a rosbag2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recon3d_ros.bags.bag_path import BagError
from recon3d_ros.bags.cameras import decode, find_cameras
from recon3d_ros.bags.reader import BagReader
from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.camera_info import camera_from_info, check_image_size
from recon3d_ros.core.encodings import EncodingError
from recon3d_ros.core.stamps import stamp_ns_of
from recon3d_ros.tools.inputs import CameraFrame, InputOptions


class BagSource:
    """The frames of a bag; see FrameSource."""

    def __init__(self, path: Path, options: InputOptions) -> None:
        """Opens the bag and finds its cameras.

        Raises:
            BagError: if it cannot be read, has no images, or leaves open which images are meant.
        """
        self._reader = BagReader(path)
        self._options = options
        self._topics = find_cameras(
            self._reader, options.image_topics, is_calibrated=options.calibration is not None
        )
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
                image = decode(content)
                camera = self._camera(content.header.frame_id, infos.get(topics.camera_info))
                check_image_size(camera, image)
            except (BagError, CameraError, EncodingError) as error:
                self.skipped[f"{message.topic}: {error}"] += 1
                continue
            yield CameraFrame(
                index, stamp_ns_of(content.header), content.header.frame_id, topics.name, image, camera
            )

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
