"""LiDAR sweeps as depth in a camera's image: projection, hidden returns, and the vehicle's motion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel

Points = npt.NDArray[np.float64]
Pose = npt.NDArray[np.float64]

MIN_Z = 0.1  # metres; nearer returns are of the vehicle itself, and a projection at z = 0 has no place
MIN_SHARE_INSIDE = 0.01


class LidarError(ValueError):
    """A sweep that does not belong to the camera, or to the motion that it is moved by."""


def transform(points: npt.ArrayLike, T_target_source: Pose) -> Points:
    """Returns points in another frame.

    Args:
        points: (N, 3 or more), x y z in metres, source frame; further columns are left out.
        T_target_source: (4, 4).

    Returns:
        (N, 3) float64 metres, target frame.
    """
    xyz = np.asarray(points, dtype=np.float64)[:, :3]
    with np.errstate(invalid="ignore"):  # drivers write NaN or Inf where there was no return
        return np.asarray(xyz @ T_target_source[:3, :3].T + T_target_source[:3, 3], dtype=np.float64)


def pose_matrix(translation: npt.ArrayLike, *, rotation_wxyz: npt.ArrayLike) -> Pose:
    """Returns the (4, 4) matrix of a translation in metres and a unit quaternion (w x y z).

    Raises:
        LidarError: if the quaternion is not of length 1.
    """
    quaternion = np.asarray(rotation_wxyz, dtype=np.float64).reshape(-1)
    length = float(np.linalg.norm(quaternion))
    if quaternion.shape != (4,) or not abs(length - 1.0) < 1e-3:
        raise LidarError(f"a rotation is {quaternion.tolist()}, expected a unit quaternion w x y z")
    w, x, y, z = quaternion / length
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = translation
    return matrix


@dataclass(frozen=True)
class Returns:
    """The returns of a sweep that fall inside an image.

    Attributes:
        index: (N,) which of the points they are.
        column, row: (N,) int, the pixels nearest to their projections.
        z: (N,) float64, metres along the optical axis.
    """

    index: npt.NDArray[np.intp]
    column: npt.NDArray[np.intp]
    row: npt.NDArray[np.intp]
    z: npt.NDArray[np.float64]


def project(points: npt.ArrayLike, camera: CameraModel) -> Returns:
    """Returns the pixel and depth of each point that is in front of the camera and inside its image.

    Args:
        points: (N, 3) metres, optical frame; points that are not finite fall inside no image.
        camera: of the image.
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    in_front = np.flatnonzero(np.isfinite(points).all(axis=1) & (points[:, 2] > MIN_Z))
    with np.errstate(over="ignore", invalid="ignore"):
        column, row = np.rint(camera.project(points[in_front])).T
        inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    index = in_front[inside]
    return Returns(index, column[inside].astype(np.intp), row[inside].astype(np.intp), points[index, 2])


def depth_image(points: npt.ArrayLike, camera: CameraModel) -> npt.NDArray[np.float32]:
    """Returns the depth of the nearest return of each pixel.

    Args:
        points: (N, 3) metres, optical frame.
        camera: of the image.

    Returns:
        (height, width) float32 metres along z; NaN where there is no return.
    """
    returns = project(points, camera)
    nearest = np.full((camera.height, camera.width), np.inf, dtype=np.float32)
    np.minimum.at(nearest, (returns.row, returns.column), returns.z.astype(np.float32))
    nearest[np.isinf(nearest)] = np.nan
    return nearest


