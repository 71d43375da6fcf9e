"""Poses from files, and what is refused: no rigid motion, other units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from posed_scenes import around, look_at

from recon3d_ros.core.poses import PoseError, check_rigid, check_units, read_pose, read_poses, up_axis


def test_poses_are_read_as_kitti_writes_them(tmp_path: Path) -> None:
    poses = around(3)
    np.savetxt(tmp_path / "poses.txt", [pose[:3].reshape(-1) for pose in poses])
    np.testing.assert_allclose(read_poses(tmp_path / "poses.txt"), poses, atol=1e-12)


def test_a_pose_is_read_from_a_file_of_its_own(tmp_path: Path) -> None:
    pose = look_at([3.0, 1.0, 2.0])
    np.savetxt(tmp_path / "a.pose.txt", pose)
    np.testing.assert_allclose(read_pose(tmp_path / "a.pose.txt"), pose, atol=1e-12)


@pytest.mark.parametrize(
    "damage, reason",
    [
        (lambda T: T @ np.diag([2.0, 2.0, 2.0, 1.0]), "determinant 8.0000.*divide the 3x3 by 2.0000"),
        (lambda T: T @ np.diag([1.0, -1.0, 1.0, 1.0]), "determinant -1.0000, a mirror image"),
        (lambda T: T.T, "transposed"),
        (lambda T: T * np.nan, "tracking was lost"),
        (lambda T: T[:2], r"shape \(2, 4\)"),
    ],
)
def test_a_pose_that_is_not_rigid_is_refused_with_what_it_is(damage: object, reason: str) -> None:
    with pytest.raises(PoseError, match=f"frame 7: .*{reason}"):
        check_rigid(damage(look_at([3.0, 1.0, 2.0])), "frame 7")


def test_the_line_of_a_bad_pose_is_named(tmp_path: Path) -> None:
    rows = np.array([pose[:3].reshape(-1) for pose in around(3)])
    rows[1] *= 1.5
    np.savetxt(tmp_path / "poses.txt", rows)
    with pytest.raises(PoseError, match=r"poses\.txt, line 2: is not rigid"):
        read_poses(tmp_path / "poses.txt")


@pytest.mark.parametrize("text", ["", "1 2 3\n", "pose of a camera\n"])
def test_a_file_without_poses_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "poses.txt").write_text(text)
    with pytest.raises(PoseError, match=r"poses\.txt: .*expected"):
        read_poses(tmp_path / "poses.txt")


def steps(step: float) -> np.ndarray:
    poses = np.repeat(np.eye(4)[None], 4, axis=0)
    poses[:, 2, 3] = step * np.arange(4)
    return poses


def test_a_street_at_ten_hertz_and_a_room_in_the_hand_are_metres() -> None:
    check_units(steps(1.2), 14.0)
    check_units(steps(0.05), 1.8)
    check_units(steps(12.0), 14.0, frames_apart=10)


def test_poses_in_millimetres_are_refused() -> None:
    with pytest.raises(PoseError, match=r"moves 120\.0 m from frame to frame.*--pose-scale 0\.001"):
        check_units(steps(120.0), 1.8)


def test_depth_in_millimetres_is_refused() -> None:
    with pytest.raises(PoseError, match=r"over 1800 m.*--depth-scale 0\.001"):
        check_units(steps(0.05), 1800.0)


def test_up_is_the_axis_nearest_to_the_cameras_own_up() -> None:
    assert up_axis(np.stack(around(24))) == (2, 1)
    assert up_axis(np.eye(4)[None]) == (1, -1)  # a world that is the first camera's optical frame: y points down
