"""A recorded drive as a folder: images, and where there are any LiDAR sweeps, exact depth and the calibration.

image/NNNNNN.jpg (or .png, or the images in the folder itself)
lidar/NNNNNN.npy      (N, 4) float32: x y z in metres and intensity, in the LiDAR's frame
depth/NNNNNN.png      uint16 millimetres along z; 0 is invalid or beyond 65.535 m
calibration.json      see recon3d_ros.core.calibration
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.calibration import Calibration, load_calibration

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class DriveError(ValueError):
    """A folder that is no drive, or lacks a part that is needed."""


@dataclass(frozen=True)
class Drive:
    """The files of a drive; lidar and depth belong to the image of the same name.

    Attributes:
        folder: of the drive.
        images: in the order of their names.
        calibration: None where the folder has no calibration.json.
    """

    folder: Path
    images: tuple[Path, ...]
    calibration: Calibration | None

    def lidar(self, image: Path) -> npt.NDArray[np.float32] | None:
        """Returns the (N, 4) float32 sweep of an image, metres in the LiDAR's frame, or None."""
        path = self.folder / "lidar" / f"{image.stem}.npy"
        if not path.exists():
            return None
        sweep = load_sweep(path)
        if sweep.shape[1] != 4:
            raise DriveError(f"{path}: is {sweep.dtype}{list(sweep.shape)}, expected float32[N,4]")
        return sweep

    def depth_mm(self, image: Path) -> npt.NDArray[np.uint16] | None:
        """Returns the exact (H, W) uint16 depth of an image, millimetres with 0 for invalid, or None."""
        path = self.folder / "depth" / f"{image.stem}.png"
        if not path.exists():
            return None
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if depth is None or depth.dtype != np.uint16 or depth.ndim != 2:
            found = "cannot be read" if depth is None else f"is {depth.dtype}{list(depth.shape)}"
            raise DriveError(f"{path}: {found}, expected a 16-bit grey PNG in millimetres")
        return np.asarray(depth, dtype=np.uint16)


def load_sweep(path: Path) -> npt.NDArray[np.float32]:
    """Returns the (N, 3 or more) float32 sweep in a .npy file, x y z in metres first.

    Raises:
        DriveError: if the file cannot be read, or is no such array.
    """
    try:
        sweep = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise DriveError(f"{path}: cannot be read ({error}), expected the LiDAR's sweep") from error
    if sweep.dtype != np.float32 or sweep.ndim != 2 or sweep.shape[1] < 3:
        raise DriveError(f"{path}: is {sweep.dtype}{list(sweep.shape)}, expected float32[N,4]")
    return np.asarray(sweep, dtype=np.float32)


def load_drive(folder: Path | str) -> Drive:
    """Returns the drive in a folder.

    Raises:
        DriveError: if it is no folder, or holds no image.
        CameraError: if its calibration.json is not that of a camera.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DriveError(f"{folder}: is no folder; expected one with image/ and calibration.json")
    images = _images(folder / "image") or _images(folder)
    if not images:
        raise DriveError(f"{folder}: has no {', '.join(IMAGE_SUFFIXES)} files, nor has {folder / 'image'}")
    calibration_file = folder / "calibration.json"
    calibration = load_calibration(calibration_file) if calibration_file.exists() else None
    return Drive(folder, tuple(images), calibration)


def _images(folder: Path) -> list[Path]:
    """Returns the JPEG files of a folder; its PNG files where it has no JPEG (beside JPEG they are depth)."""
    if not folder.is_dir():
        return []
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    return [file for file in files if file.suffix.lower() != ".png"] or files
