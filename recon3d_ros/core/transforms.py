"""Fixed transforms between frames: a tree of them, and the text in which a parameter file gives them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.lidar import LidarError, Pose, pose_matrix


class TransformError(ValueError):
    """A transform that is written wrongly, or that the known ones do not give."""


@dataclass(frozen=True, eq=False)
class TransformTree:
    """Fixed transforms between frames.

    Attributes:
        parents: parent frame and T_parent_child (4, 4) of each child frame.

    Raises:
        TransformError: if they form a circle.
    """

    parents: dict[str, tuple[str, Pose]]

    def __post_init__(self) -> None:
        for frame in self.parents:
            self._chain(frame)

    def _chain(self, frame: str) -> dict[str, Pose]:
        """Returns T_ancestor_frame of the frame itself and each of its ancestors, nearest first."""
        chain = {frame: np.eye(4)}
        while frame in self.parents:
            parent, T_parent_frame = self.parents[frame]
            if parent in chain:
                raise TransformError(
                    f"the transforms form a circle through '{parent}'; a tree has one root, which has no parent"
                )
            chain[parent] = T_parent_frame @ chain[frame]
            frame = parent
        return chain

    def connects(self, target: str, source: str) -> bool:
        """Returns whether there is a chain of transforms between two frames."""
        return not self._chain(target).keys().isdisjoint(self._chain(source))

    def lookup(self, target: str, source: str) -> Pose:
        """Returns T_target_source, (4, 4): p_target = T_target_source @ p_source.

        Raises:
            TransformError: if no chain of transforms leads from one to the other.
        """
        of_target, of_source = self._chain(target), self._chain(source)
        for ancestor, T_ancestor_target in of_target.items():
            if ancestor in of_source:
                return np.asarray(np.linalg.inv(T_ancestor_target) @ of_source[ancestor], dtype=np.float64)
        known = ", ".join(f"{parent} -> {child}" for child, (parent, _) in sorted(self.parents.items())) or "none"
        raise TransformError(f"no fixed transform between '{source}' and '{target}'; known are {known}")


def parse_transforms(text: str) -> TransformTree:
    """Returns the tree of transforms written as `parent child x y z qx qy qz qw`, separated by semicolons.

    The numbers are those that tf2's static_transform_publisher takes: the child's origin in the parent frame,
    metres, and its rotation as a unit quaternion, so that p_parent = T_parent_child @ p_child.

    Raises:
        TransformError: if an entry has other than two names and seven numbers, its quaternion is not of length 1,
            a frame has two parents, or the transforms form a circle.
    """
    parents: dict[str, tuple[str, Pose]] = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        words = entry.split()
        numbers = numbers_of(" ".join(words[2:]), what=f"transform '{entry}'")
        if len(numbers) != 7:
            raise TransformError(f"transform '{entry}' is not 'parent child x y z qx qy qz qw'")
        parent, child = words[:2]
        if child in parents:
            raise TransformError(f"frame '{child}' has two parents, '{parents[child][0]}' and '{parent}'")
        x, y, z, w = numbers[3:]
        try:
            parents[child] = (parent, pose_matrix(numbers[:3], rotation_wxyz=(w, x, y, z)))
        except LidarError as error:
            raise TransformError(f"transform '{entry}': {error}") from error
    return TransformTree(parents)


def transform_text(parent: str, child: str, T_parent_child: Pose) -> str:
    """Returns a transform as parse_transforms reads it."""
    numbers = (*T_parent_child[:3, 3], *quaternion_xyzw(T_parent_child[:3, :3]))
    return f"{parent} {child} " + " ".join(f"{number:.9g}" for number in numbers)


def numbers_of(text: str, *, what: str) -> list[float]:
    """Returns the finite numbers of a text, separated by spaces or commas; `what` names it in the error.

    Raises:
        TransformError: if a word is no finite number.
    """
    try:
        numbers = [float(word) for word in re.split(r"[\s,]+", text.strip()) if word]
    except ValueError as error:
        raise TransformError(f"{what}: {error}") from error
    if not np.isfinite(numbers).all():
        raise TransformError(f"{what}: has a number that is not finite")
    return numbers


def quaternion_xyzw(rotation: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Returns the unit quaternion (x, y, z, w) of a (3, 3) rotation matrix."""
    vector = cv2.Rodrigues(rotation)[0].reshape(3)
    angle = float(np.linalg.norm(vector))
    axis = vector / angle if angle > 0 else np.zeros(3)
    x, y, z = (float(a * np.sin(angle / 2)) for a in axis)
    return x, y, z, float(np.cos(angle / 2))


def move(points: npt.NDArray[np.float32], T_target_source: Pose) -> npt.NDArray[np.float32]:
    """Returns points in another frame.

    Args:
        points: (..., 3) float32 metres, source frame; NaN stays NaN.
        T_target_source: (4, 4).

    Returns:
        (..., 3) float32 metres, target frame.
    """
    matrix = T_target_source.astype(np.float32)
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3], dtype=np.float32)
