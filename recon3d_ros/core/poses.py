"""Camera poses from files, and whether they can be what they say: rigid, in metres, the right way round."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

Pose = npt.NDArray[np.float64]

RIGID_TOLERANCE = 1e-3  # of the rotation's columns and determinant; pose files hold about six digits
MAX_STEP_IN_DEPTHS = 10.0  # from one frame to the next; beyond it nothing that is fused would overlap
MAX_MEDIAN_DEPTH_M = 1000.0


class PoseError(ValueError):
    """Poses that are no rigid motion, or not in the unit of the depth."""


def check_rigid(matrix: npt.ArrayLike, what: str) -> Pose:
    """Returns a pose as a (4, 4) matrix.

    Args:
        matrix: (3, 4) or (4, 4), metres.
        what: names the pose in the error, for example its file.

    Raises:
        PoseError: if it is not finite, scaled, mirrored, sheared or transposed.
    """
    values = np.asarray(matrix, dtype=np.float64)
    if values.shape not in ((3, 4), (4, 4)):
        raise PoseError(f"{what}: has shape {values.shape}, expected (3, 4) or (4, 4)")
    pose = np.eye(4)
    pose[: len(values)] = values
    if not np.isfinite(pose).all():
        raise PoseError(f"{what}: is not finite; the tracking was lost there")
    if not np.allclose(pose[3], (0.0, 0.0, 0.0, 1.0)):
        raise PoseError(f"{what}: its last row is {pose[3].tolist()}, expected 0 0 0 1; it may be transposed")
    rotation = pose[:3, :3]
    determinant = float(np.linalg.det(rotation))
    if not np.allclose(rotation.T @ rotation, np.eye(3), atol=RIGID_TOLERANCE):
        scale = abs(determinant) ** (1 / 3)
        raise PoseError(
            f"{what}: is not rigid: its upper left 3x3 has determinant {determinant:.4f}, expected a rotation, 1; "
            f"if it comes from a visual SLAM of free scale, divide the 3x3 by {scale:.4f}"
        )
    if determinant < 0:
        raise PoseError(
            f"{what}: has determinant {determinant:.4f}, a mirror image, expected a rotation, 1; one axis has the "
            "wrong sign (optical frame: x right, y down, z forward)"
        )
    return pose


def read_pose(path: Path) -> Pose:
    """Returns the (4, 4) pose in a text file of 12 or 16 numbers.

    Raises:
        PoseError: if the file holds something else, or a pose that is not rigid.
    """
    return check_rigid(_matrices(path)[0], str(path))


def read_poses(path: Path) -> npt.NDArray[np.float64]:
    """Returns the poses in a text file with one of 12 or 16 numbers a line, by rows (KITTI odometry's format).

    Returns:
        (N, 4, 4) float64, in the order of the lines, metres.

    Raises:
        PoseError: if a line holds something else, or a pose that is not rigid.
    """
    matrices = _matrices(path, is_list=True)
    return np.stack([check_rigid(matrix, f"{path}, line {n}") for n, matrix in enumerate(matrices, start=1)])


def _matrices(path: Path, *, is_list: bool = False) -> npt.NDArray[np.float64]:
    """Returns the (N, 3 or 4, 4) matrices of a file: one a line, or the whole file as one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of an empty file: it is refused below
            values = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise PoseError(f"{path}: holds no table of numbers ({error}), expected camera poses") from error
    size = values.shape[1] if is_list else values.size
    if values.size == 0 or size not in (12, 16):
        where = "in a line" if is_list else "in all"
        raise PoseError(
            f"{path}: has {size if values.size else 0} numbers {where}, expected 12 or 16: T_world_camera"
        )
    return values.reshape(-1, size // 4, 4)


def check_units(poses: npt.NDArray[np.float64], median_depth: float, *, frames_apart: float = 1.0) -> None:
    """Raises PoseError where depth or poses cannot be metres.

    Args:
        poses: (N, 4, 4) T_world_camera along the way.
        median_depth: of these frames.
        frames_apart: how many frames of the recording lie from one pose to the next.
    """
    if median_depth > MAX_MEDIAN_DEPTH_M:
        raise PoseError(
            f"half of the depth is over {median_depth:.0f} m, which looks like millimetres; floating point depth "
            "must be metres; give --depth-scale 0.001"
        )
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    step = float(np.median(steps)) / frames_apart if len(steps) else 0.0
    if step > MAX_STEP_IN_DEPTHS * median_depth:
        raise PoseError(
            f"the camera moves {step:.1f} m from frame to frame while half of what it sees is nearer than "
            f"{median_depth:.2f} m: poses and depth have different units, or the frames are too far apart to "
            "overlap; poses in millimetres: give --pose-scale 0.001"
        )


def up_axis(poses: npt.NDArray[np.float64]) -> tuple[int, int]:
    """Returns the world's axis that points up most nearly, as its number and sign: (2, 1) is z, (1, -1) is -y.

    Cameras stand upright on average, so it is the one next to the mean of their own up (optical -y).

    Args:
        poses: (N, 4, 4) T_world_camera, optical frames.
    """
    up = -poses[:, :3, 1].mean(axis=0)
    axis = int(np.argmax(np.abs(up)))
    return axis, 1 if up[axis] >= 0 else -1
