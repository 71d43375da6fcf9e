"""Where each camera is at its image's stamp, as far as an output needs it; waits a bounded time, never twice."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np

from recon3d_ros.core.camera_view import Place
from recon3d_ros.core.lidar import Pose
from recon3d_ros.core.mounting import Mounting, MountingError
from recon3d_ros.core.transforms import TransformError
from recon3d_ros.ros.frames import Frames
from recon3d_ros.ros.parameters import DepthNodeParameters

RETRY_PERIOD = 1.0  # seconds between two waits for a transform that did not come


@dataclass(frozen=True, eq=False)
class Located:
    """What is known of a camera's place, and what is not.

    Attributes:
        place: for the camera's view.
        T_target_camera: (4, 4) to the parameter target_frame, or None.
        problems: by a short reason, what is missing or cannot be; outputs that need it are withheld.
    """

    place: Place = field(default_factory=Place)
    T_target_camera: Pose | None = None
    problems: dict[str, str] = field(default_factory=dict)


class Places:
    """Looks the cameras' places up, in the inference thread.

    A transform is usually under way while the network runs, and has come when it is asked for. Where it has not,
    the thread waits: `transform_timeout` at most for all cameras of a batch together. A transform that did not
    come in that time is waited for once a second, not at each frame, until it has been there: one that never comes
    costs little, and one that always comes a little after the network's answer is not lost by a single delay.
    """

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self._missing: dict[tuple[str, str], float] = {}  # when each was waited for, monotonic seconds
        self._deadline = 0.0

    def start_batch(self, timeout: float) -> None:
        """Begins the wait that the cameras of a batch share, seconds."""
        self._deadline = time.monotonic() + timeout

    def locate(
        self,
        frame_id: str,
        stamp_ns: int,
        parameters: DepthNodeParameters,
        *,
        needs_base: bool,
        needs_mounting: bool,
        needs_target: bool,
    ) -> Located:
        """Returns where a camera was.

        Args:
            frame_id: its optical frame.
            stamp_ns: of its image, nanoseconds.
            parameters: that hold for the camera.
            needs_base: an output is in the base frame, or filtered by it.
            needs_mounting: an output or the scale goes by the road.
            needs_target: an output is in target_frame.
        """
        problems: dict[str, str] = {}
        T_base_camera, mounting, T_target_camera = None, None, None
        is_given = parameters.camera_height > 0
        if needs_base or (needs_mounting and not is_given):
            T_base_camera = self._lookup(parameters.base_frame, frame_id, stamp_ns, problems)
        if needs_mounting or T_base_camera is not None:
            try:
                if is_given:
                    mounting = Mounting.level(parameters.camera_height)
                elif T_base_camera is not None:
                    mounting = Mounting(T_base_camera)
            except MountingError as error:
                problems["mounting"] = f"{parameters.base_frame} -> {frame_id}: {error}; what needs it is withheld"
                T_base_camera = None  # nothing is published by a transform that cannot be
        if needs_target and parameters.target_frame:
            T_target_camera = self._lookup(parameters.target_frame, frame_id, stamp_ns, problems)
        return Located(Place(T_base_camera, mounting), T_target_camera, problems)

    def lidar(self, lidar_frame: str, frame_id: str, stamp_ns: int, problems: dict[str, str]) -> Pose | None:
        """Returns T_camera_lidar (4, 4), or None after noting the problem."""
        return self._lookup(frame_id, lidar_frame, stamp_ns, problems)

    def _lookup(self, target: str, source: str, stamp_ns: int, problems: dict[str, str]) -> Pose | None:
        if target == source:
            return np.eye(4)
        edge = (target, source)
        start = time.monotonic()
        is_awaited = start - self._missing.get(edge, -math.inf) >= RETRY_PERIOD
        timeout = max(self._deadline - start, 0.0) if is_awaited else 0.0
        try:
            pose = self.frames.lookup(target, source, stamp_ns, timeout=timeout)
        except TransformError as error:
            if is_awaited:
                self._missing[edge] = start
            problems["transform"] = f"{error}; what needs it is withheld"
            return None
        self._missing.pop(edge, None)
        return pose
