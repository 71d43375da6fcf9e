"""What navigation gets of one camera: metric depth, clean points, the road and what stands on it, a scan.

The order is that of trust. The network's depth is made metric first, by what is not the vehicle itself, since
all later thresholds are in metres; then limited to the range; then cleaned of what cannot be believed (edges, low
confidence, the vehicle itself), for all outputs alike; then each output selects what it wants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.clearing import clearing_points
from recon3d_ros.core.cloud import RayTable, limit_range
from recon3d_ros.core.cloud_filters import Cloud, CloudFilter, CloudFilterOptions
from recon3d_ros.core.ground import GroundPlane, fit_ground, nominal_plane
from recon3d_ros.core.lidar import Pose
from recon3d_ros.core.lidar_scale import LidarScale
from recon3d_ros.core.mounting import Mounting
from recon3d_ros.core.obstacles import SplitOptions, split_ground
from recon3d_ros.core.pipeline import DepthFrame
from recon3d_ros.core.preprocess import Rectifier
from recon3d_ros.core.scale import GroundScale, ModelScale, Scale, ScaleEstimate, apply
from recon3d_ros.core.scan import Scan, ScanMaker, ScanOptions

GROUND_STRIDE = 4  # of the pixels that the road is fitted to where the scale has not done it


@dataclass(frozen=True)
class ViewOptions:
    """What a camera's view is made with.

    Attributes:
        scale_mode: "model", "ground" or "lidar".
        min_range, max_range: metres along z.
        filters: of depth and points.
        split: what counts as an obstacle.
        scan: of the laser scan.
    """

    scale_mode: str
    min_range: float
    max_range: float
    filters: CloudFilterOptions
    split: SplitOptions
    scan: ScanOptions


@dataclass(frozen=True, eq=False)
class Place:
    """Where a camera was at an image's stamp, as far as it is known.

    Attributes:
        T_base_camera: (4, 4), p_base = T_base_camera @ p_optical, or None.
        mounting: over the road, or None.
        T_camera_lidar: (4, 4), or None.
    """

    T_base_camera: Pose | None = None
    mounting: Mounting | None = None
    T_camera_lidar: Pose | None = None


@dataclass(frozen=True, eq=False)
class View:
    """A frame made metric and clean.

    Attributes:
        frame: as the pipeline made it, with the metric, clean depth.
        estimate: how its depth became metric.
        place: where the camera was.
    """

    frame: DepthFrame
    estimate: ScaleEstimate
    place: Place


class CameraView:
    """Makes the views of one camera, and what is published of them. Holds the scale's state between frames."""

    def __init__(self, options: ViewOptions) -> None:
        self.options = options
        self._scale: Scale = ModelScale()
        self._filter = CloudFilter(options.filters)
        self._scan = ScanMaker(options.scan)
        self._rays = RayTable()
        self._label_rays = RayTable()
        self._last: ScaleEstimate | None = None
        self._all_rays: tuple[CameraModel, npt.NDArray[np.float32]] | None = None

    def set_options(self, options: ViewOptions) -> None:
        """Changes the options between two frames; what did not change keeps its state."""
        if options.filters != self.options.filters:
            self._filter = CloudFilter(options.filters)
        if options.scan != self.options.scan:
            self._scan = ScanMaker(options.scan)
        self.options = options

    def add_sweep(self, points: npt.ArrayLike, stamp: float, T_camera_lidar: Pose) -> None:
        """Takes a LiDAR's sweep for the scale mode "lidar".

        Args:
            points: (N, 3) metres, LiDAR frame.
            stamp: seconds.
            T_camera_lidar: (4, 4).
        """
        scale = self._scale
        if not isinstance(scale, LidarScale):
            self._scale = scale = LidarScale(T_camera_lidar)
        scale.T_camera_lidar = T_camera_lidar
        scale.add_sweep(points, stamp)

    def see(self, frame: DepthFrame, rectifier: Rectifier, stamp: float, place: Place) -> View:
        """Returns a frame's view.

        Args:
            frame: as the pipeline made it, its range not limited yet.
            rectifier: that made its image.
            stamp: of the image, seconds.
            place: where the camera was then.

        Raises:
            MaskError: if the ego mask lies outside the camera's image.
        """
        surroundings = replace(frame, depth=self._filter.without_vehicle(frame.depth, rectifier))
        estimate = self._estimate(surroundings, stamp, place)
        depth = limit_range(
            apply(frame.depth, estimate), min_range=self.options.min_range, max_range=self.options.max_range
        )
        depth = self._filter.clean(depth, rectifier, frame.confidence)
        return View(replace(frame, depth=depth), estimate, place)

    def _estimate(self, frame: DepthFrame, stamp: float, place: Place) -> ScaleEstimate:
        mode, mounting = self.options.scale_mode, place.mounting
        if mode == "ground":
            if mounting is None:
                return self._held(mode, "the camera's place over the road is not known")
            if not isinstance(self._scale, GroundScale):
                self._scale = GroundScale(mounting)
            self._scale.mounting = mounting  # a base frame on the road moves under a vehicle that pitches
        elif mode == "lidar":
            if not isinstance(self._scale, LidarScale):
                self._scale = ModelScale()  # the road of another mode is over
                return self._held(mode, "no LiDAR sweep has come")
        elif not isinstance(self._scale, ModelScale):
            self._scale = ModelScale()
        self._last = self._scale.update(frame, stamp)
        return self._last

    def _held(self, mode: str, reason: str) -> ScaleEstimate:
        """Returns the last scale of a mode that has nothing to go by now; the network's own before the first."""
        if self._last is None or self._last.source != mode:
            return ScaleEstimate(1.0, math.nan, mode, is_held=True, reason=reason)
        return replace(self._last, is_held=True, reason=reason, measured=None)

    def cloud(self, view: View, *, colors: bool, stride: int, organised: bool) -> Cloud:
        """Returns the points of a view, optical frame.

        Raises:
            FilterError: if a filter needs the camera's place in the base frame, and it is not known.
        """
        return self._filter.cloud(
            view.frame.depth,
            view.frame.camera,
            colors=view.frame.image if colors else None,
            T_base_camera=view.place.T_base_camera,
            stride=stride,
            organised=organised,
        )

    def road(self, view: View) -> GroundPlane | None:
        """Returns the road in a view, metres: as seen, else as the mounting has it; None without a mounting."""
        if view.place.mounting is None:
            return None
        if isinstance(self._scale, GroundScale):
            fit = self._scale.fit
            plane = None if fit.plane is None else fit.plane.scaled(view.estimate.scale)
        else:
            points = self._rays.points(view.frame.depth, view.frame.camera, stride=GROUND_STRIDE)
            plane = fit_ground(points, view.place.mounting).plane
        return nominal_plane(view.place.mounting) if plane is None else plane

    def labels(self, view: View, road: GroundPlane, *, stride: int) -> npt.NDArray[np.uint8]:
        """Returns what each point of `cloud` is: obstacles.GROUND, OBSTACLE or NEITHER.

        Judged with all points there are, not with those that a voxel grid or another filter has left.
        """
        points = self._label_rays.points(view.frame.depth, view.frame.camera, stride=stride)
        return split_ground(points, road, self.options.split)

    def clearing(self, view: View, T_base_camera: Pose) -> npt.NDArray[np.float32]:
        """Returns (N, 3) points, optical frame, at the scan's range where the view is free in its height band."""
        camera, scan = view.frame.camera, self.options.scan
        if self._all_rays is None or self._all_rays[0] != camera:
            self._all_rays = camera, camera.rays()
        return clearing_points(
            view.frame.depth,
            self._all_rays[1],
            max_range=scan.max_range,
            T_base_camera=T_base_camera,
            min_height=scan.min_height,
            max_height=scan.max_height,
        )

    def scan(self, view: View, T_base_camera: Pose) -> Scan:
        """Returns the scan of a view in the base frame."""
        depth = self._filter.outside_box(view.frame.depth, view.frame.camera, T_base_camera)
        return self._scan(depth, view.frame.camera, T_base_camera)
