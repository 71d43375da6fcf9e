"""Which depths become points: what cannot be trusted, what is not wanted, and what is more than is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.edges import flying_pixels
from recon3d_ros.core.intervals import EVERYWHERE, Interval, Pose, within_band, within_box, within_range
from recon3d_ros.core.masks import Polygon, check_polygon, ego_mask
from recon3d_ros.core.preprocess import Rectifier
from recon3d_ros.core.voxel import MIN_SIZE, compile_now, has_neighbours, nearest_to_voxel_centres


class FilterError(ValueError):
    """An option that no filter can have, or a frame that lacks what a filter needs."""


@dataclass(frozen=True)
class CloudFilterOptions:
    """What is filtered; each filter is off by default.

    Attributes:
        min_confidence: 0..1; less sure pixels become invalid. 0 is off.
        ego_mask: polygons in pixels of the raw image, around what belongs to the vehicle. Empty is off.
        edge_threshold: flying pixels at steps of this part of the range become invalid (edges.flying_pixels). 0 is
            off.
        min_range, max_range: metres along the ray, from the camera. 0 is off.
        min_height, max_height: metres along z of the base frame; off where they are equal.
        ego_box: x_min, y_min, z_min, x_max, y_max, z_max of the vehicle, metres, base frame: no point inside.
            Empty is off.
        voxel_size: metres; one point a voxel. 0 is off.
        outlier_radius: metres; points with fewer than `outlier_neighbours` others within it go. 0 is off.
        outlier_neighbours: at least 1.

    Raises:
        FilterError: if a value is out of its range.
        MaskError: if a polygon has fewer than three corners or crosses itself.
    """

    min_confidence: float = 0.0
    ego_mask: tuple[Polygon, ...] = ()
    edge_threshold: float = 0.0
    min_range: float = 0.0
    max_range: float = 0.0
    min_height: float = 0.0
    max_height: float = 0.0
    ego_box: tuple[float, ...] = ()
    voxel_size: float = 0.0
    outlier_radius: float = 0.0
    outlier_neighbours: int = 4

    def __post_init__(self) -> None:
        for name in ("min_confidence", "edge_threshold", "min_range", "max_range", "voxel_size", "outlier_radius"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise FilterError(f"{name} is {value}, expected 0 (off) or more")
        if self.min_confidence > 1:
            raise FilterError(f"min_confidence is {self.min_confidence}, expected 0 (off) to 1")
        for name in ("voxel_size", "outlier_radius"):
            if 0 < getattr(self, name) < MIN_SIZE:
                raise FilterError(f"{name} is {getattr(self, name)} m, expected 0 (off) or at least {MIN_SIZE} m")
        if 0 < self.max_range <= self.min_range:
            raise FilterError(f"max_range is {self.max_range} m, expected more than min_range, {self.min_range} m")
        if not (math.isfinite(self.min_height) and math.isfinite(self.max_height)):
            raise FilterError(
                f"the height band is {self.min_height} to {self.max_height} m, expected finite heights"
            )
        if self.max_height < self.min_height:
            raise FilterError(
                f"max_height is {self.max_height} m, expected more than min_height, {self.min_height} m (or both "
                "equal: no height band)"
            )
        if self.outlier_neighbours < 1:
            raise FilterError(f"outlier_neighbours is {self.outlier_neighbours}, expected 1 or more")
        if self.ego_box and (
            len(self.ego_box) != 6
            or not all(a < b for a, b in zip(self.ego_box[:3], self.ego_box[3:], strict=True))
        ):
            raise FilterError(
                f"ego_box is {list(self.ego_box)}, expected x_min y_min z_min x_max y_max z_max in metres, each "
                "minimum below its maximum"
            )
        for polygon in self.ego_mask:
            check_polygon(polygon)

    @property
    def needs_base(self) -> bool:
        """Whether a filter needs to know where the camera is in the base frame."""
        return self.min_height < self.max_height or bool(self.ego_box)


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points of one camera.

    Attributes:
        points: (h, w, 3) float32 metres with NaN where there is none, or (N, 3), all finite; optical frame.
        colors: uint8 RGB of the same shape, or None.
    """

    points: npt.NDArray[np.float32]
    colors: npt.NDArray[np.uint8] | None


