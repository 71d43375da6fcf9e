"""The transforms of a bag: those that stand still as a tree, those that move as trajectories."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from recon3d_ros.bags.bag_path import BagError
from recon3d_ros.bags.reader import BagReader
from recon3d_ros.core.lidar import LidarError, Pose, Trajectory, pose_matrix
from recon3d_ros.core.stamps import stamp_ns_of
from recon3d_ros.core.transforms import TransformError, TransformTree

TF_MESSAGE = "tf2_msgs/msg/TFMessage"
ODOMETRY = "nav_msgs/msg/Odometry"
WORLD_FRAMES = ("odom", "map", "world")  # REP 105; odom first, for it does not jump
STILL = 1e-5  # metres and radians: a transform on /tf that changes less is a fixed one, published again and again

Edge = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Transforms:
    """All transforms of a bag.

    Attributes:
        fixed: those that stand still.
        moving: those that do not, by (parent, child): T_parent_child over time.
    """

    fixed: TransformTree
    moving: dict[Edge, Trajectory]


@dataclass(frozen=True, eq=False)
class EgoMotion:
    """How the vehicle moved: T_world_frame over time, of one of its frames."""

    frame: str
    trajectory: Trajectory


def read_transforms(reader: BagReader) -> Transforms:
    """Returns the transforms that a bag holds on topics of type tf2_msgs/TFMessage."""
    topics = [topic.name for topic in reader.topics.values() if topic.type == TF_MESSAGE and topic.count]
    found: dict[Edge, dict[int, Pose]] = defaultdict(dict)
    for message in reader.messages(topics) if topics else ():
        for item in reader.deserialise(message).transforms:
            edge = (_name(item.header.frame_id), _name(item.child_frame_id))
            what = f"{message.topic}, {edge[0]} -> {edge[1]}"
            pose = _pose(item.transform.translation, item.transform.rotation, what)
            found[edge][stamp_ns_of(item.header)] = pose
    parents, moving = {}, {}
    for (parent, child), poses in found.items():
        matrices = np.stack(list(poses.values()))
        if np.abs(matrices - matrices[0]).max() < STILL:
            parents[child] = (parent, matrices[0])
        else:
            moving[parent, child] = _trajectory(poses)
    try:
        return Transforms(TransformTree(parents), moving)
    except TransformError as error:
        raise BagError(f"{reader.path}: {error}") from error


def read_ego_motion(reader: BagReader, transforms: Transforms, sensor_frame: str) -> EgoMotion | None:
    """Returns how the vehicle moved, from nav_msgs/Odometry or else from /tf, or None where the bag does not say.

    Args:
        reader: of the bag.
        transforms: of the bag.
        sensor_frame: on the vehicle; motion of a frame that is not fixed to it does not count.
    """
    odometry = [topic for topic in reader.topics.values() if topic.type == ODOMETRY and topic.count > 1]
    for topic in sorted(odometry, key=lambda topic: -topic.count):
        poses, frame = {}, ""
        for message in reader.messages([topic.name]):
            content = reader.deserialise(message)
            pose = content.pose.pose
            poses[stamp_ns_of(content.header)] = _pose(pose.position, pose.orientation, topic.name)
            frame = _name(content.child_frame_id)
        if len(poses) > 1 and transforms.fixed.connects(frame, sensor_frame):
            return EgoMotion(frame, _trajectory(poses))
    for world in WORLD_FRAMES:
        for (parent, child), trajectory in transforms.moving.items():
            if parent == world and transforms.fixed.connects(child, sensor_frame):
                return EgoMotion(child, trajectory)
    return None


def _pose(translation: Any, rotation: Any, what: str) -> Pose:
    """Returns the (4, 4) matrix of a message's x y z and quaternion; `what` names them in the error."""
    t, q = translation, rotation
    try:
        return pose_matrix((t.x, t.y, t.z), rotation_wxyz=(q.w, q.x, q.y, q.z))
    except LidarError as error:
        raise BagError(f"{what}: {error}; its publisher does not set the rotation") from error


def _name(frame: str) -> str:
    """Returns a frame's name without the slash that some ROS 1 nodes still put before it."""
    return frame.removeprefix("/")


def _trajectory(poses: dict[int, Pose]) -> Trajectory:
    stamps = sorted(poses)
    return Trajectory(np.array(stamps, dtype=np.int64), np.stack([poses[stamp] for stamp in stamps]))
