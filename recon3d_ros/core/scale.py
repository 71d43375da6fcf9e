"""Metric scale of a network's depth, steady over time: as the model says, from the road, or from a LiDAR.

scale = GroundScale(mounting)                  # or ModelScale(), LidarScale(T_camera_lidar)
estimate = scale.update(frame, stamp)
depth = apply(frame.depth, estimate)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.cloud import RayTable
from recon3d_ros.core.ground import SLOWLY_VARYING, GroundFit, fit_ground
from recon3d_ros.core.mounting import Mounting
from recon3d_ros.core.pipeline import DepthFrame
from recon3d_ros.core.scale_filter import ScaleFilter

SCALE_MODES = ("model", "ground", "lidar")


@dataclass(frozen=True)
class ScaleEstimate:
    """How a frame's depth becomes metric: metric = scale * depth.

    Attributes:
        scale: positive.
        sigma: standard deviation of log(scale); NaN where nothing is known of it (mode `model`).
        source: "model", "ground" or "lidar".
        is_held: no measurement could be used: the scale is the last one.
        reason: why it is held, else "".
        measured: what the frame says, before the filter; None where it says nothing.
    """

    scale: float
    sigma: float
    source: str
    is_held: bool = False
    reason: str = ""
    measured: float | None = None


class Scale(Protocol):
    """Where the scale comes from. One for each camera: it holds what it learned of the last frames."""

    def update(self, frame: DepthFrame, stamp: float) -> ScaleEstimate:
        """Returns the scale of a frame.

        Args:
            frame: as the pipeline made it, not scaled yet.
            stamp: of its image, seconds.
        """
        ...


def apply(depth: npt.NDArray[np.float32], estimate: ScaleEstimate) -> npt.NDArray[np.float32]:
    """Returns the metric depth; NaN and +Inf stay.

    Args:
        depth: (..., h, w) float32, as the network says.
        estimate: of the same frame.
    """
    return depth if estimate.scale == 1.0 else depth * np.float32(estimate.scale)


class ModelScale:
    """The scale as the network says."""

    def update(self, frame: DepthFrame, stamp: float) -> ScaleEstimate:
        """Returns scale 1."""
        return ScaleEstimate(scale=1.0, sigma=math.nan, source="model")


class GroundScale:
    """The scale at which the road lies as far below the camera as it does.

    The scale is the network's, not the mounting's: it outlives a mounting that moves with the vehicle's springs.

    Attributes:
        mounting: of the camera at the next frame; may be set.
        fit: the last frame's road, in the network's own scale.
    """

    def __init__(self, mounting: Mounting, scale_filter: ScaleFilter | None = None) -> None:
        self.mounting = mounting
        self.fit = GroundFit(None, "no frame yet")
        self._filter = scale_filter or ScaleFilter()
        self._rays = RayTable()

    def update(self, frame: DepthFrame, stamp: float) -> ScaleEstimate:
        """Returns the filtered scale; where the frame shows no road, the last one, with the reason."""
        self._filter.predict(stamp)
        points = self._rays.points(frame.depth, frame.camera, stride=4)
        self.fit = fit_ground(points, self.mounting)
        plane, measured, reason = self.fit.plane, None, self.fit.reason
        if plane is not None:
            measured = self.mounting.height / plane.height
            if not self._filter.correct(measured, plane.sigma):
                reason = f"the road says {measured:.2f}, too far from {self._filter.state.scale:.2f}"
        state = self._filter.state
        sigma = math.hypot(state.sigma, SLOWLY_VARYING)
        return ScaleEstimate(state.scale, sigma, "ground", bool(reason), reason, measured)