class CloudFilter:
    """Filters one camera's frames in two steps, cheapest first.

    `clean` works on the depth image and decides what cannot be trusted: that holds for every consumer (cloud,
    scan, ground). Edges are found first, on the depth as the network gave it: a mask or a confidence that punches
    a hole would hide the neighbours that an edge is known by. `cloud` then selects: range, height and box as two
    comparisons of z a pixel, before any point is made; then points, of which one a voxel is kept; then outliers,
    last, since they cost most a point, and since a number of neighbours means the same everywhere only among
    evenly spaced points.

    Holds tables that depend on the camera and its mounting alone; they are made anew where one changes.
    """

    def __init__(self, options: CloudFilterOptions | None = None) -> None:
        self.options = options or CloudFilterOptions()
        self._mask_of: tuple[CameraModel, CameraModel] | None = None
        self._mask: npt.NDArray[np.bool_] = np.empty((0, 0), dtype=np.bool_)
        self._tables_of: tuple[CameraModel, int, bytes] | None = None
        self._rays: npt.NDArray[np.float32] = np.empty((0, 0, 3), dtype=np.float32)
        self._wanted = EVERYWHERE
        self._vehicle: Interval | None = None
        self._box_of: tuple[CameraModel, bytes] | None = None
        self._box = EVERYWHERE
        self._thins = bool(self.options.voxel_size or self.options.outlier_radius)
        if self._thins:
            compile_now()

    def clean(
        self,
        depth: npt.NDArray[np.float32],
        rectifier: Rectifier,
        confidence: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Returns the depth with NaN where it cannot be trusted, also where it was +Inf; a new array.

        Args:
            depth: (h, w) float32 metres along z; NaN invalid, +Inf nothing in range.
            rectifier: of the camera; knows where the raw image's mask lies in the depth image.
            confidence: (h, w) float32 in 0..1; None where the model has none, and min_confidence is then not
                applied.

        Raises:
            MaskError: if a corner of the ego mask lies outside the camera's image.
        """
        cleaned = depth.copy()
        if self.options.edge_threshold:
            cleaned[flying_pixels(depth, self.options.edge_threshold)] = np.nan
        if self.options.min_confidence and confidence is not None:
            cleaned[~(confidence >= self.options.min_confidence)] = np.nan  # NaN is no confidence
        if self.options.ego_mask:
            cleaned[self._ego_mask(rectifier)] = np.nan
        return cleaned

    def without_vehicle(self, depth: npt.NDArray[np.float32], rectifier: Rectifier) -> npt.NDArray[np.float32]:
        """Returns the depth with NaN where the ego mask is, and all else as it was; see `clean`."""
        return np.where(self._ego_mask(rectifier), np.float32(np.nan), depth) if self.options.ego_mask else depth

    def cloud(
        self,
        depth: npt.NDArray[np.float32],
        camera: CameraModel,
        *,
        colors: npt.NDArray[np.uint8] | None = None,
        T_base_camera: Pose | None = None,
        stride: int = 1,
        organised: bool = True,
    ) -> Cloud:
        """Returns the points of a depth image that are wanted.

        Args:
            depth: (H, W) float32 metres along z, as `clean` returns it.
            camera: of the depth, undistorted.
            colors: (H, W, 3) uint8 RGB, or None.
            T_base_camera: (4, 4), p_base = T_base_camera @ p_optical; needed where options.needs_base.
            stride: every n-th pixel in both directions.
            organised: (ceil(H / stride), ceil(W / stride), 3) with NaN, or (N, 3) of finite points only.

        Raises:
            FilterError: if a height band or an ego box is set and T_base_camera is None.
        """
        self._update_tables(camera, stride, T_base_camera)
        depth = depth[::stride, ::stride]
        colors = None if colors is None else colors[::stride, ::stride]
        keep = self._wanted.contains(depth)
        if self._vehicle is not None:
            keep &= ~self._vehicle.contains(depth)
        if organised and not self._thins:
            return Cloud(self._rays * np.where(keep, depth, np.float32(np.nan))[..., None], colors)
        rows = np.flatnonzero(keep)
        points = self._rays.reshape(-1, 3).take(rows, axis=0) * depth[keep][:, None]
        if self._thins:
            kept = self._thinned(points)
            rows, points = rows[kept], points[kept]
        if not organised:
            return Cloud(points, None if colors is None else colors.reshape(-1, 3).take(rows, axis=0))
        grid = np.full((*depth.shape, 3), np.nan, dtype=np.float32)
        grid.reshape(-1, 3)[rows] = points
        return Cloud(grid, colors)

    def outside_box(
        self, depth: npt.NDArray[np.float32], camera: CameraModel, T_base_camera: Pose
    ) -> npt.NDArray[np.float32]:
        """Returns the depth with NaN where the surface is in the ego box: for what is made of depth, not points.

        Args:
            depth: (H, W) float32 metres along z.
            camera: of the depth, undistorted.
            T_base_camera: (4, 4).
        """
        box = self.options.ego_box
        if not box:
            return depth
        key = (camera, T_base_camera.tobytes())
        if self._box_of != key:
            self._box, self._box_of = within_box(camera.rays(), T_base_camera, box[:3], box[3:]), key
        return np.where(self._box.contains(depth), np.float32(np.nan), depth)

    def _thinned(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
        """Returns which of the (N, 3) points the voxel grid and the outlier filter leave."""
        kept = np.arange(len(points))
        if self.options.voxel_size:
            kept = np.flatnonzero(nearest_to_voxel_centres(points, self.options.voxel_size))
        if self.options.outlier_radius:
            radius, count = self.options.outlier_radius, self.options.outlier_neighbours
            kept = kept[has_neighbours(points.take(kept, axis=0), radius=radius, count=count)]
        return kept

    def _ego_mask(self, rectifier: Rectifier) -> npt.NDArray[np.bool_]:
        key = (rectifier.source, rectifier.camera)
        if self._mask_of != key:
            self._mask, self._mask_of = ego_mask(self.options.ego_mask, rectifier), key
        return self._mask

    def _update_tables(self, camera: CameraModel, stride: int, T_base_camera: Pose | None) -> None:
        options = self.options
        if options.needs_base and T_base_camera is None:
            raise FilterError(
                "a height band or an ego box is set, and T_base_camera is not known: give the transform from the "
                "camera to the base frame, or leave both filters off"
            )
        mounting = b"" if T_base_camera is None or not options.needs_base else T_base_camera.tobytes()
        key = (camera, stride, mounting)
        if self._tables_of == key:
            return
        if self._tables_of is None or self._tables_of[:2] != key[:2]:
            self._rays = np.ascontiguousarray(camera.rays()[::stride, ::stride])
        wanted, vehicle = EVERYWHERE, None
        if options.min_range or options.max_range:
            max_range = options.max_range or math.inf
            wanted &= within_range(self._rays, min_range=options.min_range, max_range=max_range)
        if T_base_camera is not None and options.min_height < options.max_height:
            wanted &= within_band(
                self._rays, T_base_camera, axis=2, low=options.min_height, high=options.max_height
            )
        if T_base_camera is not None and options.ego_box:
            vehicle = within_box(self._rays, T_base_camera, options.ego_box[:3], options.ego_box[3:])
        self._wanted, self._vehicle, self._tables_of = wanted, vehicle, key
