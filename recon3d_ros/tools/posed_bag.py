"""Depth and poses of a rosbag2: a depth camera's or the network's depth, with the bag's TF or odometry."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recon3d_ros.bags.bag_path import BagError
from recon3d_ros.bags.cameras import CAMERA_INFO, DEPTH_ENCODINGS, IMAGE
from recon3d_ros.bags.reader import BagReader
from recon3d_ros.bags.transforms import EgoMotion, read_ego_motion, read_transforms
from recon3d_ros.core.camera import CameraError
from recon3d_ros.core.camera_info import camera_from_info
from recon3d_ros.core.encodings import EncodingError
from recon3d_ros.core.fusion_settings import PosedDepth
from recon3d_ros.core.image_message import depth_of, rgb_of
from recon3d_ros.core.lidar import Pose
from recon3d_ros.core.stamps import stamp_ns_of
from recon3d_ros.tools.bag_input import BagSource
from recon3d_ros.tools.inputs import CameraFrame, InputError
from recon3d_ros.tools.posed_input import PosedOptions, PosedSource, Reading, Unusable
from recon3d_ros.tools.posed_network import NetworkFrames, mounting_of

SLACK_NS = 100_000_000  # the motion is carried on so far before its first pose and after its last
MAX_WAITING = 30  # messages that wait for depth or colour of the same stamp
MAX_STRETCH = 0.02  # of depth whose shape is not quite that of its camera
NO_COLOR = "no colour image of the depth's stamp"


def open_bag(path: Path, options: PosedOptions) -> PosedSource:
    """Returns the frames of a bag: of its one depth topic, or else of its images through the network.

    Raises:
        InputError, BagError: it does not say how the camera moved, or leaves open which topic is meant.
    """
    poses = BagPoses(path, options.pose_scale)
    with BagReader(path) as reader:
        topics = [] if options.infer else _depth_topics(reader)
    if options.depth_topic:
        if options.depth_topic not in topics:
            raise InputError(
                f"{path}: has no depth on '{options.depth_topic}'; it is on {', '.join(topics) or 'none'}"
            )
        topics = [options.depth_topic]
    if len(topics) > 1:
        choice = " or ".join(f"--depth-topic {topic}" for topic in topics)
        raise InputError(f"{path}: has depth on {len(topics)} topics; choose: {choice}; or --infer the depth")
    if topics:
        return DepthTopic(path, topics[0], poses, options)
    mounting = mounting_of(options.scale, options.camera_height)

    def pose_of(frame: CameraFrame) -> Pose:
        return poses.at(frame.stamp_ns, frame.frame_id)

    return NetworkFrames(lambda: BagSource(path, options.input), options.pipeline(), pose_of, mounting)


class BagPoses:
    """Where the frames of a bag were over time, in the world frame of its odometry or TF."""

    def __init__(self, path: Path, scale: float) -> None:
        self._path = path
        self._scale = scale
        self._motions: dict[str, tuple[EgoMotion, Pose]] = {}
        with BagReader(path) as reader:
            self._transforms = read_transforms(reader)

    def at(self, stamp_ns: int, frame_id: str) -> Pose:
        """Returns T_world_frame (4, 4) at a stamp.

        Raises:
            Unusable: if the motion does not cover the stamp.
            InputError: if the bag does not say how the frame moved.
        """
        frame_id = frame_id.removeprefix("/")
        if frame_id not in self._motions:
            self._motions[frame_id] = self._find(frame_id)
        motion, T_body_frame = self._motions[frame_id]
        if not motion.trajectory.covers(stamp_ns, SLACK_NS):
            first, last = motion.trajectory.stamps_ns[[0, -1]] * 1e-9
            raise Unusable(f"no pose: TF or odometry cover only {first:.2f} to {last:.2f} s")
        pose = motion.trajectory.pose(stamp_ns) @ T_body_frame
        pose[:3, 3] *= self._scale
        return np.asarray(pose, dtype=np.float64)

    def _find(self, frame_id: str) -> tuple[EgoMotion, Pose]:
        with BagReader(self._path) as reader:
            motion = read_ego_motion(reader, self._transforms, frame_id)
        if motion is None:
            raise InputError(
                f"{self._path}: does not say how '{frame_id}' moved; expected nav_msgs/Odometry or /tf from "
                "odom, map or world, of a frame that /tf_static connects with it: record these topics"
            )
        return motion, self._transforms.fixed.lookup(motion.frame, frame_id)


class DepthTopic:
    """The frames of a bag's depth topic; see PosedSource."""

    has_confidence = False
    usual_range = math.inf

    def __init__(self, path: Path, topic: str, poses: BagPoses, options: PosedOptions) -> None:
        self._path = path
        self._topic = topic
        self._poses = poses
        self._scale = 1.0 if options.depth_scale is None else options.depth_scale
        self._calibration = options.input.calibration
        with BagReader(path) as reader:
            self.length = reader.topics[topic].count
            self._info_topic = "" if self._calibration else _info_topic(reader, topic)
            self._color_topic = _color_topic(reader, topic, options.color_topic)
        self.description = f"{self.length} depth images on {topic} in {path}"
        self.notes = [] if self._color_topic else ["no colour: give --color-topic TOPIC of the depth's own view"]

    def read(self, reading: Reading, wanted: Collection[int] | None = None) -> Iterator[PosedDepth]:
        with BagReader(self._path) as reader:
            infos = reader.messages([self._info_topic]) if self._info_topic else iter(())
            info: Any = next((reader.deserialise(message) for message in infos), None)
            depths: dict[int, Any] = {}  # by stamp, until the colour of the same stamp has come
            colors: dict[int, Any] = {}
            index = -1
            for message in reader.messages([t for t in (self._topic, self._info_topic, self._color_topic) if t]):
                index += message.topic == self._topic
                if message.topic == self._topic and wanted is not None and index not in wanted:
                    continue
                try:
                    content = reader.deserialise(message)
                    stamp = stamp_ns_of(content.header)
                    if message.topic == self._info_topic:
                        info = content
                        continue
                    (depths if message.topic == self._topic else colors)[stamp] = content
                    if stamp in depths and (stamp in colors or not self._color_topic):
                        yield self._frame(depths.pop(stamp), colors.pop(stamp, None), info)
                except (BagError, CameraError, EncodingError, Unusable) as error:
                    reading.skipped[str(error)] += 1
                for waiting in (depths, colors):
                    if len(waiting) > MAX_WAITING:
                        waiting.pop(next(iter(waiting)))
                        reading.skipped[NO_COLOR] += waiting is depths
            reading.skipped.update({NO_COLOR: len(depths)} if depths else {})
            reading.damage += reader.damage

    def _frame(self, message: Any, color: Any, info: Any) -> PosedDepth:
        stamp = stamp_ns_of(message.header)
        pose = self._poses.at(stamp, message.header.frame_id)
        depth = depth_of(message)
        if self._calibration is not None:
            camera = self._calibration.camera
        elif info.header.frame_id == message.header.frame_id:
            camera = camera_from_info(info, rectified=True)
        else:
            raise CameraError(
                f"depth has frame_id '{message.header.frame_id}', its CameraInfo '{info.header.frame_id}'; they "
                "must be the same optical frame"
            )
        height, width = depth.shape
        if abs(math.log(width * camera.height / (height * camera.width))) > MAX_STRETCH:
            raise CameraError(
                f"depth is {width}x{height}, its camera {camera.width}x{camera.height}: of another shape, so what "
                "part of the view the depth shows is not known"
            )
        camera = camera.undistorted().resized(width=width, height=height)
        scaled = depth if self._scale == 1.0 else depth * np.float32(self._scale)
        return PosedDepth(
            scaled, camera, pose, None if color is None else rgb_of(color), name=f"depth at {stamp} ns"
        )