def remove_occluded(
    points: npt.ArrayLike,
    camera: CameraModel,
    *,
    above: float = math.radians(1.0),
    beside: float = math.radians(0.3),
    gap: float = 0.1,
) -> Points:
    """Returns the points that the camera sees, without those behind nearer neighbours.

    A LiDAR above the camera looks over and past an object at what the camera cannot see; such returns project
    into the object's picture, below and beside its own. So a return is dropped where another one beside or above
    it is nearer. One below does not count: on the road the nearer ground is always there.

    Args:
        points: (N, 3) metres, optical frame.
        camera: of the image.
        above, beside: reach of the search, radians; about the spacing of the LiDAR's rings and of its columns.
        gap: how much farther than its neighbour a return must be, as a part of the neighbour's depth.

    Returns:
        (M, 3) float64: the points inside the image that are left, in their order.
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    returns = project(points, camera)
    nearest = depth_image(points, camera)
    nearest[np.isnan(nearest)] = np.inf
    rows = math.ceil(math.tan(above) * camera.fy) + 1
    columns = 2 * math.ceil(math.tan(beside) * camera.fx) + 1
    # The anchor is the window's bottom centre: it reaches up and to both sides.
    front = cv2.erode(
        nearest,
        np.ones((rows, columns), dtype=np.uint8),
        anchor=(columns // 2, rows - 1),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=math.inf,
    )
    is_seen = returns.z <= (1.0 + gap) * front[returns.row, returns.column]
    return points[returns.index[is_seen]]


def check_fits(points: npt.ArrayLike, camera: CameraModel, what: str) -> float:
    """Returns the share of the points in front of the camera that fall inside its image.

    Args:
        points: (N, 3) metres, optical frame.
        camera: of the image.
        what: names the sweep in the error.

    Raises:
        LidarError: if it is below 1 %: the calibration then belongs to another vehicle, or is inverted.
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    in_front = int(np.count_nonzero(points[:, 2] > MIN_Z))
    share = len(project(points, camera).index) / in_front if in_front else 0.0
    if share < MIN_SHARE_INSIDE:
        raise LidarError(
            f"{what}: of {len(points)} LiDAR returns {in_front} are in front of the camera and {100 * share:.1f} "
            f"% of these inside its {camera.width}x{camera.height} image, expected at least "
            f"{100 * MIN_SHARE_INSIDE:g} %; the transform from LiDAR to camera (p_camera = T_camera_lidar @ "
            "p_lidar, optical frame: x right, y down, z forward) is inverted, or of another set-up"
        )
    return share


def interpolate_pose(T_start: Pose, T_end: Pose, part: float) -> Pose:
    """Returns the pose at a part of the way between two, at constant velocity.

    The translation is linear, the rotation turns about one axis at one rate (slerp).

    Args:
        T_start, T_end: (4, 4) T_world_body at part 0 and 1.
        part: outside 0..1 the motion goes on as it was.
    """
    axis_angle = cv2.Rodrigues(T_start[:3, :3].T @ T_end[:3, :3])[0]
    pose = np.eye(4)
    pose[:3, :3] = T_start[:3, :3] @ cv2.Rodrigues(part * axis_angle)[0]
    pose[:3, 3] = (1.0 - part) * T_start[:3, 3] + part * T_end[:3, 3]
    return pose


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The poses of a body over time.

    Attributes:
        stamps_ns: (M,) int64, rising.
        poses: (M, 4, 4) T_world_body, metres.
    """

    stamps_ns: npt.NDArray[np.int64]
    poses: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.stamps_ns) < 2 or (np.diff(self.stamps_ns) <= 0).any():
            raise LidarError("a trajectory needs two or more poses with rising stamps")

    def covers(self, stamp_ns: int, slack_ns: int) -> bool:
        """Returns whether a stamp lies between the first and the last pose, or at most `slack_ns` outside."""
        return bool(self.stamps_ns[0] - slack_ns <= stamp_ns <= self.stamps_ns[-1] + slack_ns)

    def pose(self, stamp_ns: int) -> Pose:
        """Returns T_world_body at a stamp, between the two poses around it (or beyond the last two)."""
        after = int(np.clip(np.searchsorted(self.stamps_ns, stamp_ns), 1, len(self.stamps_ns) - 1))
        start, end = self.stamps_ns[after - 1], self.stamps_ns[after]
        part = float(stamp_ns - start) / float(end - start)
        return interpolate_pose(self.poses[after - 1], self.poses[after], part)


def sweep_to_world(points: npt.ArrayLike, parts: npt.ArrayLike, T_start: Pose, T_end: Pose) -> Points:
    """Returns a sweep's points in the world, each from where the LiDAR was when it measured it.

    Args:
        points: (N, 3 or more) metres, LiDAR frame at each point's own time.
        parts: (N,) when each was measured: 0 at T_start, 1 at T_end.
        T_start, T_end: (4, 4) T_world_lidar; between them the velocity is constant.

    Returns:
        (N, 3) float64 metres, world frame.
    """
    points = np.asarray(points, dtype=np.float64)[:, :3]
    parts = np.asarray(parts, dtype=np.float64)[:, None]
    axis_angle = cv2.Rodrigues(T_start[:3, :3].T @ T_end[:3, :3])[0].reshape(3)
    angle = float(np.linalg.norm(axis_angle))
    axis = axis_angle / angle if angle > 0 else np.array([0.0, 0.0, 1.0])
    # Rodrigues' rotation formula, with an angle of its own for each point.
    cos, sin = np.cos(parts * angle), np.sin(parts * angle)
    turned = points * cos + np.cross(axis, points) * sin + axis * (points @ axis)[:, None] * (1.0 - cos)
    return np.asarray(
        turned @ T_start[:3, :3].T + (1.0 - parts) * T_start[:3, 3] + parts * T_end[:3, 3], dtype=np.float64
    )
