"""Images whose true depth is known at some points: what an evaluation reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.camera_info import check_image_size
from recon3d_ros.core.cloud import back_project
from recon3d_ros.core.drive import Drive, DriveError, load_drive
from recon3d_ros.core.encodings import EncodingError, decode_compressed
from recon3d_ros.core.lidar import Points, check_fits, transform
from recon3d_ros.core.preprocess import RawImage
from recon3d_ros.core.ring import is_ring, load_ring


@dataclass(frozen=True, eq=False)
class TrueFrame:
    """An image and what is known of its depth.

    Attributes:
        name: of the image.
        camera_name: "" where there is only one.
        image, camera: fit each other in size.
        points: (N, 3) metres, the camera's optical frame.
        camera_height: above the ground, metres, or None.
    """

    name: str
    camera_name: str
    image: RawImage
    camera: CameraModel
    points: Points
    camera_height: float | None


@dataclass(frozen=True, eq=False)
class _Entry:
    path: Path
    camera_name: str
    camera: CameraModel
    points: Callable[[], Points | None]
    camera_height: float | None


class TrueFrames:
    """The images of a folder whose true depth is known, one after another.

    Attributes:
        path: the folder.
        length: how many images there are to read.
        skipped: why images could not be used, and how many; complete after iteration.
    """

    def __init__(self, folder: Path, *, camera_height: float | None = None) -> None:
        """Finds the images and their calibration.

        Args:
            folder: a drive (see recon3d_ros.core.drive) or a ring (see recon3d_ros.core.ring).
            camera_height: used instead of what the calibration says, metres.

        Raises:
            DriveError, CameraError, LidarError: if it is neither, its calibration cannot be used, or the camera's
                height is not positive.
        """
        if camera_height is not None and not camera_height > 0:
            raise DriveError(f"the camera's height is {camera_height}, expected metres above the ground")
        self.path = folder
        entries = _ring_entries(folder) if is_ring(folder) else _drive_entries(folder)
        self._entries = list(entries)
        self._camera_height = camera_height
        self.length = len(self._entries)
        self.skipped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[TrueFrame]:
        """Yields the images that can be read and have true depth.

        Raises:
            DriveError: if there is none.
        """
        count = 0
        for entry in self._entries:
            try:
                image = decode_compressed(entry.path.read_bytes())
                check_image_size(entry.camera, image)
            except (OSError, EncodingError, CameraError) as error:
                self.skipped[f"{entry.path}: {error}"] += 1
                continue
            points = entry.points()
            if points is None:
                continue
            if count == 0:
                check_fits(points, entry.camera.undistorted(), str(entry.path))
            count += 1
            height = self._camera_height or entry.camera_height
            yield TrueFrame(entry.path.stem, entry.camera_name, image, entry.camera, points, height)
        if count == 0:
            raise DriveError(
                f"{self.path}: no true depth; expected lidar/NNNNNN.npy or depth/NNNNNN.png of its images"
                + "".join(f"; skipped {n} x {reason}" for reason, n in self.skipped.most_common(1))
            )


def _drive_entries(folder: Path) -> Iterator[_Entry]:
    drive = load_drive(folder)
    if drive.calibration is None:
        raise DriveError(f"{folder}: has no calibration.json, which says what the camera is")
    camera, height = drive.calibration.camera, drive.calibration.camera_height_m
    for path in drive.images:
        yield _Entry(path, "", camera, partial(true_points, drive, path, camera.undistorted()), height)


def _ring_entries(folder: Path) -> Iterator[_Entry]:
    for sensor in load_ring(folder):
        yield _Entry(sensor.image, sensor.name, sensor.camera, _known(sensor.points), sensor.camera_height)


def _known(points: Points) -> Callable[[], Points | None]:
    return lambda: points


def true_points(drive: Drive, image: Path, camera: CameraModel) -> Points | None:
    """Returns the (N, 3) points that are known of an image, metres in its optical frame, or None.

    Args:
        drive: with LiDAR sweeps and T_camera_lidar, or with exact depth.
        image: one of the drive's.
        camera: of the image, undistorted.
    """
    sweep = drive.lidar(image)
    if sweep is not None:
        if drive.calibration is None or drive.calibration.T_camera_lidar is None:
            raise DriveError(f"{drive.folder}: has lidar/ but its calibration has no T_camera_lidar")
        return transform(sweep, drive.calibration.T_camera_lidar)
    depth_mm = drive.depth_mm(image)
    if depth_mm is None:
        return None
    depth = np.where(depth_mm > 0, depth_mm * np.float32(0.001), np.float32(np.nan)).astype(np.float32)
    rays = camera.resized(width=depth.shape[1], height=depth.shape[0]).rays()
    points = back_project(depth, rays).reshape(-1, 3)
    return points[np.isfinite(points[:, 2])].astype(np.float64)