def _depth_topics(reader: BagReader) -> list[str]:
    """Returns the topics whose first message is a depth image."""
    found = []
    for topic in reader.topics.values():
        if topic.type == IMAGE and topic.count:
            message = next(reader.messages([topic.name]), None)
            if message is not None and reader.deserialise(message).encoding in DEPTH_ENCODINGS:
                found.append(topic.name)
    return found


def _info_topic(reader: BagReader, depth_topic: str) -> str:
    """Returns the topic of the depth's CameraInfo, which lies beside it."""
    topic = depth_topic.rpartition("/")[0] + "/camera_info"
    if topic not in reader.topics or reader.topics[topic].type != CAMERA_INFO or not reader.topics[topic].count:
        raise InputError(f"{reader.path}: has no CameraInfo on {topic}; give the camera with --calibration FILE")
    return topic


def _color_topic(reader: BagReader, depth_topic: str, asked: str) -> str:
    """Returns the topic of colour images of the depth's own view: the one asked for, or the depth node's."""
    topic = asked or depth_topic.removesuffix("/depth/image_rect") + "/image_rect"
    if topic in reader.topics and reader.topics[topic].type == IMAGE and reader.topics[topic].count:
        return topic
    if asked:
        raise InputError(f"{reader.path}: has no images on '{asked}'; its topics are {', '.join(reader.topics)}")
    return ""
