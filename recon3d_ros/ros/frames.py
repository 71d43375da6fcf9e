"""Where a frame was at an image's stamp: from TF where tf2_ros is installed, else from the parameters alone."""

from __future__ import annotations

import math
import time
from typing import Any, Protocol

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.time import Time

from recon3d_ros.core.lidar import LidarError, Pose, pose_matrix
from recon3d_ros.core.transforms import TransformError, TransformTree, quaternion_xyzw

POLL_PERIOD = 0.002  # seconds between two looks into the buffer
FORGET_PERIOD = 1.0  # seconds; all cameras of a bag that loops tell of the same jump within it


class Frames(Protocol):
    """Answers where one frame is in another."""

    def lookup(self, target: str, source: str, stamp_ns: int, *, timeout: float) -> Pose:
        """Returns T_target_source (4, 4) at a stamp: p_target = T_target_source @ p_source, metres.

        Args:
            target, source: frames.
            stamp_ns: nanoseconds.
            timeout: seconds to wait at most for a transform that is still under way.

        Raises:
            TransformError: if it is not known by then.
        """
        ...

    def forget(self) -> None:
        """Forgets what moved, after time jumped back; tf2 refuses what is older than it knows."""
        ...

    def close(self) -> None:
        """Ends the subscriptions that this holds."""
        ...


class FixedFrames:
    """The transforms of the parameter `static_transforms`, and no others."""

    def __init__(self, tree: TransformTree) -> None:
        self._tree = tree

    def lookup(self, target: str, source: str, stamp_ns: int, *, timeout: float) -> Pose:
        try:
            return self._tree.lookup(target, source)
        except TransformError as error:
            raise TransformError(
                f"{error} (parameter static_transforms; tf2_ros is not installed, so /tf is not read)"
            ) from error

    def forget(self) -> None:
        """Nothing moves."""

    def close(self) -> None:
        """Nothing to end."""


class TfFrames:
    """TF's transforms, with those of the parameter `static_transforms` among them.

    Waiting looks into the buffer again and again by the steady clock. tf2's own waiting goes by the node's clock,
    and would never end while /clock stands still.

    Args:
        buffer: a tf2_ros.Buffer.
        listener: what fills it, or None; ended by `close`.
    """

    def __init__(self, buffer: Any, listener: Any = None) -> None:
        self._buffer = buffer
        self._listener = listener
        self._forgot = -math.inf

    def lookup(self, target: str, source: str, stamp_ns: int, *, timeout: float) -> Pose:
        stamp = Time(nanoseconds=stamp_ns)
        deadline = time.monotonic() + timeout
        while True:
            try:
                return pose_of(self._buffer.lookup_transform(target, source, stamp))
            except LidarError as error:
                raise TransformError(f"TF from '{source}' to '{target}': {error}") from error
            except Exception as error:  # tf2's own, which cannot be named where tf2_ros is absent
                if time.monotonic() >= deadline:
                    raise TransformError(f"TF from '{source}' to '{target}': {error}") from error
            time.sleep(POLL_PERIOD)

    def forget(self) -> None:
        """Forgets what moved, once for all cameras: the second would forget what has come since the jump."""
        now = time.monotonic()
        if now - self._forgot >= FORGET_PERIOD:
            self._forgot = now
            self._buffer.clear()

    def close(self) -> None:
        if self._listener is not None:
            self._listener.unregister()


def open_frames(node: Node, tree: TransformTree) -> Frames:
    """Returns the node's source of transforms: TF if tf2_ros is installed, else the tree alone."""
    try:
        import tf2_ros
    except ImportError:
        return FixedFrames(tree)
    buffer = tf2_ros.Buffer()
    for child, (parent, T_parent_child) in tree.parents.items():
        buffer.set_transform_static(transform_message(parent, child, T_parent_child), "recon3d_ros parameters")
    return TfFrames(buffer, tf2_ros.TransformListener(buffer, node, spin_thread=False))


def pose_of(message: TransformStamped) -> Pose:
    """Returns T_parent_child (4, 4) of a transform.

    Raises:
        LidarError: if its rotation is no unit quaternion.
    """
    t, q = message.transform.translation, message.transform.rotation
    return pose_matrix((t.x, t.y, t.z), rotation_wxyz=(q.w, q.x, q.y, q.z))


def transform_message(parent: str, child: str, T_parent_child: Pose) -> TransformStamped:
    """Returns the message of a transform that holds at any time."""
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = (float(value) for value in T_parent_child[:3, 3])
    rotation.x, rotation.y, rotation.z, rotation.w = quaternion_xyzw(T_parent_child[:3, :3])
    return message
