"""KITTI raw with the depth benchmark's annotated maps, or with the Velodyne sweeps themselves.

ROOT/2011_09_26/calib_cam_to_cam.txt, calib_velo_to_cam.txt
ROOT/2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000005.png (or .jpg), image_03 for the right camera
ROOT/2011_09_26/2011_09_26_drive_0001_sync/velodyne_points/data/0000000005.bin
DEPTH/{train,val}/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000005.png

A split is a text file with "2011_09_26/2011_09_26_drive_0001_sync 5 l" on each line (l left, r right), as that of
Eigen et al. 2014 is published; it comes with the data, not with this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.camera_info import check_image_size
from recon3d_ros.core.lidar import Pose, check_fits, transform
from training.datasets.files import DatasetError, read_image, read_sweep
from training.datasets.folder import read_depth
from training.datasets.frame import Frame, depth_map_frame, lidar_frame

CAMERAS = {"l": 2, "r": 3, "2": 2, "3": 3}  # the colour cameras
DEPTH_UNIT = 1 / 256  # metres of one step of an annotated map


@dataclass(frozen=True)
class SplitEntry:
    """A frame of a split: "2011_09_26/2011_09_26_drive_0001_sync", its number, and camera 2 or 3."""

    drive: str
    number: int
    camera: int


def read_split(path: Path) -> list[SplitEntry]:
    """Returns the frames that a split file lists.

    Raises:
        DatasetError: It is missing, empty, or a line is not "DATE/DRIVE NUMBER SIDE".
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); give the split's text file") from error
    entries = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or not words[1].isdigit() or words[2] not in CAMERAS or words[0].count("/") != 1:
            raise DatasetError(
                f"{path}: line {number} is '{line}', expected 'DATE/DRIVE NUMBER SIDE' with side l or r, for "
                "example '2011_09_26/2011_09_26_drive_0001_sync 5 l'"
            )
        entries.append(SplitEntry(words[0], int(words[1]), CAMERAS[words[2]]))
    if not entries:
        raise DatasetError(f"{path}: lists no frame")
    return entries


class KittiFrames(Sequence[Frame]):
    """The frames of a split; where an annotated map is asked for, those without one are left out.

    Attributes:
        missing: How many frames of the split have no annotated map (the first and last five of a drive).
    """

    def __init__(self, root: Path, split: Path, *, depth_root: Path | None = None) -> None:
        """Finds the split's frames.

        Args:
            root: Of KITTI raw.
            split: The split's text file.
            depth_root: Of the annotated maps; None projects the Velodyne's sweeps.

        Raises:
            DatasetError: The split cannot be read, or no frame of it has a depth map.
        """
        self._root, self._depth_root = root, depth_root
        entries = read_split(split)
        self._entries = [e for e in entries if depth_root is None or self._depth_path(e) is not None]
        self.missing = len(entries) - len(self._entries)
        if not self._entries:
            raise DatasetError(
                f"{depth_root}: has no annotated map of the {len(entries)} frames of {split}; expected "
                "{train,val}/DRIVE/proj_depth/groundtruth/image_0N/NNNNNNNNNN.png"
            )

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Frame:  # type: ignore[override]  # one frame at a time, no slices
        """Returns a frame.

        Raises:
            DatasetError: A file is missing or damaged.
            CameraError: The calibration is not that of the image.
            LidarError: The sweep does not fall into the image.
        """
        entry = self._entries[index]
        drive, stem = self._root / entry.drive, f"{entry.number:010d}"
        image = read_image(drive / f"image_{entry.camera:02d}" / "data" / stem)
        camera, T_camera_lidar = read_calibration(drive.parent, entry.camera)
        check_image_size(camera, image)
        depth_path = self._depth_path(entry)
        if depth_path is not None:
            return depth_map_frame(image, camera, read_depth(depth_path, DEPTH_UNIT), is_sparse=True)
        sweep = drive / "velodyne_points" / "data" / f"{stem}.bin"
        points = transform(read_sweep(sweep, columns=4), T_camera_lidar)
        check_fits(points, camera, str(sweep))
        return lidar_frame(image, camera, points)

    def _depth_path(self, entry: SplitEntry) -> Path | None:
        if self._depth_root is None:
            return None
        file = f"proj_depth/groundtruth/image_{entry.camera:02d}/{entry.number:010d}.png"
        paths = (self._depth_root / part / Path(entry.drive).name / file for part in ("train", "val"))
        return next((path for path in paths if path.exists()), None)


@lru_cache(maxsize=32)
def read_calibration(folder: Path, camera: int) -> tuple[CameraModel, Pose]:
    """Returns the rectified camera of a day's folder, and T_camera_lidar as (4, 4).

    The projection matrix of a camera is K [I | t]: its t leads from the reference camera 0 to it.
    Source: Geiger et al., "Vision meets robotics: the KITTI dataset", IJRR 2013, section V.

    Raises:
        DatasetError: A file or a key is missing.
        CameraError: A matrix is not that of a camera.
    """
    cameras = _read_matrices(folder / "calib_cam_to_cam.txt")
    lidar = _read_matrices(folder / "calib_velo_to_cam.txt")
    try:
        P = cameras[f"P_rect_{camera:02d}"].reshape(3, 4)
        width, height = cameras[f"S_rect_{camera:02d}"].astype(int)
        T_reference_lidar, R_rect, T_camera_rect = np.eye(4), np.eye(4), np.eye(4)
        T_reference_lidar[:3, :3], T_reference_lidar[:3, 3] = lidar["R"].reshape(3, 3), lidar["T"]
        R_rect[:3, :3] = cameras["R_rect_00"].reshape(3, 3)
    except KeyError as error:
        raise DatasetError(f"{folder}: its calibration files lack {error}") from error
    except ValueError as error:
        raise CameraError(f"{folder}: a matrix of its calibration files has a wrong size ({error})") from error
    T_camera_rect[:3, 3] = np.linalg.solve(P[:, :3], P[:, 3])
    model = CameraModel.from_calibration(width=int(width), height=int(height), K=P[:, :3])
    return model, np.asarray(T_camera_rect @ R_rect @ T_reference_lidar, dtype=np.float64)


def _read_matrices(path: Path) -> dict[str, npt.NDArray[np.float64]]:
    """Returns the numbers of each "name: number number ..." line; lines that hold no numbers are left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); it comes with KITTI raw") from error
    matrices = {}
    for line in lines:
        name, _, values = line.partition(":")
        try:
            matrices[name] = np.array([float(value) for value in values.split()])
        except ValueError:
            continue  # calib_time: 09-Jan-2012 13:57:47
    return matrices
