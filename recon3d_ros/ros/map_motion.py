"""Where the camera was in the map's frame: by TF, or by odometry and fixed transforms."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Protocol

import numpy as np
from nav_msgs.msg import Odometry

from recon3d_ros.core.lidar import Pose, Trajectory, pose_matrix
from recon3d_ros.core.stamps import stamp_ns_of
from recon3d_ros.core.transforms import TransformError
from recon3d_ros.ros.frames import Frames

KEPT = 500  # odometry messages; ten seconds at 50 Hz
SLACK_NS = 100_000_000  # the motion is carried on so far beyond its newest pose
POLL_PERIOD = 0.002  # seconds


class Motion(Protocol):
    """Answers where a camera was."""

    def pose(self, frame_id: str, stamp_ns: int) -> Pose:
        """Returns T_world_camera (4, 4) of a frame at a stamp; raises TransformError where it is not known."""
        ...

    def forget(self) -> None:
        """Forgets the past, after time jumped back."""
        ...


class TfMotion:
    """By TF alone."""

    def __init__(self, frames: Frames, world_frame: str, timeout: float) -> None:
        self._frames = frames
        self._world_frame = world_frame
        self._timeout = timeout

    def pose(self, frame_id: str, stamp_ns: int) -> Pose:
        return self._frames.lookup(self._world_frame, frame_id, stamp_ns, timeout=self._timeout)

    def forget(self) -> None:
        self._frames.forget()


class OdometryMotion:
    """By nav_msgs/Odometry from the world to the vehicle, and fixed transforms from there to the camera."""

    def __init__(self, frames: Frames, topic: str, timeout: float) -> None:
        self._frames = frames
        self._topic = topic
        self._timeout = timeout
        self._lock = threading.Lock()
        self._poses: deque[tuple[int, Pose]] = deque(maxlen=KEPT)
        self._body = ""

    def receive(self, message: Odometry) -> None:
        """Takes the next message.

        Raises:
            LidarError: if its rotation is no unit quaternion.
        """
        p, q = message.pose.pose.position, message.pose.pose.orientation
        stamp_ns = stamp_ns_of(message.header)
        pose = pose_matrix((p.x, p.y, p.z), rotation_wxyz=(q.w, q.x, q.y, q.z))
        with self._lock:
            self._body = message.child_frame_id
            if not self._poses or stamp_ns > self._poses[-1][0]:
                self._poses.append((stamp_ns, pose))

    def pose(self, frame_id: str, stamp_ns: int) -> Pose:
        """Returns T_world_camera (4, 4); waits for the odometry after the stamp as long as the timeout says."""
        deadline = time.monotonic() + self._timeout
        while True:
            with self._lock:
                poses, body = list(self._poses), self._body
            if (poses and poses[-1][0] >= stamp_ns) or time.monotonic() >= deadline:
                break
            time.sleep(POLL_PERIOD)
        if len(poses) < 2:
            raise TransformError(f"{len(poses)} messages on {self._topic} yet, expected two or more")
        stamps, matrices = zip(*poses, strict=True)
        trajectory = Trajectory(np.array(stamps, dtype=np.int64), np.stack(matrices))
        if not trajectory.covers(stamp_ns, SLACK_NS):
            apart = max(stamps[0] - stamp_ns, stamp_ns - stamps[-1]) * 1e-9
            raise TransformError(
                f"{self._topic} does not cover the depth's stamp, by {apart:.2f} s; are both stamped by one clock?"
            )
        T_body_camera = self._frames.lookup(body, frame_id, stamp_ns, timeout=self._timeout)
        return np.asarray(trajectory.pose(stamp_ns) @ T_body_camera, dtype=np.float64)

    def forget(self) -> None:
        self._frames.forget()
        with self._lock:
            self._poses.clear()
