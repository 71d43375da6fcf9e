"""Metric scale from a LiDAR: its returns against the network's depth at the same pixels."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.lidar import LidarError, Points, Pose, project, remove_occluded, transform
from recon3d_ros.core.pipeline import DepthFrame
from recon3d_ros.core.scale import ScaleEstimate
from recon3d_ros.core.scale_filter import ScaleFilter

MIN_RETURNS = 50  # with a depth of the network's; fewer say nothing of the whole image
MIN_Z, MAX_Z = 1.0, 80.0  # metres, of the returns used
KEPT = 10  # frames and sweeps that wait for each other: a driver may publish a sweep when its turn is over


class LidarScale:
    """The scale at which the network's depth is that of the LiDAR, in the median of the last sweeps' returns.

    Each sweep is compared with the image next to it in time, whichever of the two comes first, so that the
    vehicle's motion between the sweeps does not matter.

    Args:
        T_camera_lidar: (4, 4), p_camera = T_camera_lidar @ p_lidar, metres, optical frame; of the sweeps to
            come, may be set.
        sweeps: how many of the last sweeps are fitted together.
        max_age: between a sweep and its image, seconds; a vehicle at 10 m/s moves 0.5 m in 0.05 s.
        max_silence: between a frame and the last sweep that was compared, seconds; after it the scale is held.
    """

    def __init__(
        self,
        T_camera_lidar: Pose,
        *,
        sweeps: int = 5,
        max_age: float = 0.06,
        max_silence: float = 0.5,
        scale_filter: ScaleFilter | None = None,
    ) -> None:
        self.T_camera_lidar = np.asarray(T_camera_lidar, dtype=np.float64)
        if self.T_camera_lidar.shape != (4, 4) or not np.isfinite(self.T_camera_lidar).all():
            raise LidarError(f"T_camera_lidar is {self.T_camera_lidar.tolist()}, expected a finite 4x4 transform")
        self.max_age = max_age
        self.max_silence = max_silence
        self._filter = scale_filter or ScaleFilter()
        self._sweeps: deque[tuple[float, Points]] = deque(maxlen=KEPT)
        self._frames: deque[tuple[float, DepthFrame]] = deque(maxlen=KEPT)
        self._log_ratios: deque[npt.NDArray[np.float64]] = deque(maxlen=sweeps)
        self._compared: float | None = None
        self._problem = "no LiDAR sweep has come"

    def add_sweep(self, points: npt.ArrayLike, stamp: float) -> None:
        """Takes a sweep; the next `update` compares it. May be called from another thread.

        Args:
            points: (N, 3 or more), x y z in metres, LiDAR frame; not finite where there was no return.
            stamp: seconds, on the images' clock.
        """
        self._sweeps.append((stamp, transform(points, self.T_camera_lidar)))

    def update(self, frame: DepthFrame, stamp: float) -> ScaleEstimate:
        """Returns the filtered scale; where no sweep belongs to the last frames, the last one, with the reason."""
        if self._filter.predict(stamp):
            self._frames.clear()
            self._log_ratios.clear()
            self._compared, self._problem = None, "no LiDAR sweep has come since time jumped"
        self._frames.append((stamp, frame))
        measured = None
        if self._compare_sweeps():
            measured, sigma = self._fit()
            if not self._filter.correct(measured, sigma):
                self._problem = f"the LiDAR says {measured:.2f}, too far from {self._filter.state.scale:.2f}"
        reason = self._problem
        if not reason and self._compared is not None and stamp - self._compared > self.max_silence:
            reason = f"the last LiDAR sweep that belongs to an image is {stamp - self._compared:.2f} s old"
        state = self._filter.state
        return ScaleEstimate(state.scale, state.sigma, "lidar", bool(reason), reason, measured)

    def _compare_sweeps(self) -> bool:
        """Compares the sweeps that came since the last frame; returns whether one of them brought returns."""
        is_compared = False
        for _ in range(len(self._sweeps)):
            stamp, points = self._sweeps.popleft()
            frame_stamp, frame = min(self._frames, key=lambda kept: abs(kept[0] - stamp))
            if abs(frame_stamp - stamp) <= self.max_age:
                is_compared |= self._compare(points, frame, stamp)
            elif 0.0 < stamp - self._frames[-1][0] < self.max_silence:
                self._sweeps.append((stamp, points))  # its image has yet to come
            elif self._compared is None:
                self._problem = f"a LiDAR sweep is {abs(frame_stamp - stamp):.2f} s from the nearest image"
        return is_compared

    def _compare(self, points: Points, frame: DepthFrame, stamp: float) -> bool:
        """Keeps the log ratios of a sweep's depths to a frame's; returns whether there are enough."""
        seen = project(remove_occluded(points, frame.camera), frame.camera)
        depth = frame.depth[seen.row, seen.column]
        used = np.isfinite(depth) & (depth > 0) & (seen.z >= MIN_Z) & (seen.z <= MAX_Z)
        count = int(np.count_nonzero(used))
        if count < MIN_RETURNS:
            self._problem = f"{count} LiDAR returns meet a depth, expected {MIN_RETURNS}"
            return False
        self._log_ratios.append(np.log(seen.z[used] / depth[used]))
        self._compared, self._problem = stamp, ""
        return True

    def _fit(self) -> tuple[float, float]:
        """Returns the median scale of the last sweeps, and the standard deviation of its logarithm."""
        ratios = np.concatenate(list(self._log_ratios))
        middle = float(np.median(ratios))
        spread = 1.4826 * float(np.median(np.abs(ratios - middle)))
        # The errors of neighbouring returns go together: all say as much as this many independent ones.
        return math.exp(middle), math.hypot(0.01, spread / math.sqrt(MIN_RETURNS))
