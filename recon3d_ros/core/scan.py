"""A laser scan out of a depth image: the nearest obstacle of each direction, and where the view is free.

The scan lies in a level frame with z up that TF knows; the node takes the base frame, since consumers cannot use
one that nobody publishes. A pixel's direction in it is exact: the point is moved there and its azimuth taken, for
any mounting, so that a pitched or rolled camera is no special case. Where the frame's origin is not at the camera,
a ray of the scan starts where the camera is not; what lies between origin and camera is not seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.intervals import Floats, Interval, Pose, along, within_band


class ScanError(ValueError):
    """Options that no scan can have, or a camera that cannot see what is asked for."""


@dataclass(frozen=True)
class ScanOptions:
    """What a scan is made of.

    Attributes:
        min_height, max_height: of an obstacle, metres along z of the scan's frame.
        min_range, max_range: horizontal distances from the frame's origin, metres.
        angle_increment: radians; 0 takes that of two columns at the image's centre, 1 / fx.

    Raises:
        ScanError: if a value is out of its range.
    """

    min_height: float = 0.3
    max_height: float = 2.0
    min_range: float = 0.5
    max_range: float = 30.0
    angle_increment: float = 0.0

    def __post_init__(self) -> None:
        if not -math.inf < self.min_height < self.max_height < math.inf:
            raise ScanError(
                f"the scan's height band is {self.min_height} to {self.max_height} m, expected min_height "
                "below max_height"
            )
        if not 0 <= self.min_range < self.max_range < math.inf:
            raise ScanError(
                f"the scan's range is {self.min_range} to {self.max_range} m, expected 0 <= min_range < max_range"
            )
        if not 0 <= self.angle_increment < 1:
            raise ScanError(f"angle_increment is {self.angle_increment} rad, expected 0 (from the camera) to 1")


@dataclass(frozen=True, eq=False)
class Scan:
    """What sensor_msgs/LaserScan holds; beam i points to angle_min + i * angle_increment.

    Attributes:
        ranges: (N,) float32, horizontal metres from the frame's origin: +Inf where the view is free to range_max,
            NaN where it is unknown (REP 117).
        angle_min, angle_max, angle_increment: radians about z, from x towards y.
        range_min, range_max: metres.
    """

    ranges: npt.NDArray[np.float32]
    angle_min: float
    angle_max: float
    angle_increment: float
    range_min: float
    range_max: float


class ScanMaker:
    """Makes the scans of one camera; its tables are made anew where calibration or mounting change.

    A beam is
    - the nearest point within band and range whose azimuth is in the beam, where there is one;
    - else +Inf, where at least half of the pixels whose rays are within the band at max_range are known to reach
      it (their depth is as far, or +Inf): an obstacle in the band would have stood in one of these rays;
    - else NaN: the depth is not known, an obstacle nearer than min_range hides the rest, or no ray of the camera
      is within the band at max_range.
    """

    def __init__(self, options: ScanOptions | None = None) -> None:
        self.options = options or ScanOptions()
        self._tables: _Tables | None = None
        self._tables_of: tuple[CameraModel, bytes] | None = None

    def __call__(self, depth: npt.NDArray[np.float32], camera: CameraModel, T_scan_camera: Pose) -> Scan:
        """Returns the scan of a depth image.

        Args:
            depth: (H, W) float32 metres along z; NaN unknown, +Inf nothing in range.
            camera: of the depth, undistorted.
            T_scan_camera: (4, 4), p_scan = T_scan_camera @ p_optical; z of the scan's frame is up.

        Raises:
            ScanError: if the camera is outside max_range of the frame's origin, or looks straight up or down.
        """
        key = (camera, T_scan_camera.tobytes())
        if self._tables is None or self._tables_of != key:
            self._tables, self._tables_of = _Tables(camera, T_scan_camera, self.options), key
        tables = self._tables
        ranges = np.full(tables.beams, np.inf, dtype=np.float32)

        is_obstacle = tables.obstacles.contains(depth)
        z = depth[is_obstacle]
        x, y = tables.x[is_obstacle] * z + tables.start_x, tables.y[is_obstacle] * z + tables.start_y
        distance = np.hypot(x, y)
        is_within = (distance >= self.options.min_range) & (distance <= self.options.max_range)
        x, y, z, distance = x[is_within], y[is_within], z[is_within], distance[is_within]
        for index, beam in tables.beams_of(x, y, z):
            np.minimum.at(ranges, beam, distance[index])

        reaches = depth.reshape(-1)[tables.far_pixels] >= tables.far_depths
        free = np.bincount(tables.far_beams, weights=reaches, minlength=tables.beams)
        is_free = (free > 0) & (2 * free >= tables.far_counts)
        ranges[np.isinf(ranges) & ~is_free] = np.nan
        return Scan(
            ranges=ranges,
            angle_min=tables.angle_min,
            angle_max=tables.angle_min + (tables.beams - 1) * tables.angle_increment,
            angle_increment=tables.angle_increment,
            range_min=self.options.min_range,
            range_max=self.options.max_range,
        )


class _Tables:
    """What of a scan depends on the camera, its mounting and the options alone.

    Here the scan's frame is turned about z so that x points to where the camera looks: no azimuth is near the seam
    at the back, whichever way that is.

    Attributes:
        x, y: (H, W) float32, the point's horizontal place from the camera per metre of depth.
        start_x, start_y: the camera's place, metres.
        obstacles: depths at which a pixel's point is in the height band and not beyond max_range.
        beams, angle_min, angle_increment: of the scan.
        far_pixels: (M,) the pixels, numbered by rows, whose rays are within the band at max_range.
        far_depths: (M,) their depths there; far_beams: their beams there.
        far_counts: (beams,) how many of them each beam has.
    """

    def __init__(self, camera: CameraModel, T_scan_camera: Pose, options: ScanOptions) -> None:
        forward, start = T_scan_camera[:2, 2], T_scan_camera[:2, 3]
        if math.hypot(*start) >= options.max_range:
            raise ScanError(
                f"the camera is at x {start[0]:.1f}, y {start[1]:.1f} m in the scan's frame, beyond the scan's "
                f"max_range of {options.max_range} m; check the frame and the transform"
            )
        if math.hypot(*forward) < 0.1:
            raise ScanError("the camera looks straight up or down; a scan needs one that looks to the side")
        heading = math.atan2(forward[1], forward[0])
        cos, sin = math.cos(heading), math.sin(heading)
        turned = np.array([[cos, sin], [-sin, cos]]) @ T_scan_camera[:2]
        rays = camera.rays()
        self.x, self.y = along(rays, turned[0, :3]), along(rays, turned[1, :3])
        self.start_x, self.start_y = np.float32(turned[0, 3]), np.float32(turned[1, 3])
        # A pixel is as wide as its column: half of it to either side, per metre of depth.
        self._half_column = (0.499 / camera.fx * turned[:, 0]).astype(np.float32)

        ends = _circle_depths(self.x, self.y, turned[:, 3], options.max_range)
        end_x, end_y = self.x * ends + self.start_x, self.y * ends + self.start_y
        azimuths = np.arctan2(end_y, end_x)
        self.angle_increment = options.angle_increment or 1.0 / camera.fx
        self._first = float(azimuths.min()) - self.angle_increment / 2
        self.beams = math.ceil((float(azimuths.max()) - self._first) / self.angle_increment)
        self.angle_min = heading + float(azimuths.min())

        band = within_band(rays, T_scan_camera, axis=2, low=options.min_height, high=options.max_height)
        self.obstacles = band & Interval(np.float32(0), ends)
        pixels = np.flatnonzero(band.contains(ends))
        far = [values.reshape(-1)[pixels] for values in (end_x, end_y, ends)]
        index, beam = (np.concatenate(parts) for parts in zip(*self.beams_of(*far), strict=True))
        self.far_pixels, self.far_depths, self.far_beams = pixels[index], far[2][index], beam
        self.far_counts = np.bincount(beam, minlength=self.beams)

    def beams_of(self, x: Floats, y: Floats, z: Floats) -> list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
        """Returns the beams that pixels cover: pairs of numbers of points and their beams, together all of them.

        Args:
            x, y: (N,) metres, the points in the turned frame.
            z: (N,) their depths.
        """
        half_x, half_y = (half * z for half in self._half_column)
        sides = np.arctan2(y - half_y, x - half_x), np.arctan2(y + half_y, x + half_x)
        per_beam, first = np.float32(1 / self.angle_increment), np.float32(self._first)
        one, other = (np.floor((azimuth - first) * per_beam).astype(np.intp) for azimuth in sides)
        low, high = np.minimum(one, other), np.maximum(one, other)
        pairs = []
        for step in range(int((high - low).max(initial=0)) + 1):
            beam = low + step
            index = np.flatnonzero((beam <= high) & (beam >= 0) & (beam < self.beams))
            pairs.append((index, beam[index]))
        return pairs


def _circle_depths(x: Floats, y: Floats, start: npt.NDArray[np.float64], radius: float) -> Floats:
    """Returns the (H, W) depths at which rays leave the circle around the origin in which they start.

    Args:
        x, y: (H, W) of the rays per metre of depth.
        start: (2,) where they start, metres, less than the radius from the origin.
        radius: metres.
    """
    # |start + depth * (x, y)| = radius, a quadratic equation with one positive root.
    a = np.maximum(x * x + y * y, np.float32(1e-12))  # a vertical ray leaves it far away
    half_b = x * np.float32(start[0]) + y * np.float32(start[1])
    c = np.float32(start[0] ** 2 + start[1] ** 2 - radius**2)
    return np.asarray((np.sqrt(half_b * half_b - a * c) - half_b) / a, dtype=np.float32)
