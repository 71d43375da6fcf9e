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


class LidarScale:
    """The scale at which the network's depth is that of the LiDAR, in the median of the last sweeps' returns.

    Args:
        T_camera_lidar: (4, 4), p_camera = T_camera_lidar @ p_lidar, metres, optical frame.
        sweeps: how many of the last sweeps are fitted together. Each is compared with the image it belongs to, so
            that the vehicle's motion between them does not matter.
        max_age: of a sweep against an image, seconds; a vehicle at 10 m/s moves 0.5 m in 0.05 s.
        min_range, max_range: of the returns used, metres along z.
    """

    def __init__(
        self,
        T_camera_lidar: Pose,
        *,
        sweeps: int = 5,
        max_age: float = 0.06,
        min_range: float = 1.0,
        max_range: float = 80.0,
        scale_filter: ScaleFilter | None = None,
    ) -> None:
        self.T_camera_lidar = np.asarray(T_camera_lidar, dtype=np.float64)
        if self.T_camera_lidar.shape != (4, 4) or not np.isfinite(self.T_camera_lidar).all():
            raise LidarError(f"T_camera_lidar is {self.T_camera_lidar.tolist()}, expected a finite 4x4 transform")
        self.max_age = max_age
        self.min_range = min_range
        self.max_range = max_range
        self._filter = scale_filter or ScaleFilter()
        self._sweeps: deque[tuple[float, Points]] = deque(maxlen=20)
        self._log_ratios: deque[npt.NDArray[np.float64]] = deque(maxlen=sweeps)

    def add_sweep(self, points: npt.ArrayLike, stamp: float) -> None:
        """Takes a sweep; `update` uses it for the image next to it in time.

        Args:
            points: (N, 3 or more), x y z in metres, LiDAR frame; not finite where there was no return.
            stamp: seconds, on the images' clock.
        """
        self._sweeps.append((stamp, transform(points, self.T_camera_lidar)))

    def update(self, frame: DepthFrame, stamp: float) -> ScaleEstimate:
        """Returns the filtered scale; where no sweep belongs to the frame, the last one, with the reason."""
        if self._filter.predict(stamp):
            self._log_ratios.clear()
        measured, reason = self._measure(frame, stamp)
        if measured is not None:
            value, sigma = measured
            if not self._filter.correct(value, sigma):
                reason = f"the LiDAR says {value:.2f}, too far from {self._filter.state.scale:.2f}"
        state = self._filter.state
        return ScaleEstimate(
            state.scale, state.sigma, "lidar", bool(reason), reason, None if measured is None else measured[0]
        )

    def _measure(self, frame: DepthFrame, stamp: float) -> tuple[tuple[float, float] | None, str]:
        """Returns the scale of the last sweeps and its sigma, or None and why there is none."""
        sweeps = list(self._sweeps)
        if not sweeps:
            return None, "no LiDAR sweep has come"
        sweep_stamp, points = min(sweeps, key=lambda sweep: abs(sweep[0] - stamp))
        if abs(sweep_stamp - stamp) > self.max_age:
            return None, f"the nearest LiDAR sweep is {abs(sweep_stamp - stamp):.2f} s from the image"
        seen = project(remove_occluded(points, frame.camera), frame.camera)
        depth = frame.depth[seen.row, seen.column]
        used = np.isfinite(depth) & (depth > 0) & (seen.z >= self.min_range) & (seen.z <= self.max_range)
        if np.count_nonzero(used) < MIN_RETURNS:
            return None, f"{np.count_nonzero(used)} LiDAR returns meet a depth, expected {MIN_RETURNS}"
        self._log_ratios.append(np.log(seen.z[used] / depth[used]))
        ratios = np.concatenate(list(self._log_ratios))
        middle = float(np.median(ratios))
        spread = 1.4826 * float(np.median(np.abs(ratios - middle)))
        return (math.exp(middle), math.hypot(0.01, spread / math.sqrt(MIN_RETURNS))), ""
