"""A drive folder with LiDAR: image/, lidar/*.npy and calibration.json with T_camera_lidar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.camera_info import check_image_size
from recon3d_ros.core.drive import DriveError, load_drive
from recon3d_ros.core.encodings import EncodingError, decode_compressed
from recon3d_ros.core.lidar import Points, check_fits, transform
from recon3d_ros.core.truth import TrueFrame
from training.datasets.frame import Frame, lidar_frame


class DriveFrames(Sequence[Frame]):
    """The images of a drive that have a sweep, in the order of their names; see recon3d_ros.core.drive.

    Attributes:
        folder: Of the drive.
        names: Of the images.
    """

    def __init__(self, folder: Path) -> None:
        """Finds the images and their sweeps, and looks at the first of them.

        Raises:
            DriveError: There is no image, sweep, or transform between them.
            CameraError: calibration.json is not that of a camera.
            LidarError: The sweep does not fall into the image.
        """
        self.folder = folder
        drive = load_drive(folder)
        if drive.calibration is None or drive.calibration.T_camera_lidar is None:
            raise DriveError(f"{folder}: has no calibration.json with T_camera_lidar; write one beside image/")
        self._drive, self._calibration = drive, drive.calibration
        self._T_camera_lidar = drive.calibration.T_camera_lidar
        self._images = [image for image in drive.images if (folder / "lidar" / f"{image.stem}.npy").exists()]
        if not self._images:
            raise DriveError(
                f"{folder}: none of its {len(drive.images)} images has a LiDAR sweep; expected "
                f"lidar/{drive.images[0].stem}.npy, float32 (N, 4), and so on"
            )
        self.names = [image.stem for image in self._images]
        check_fits(self._points(0), self._calibration.camera.undistorted(), str(self._images[0]))

    def __len__(self) -> int:
        return len(self._images)

    @property
    def camera(self) -> CameraModel:
        """The camera that took the images, with its distortion."""
        return self._calibration.camera

    def __getitem__(self, index: int) -> Frame:  # type: ignore[override]  # one frame at a time, no slices
        """Returns a frame.

        Raises:
            DriveError: Its image or sweep cannot be read.
            CameraError: The image has not the size of its calibration.
        """
        true = self.true_frame(index)
        return lidar_frame(true.image, true.camera, true.points)

    def true_frame(self, index: int) -> TrueFrame:
        """Returns what an evaluation judges by: the image as it was taken and every return; errors as above."""
        path = self._images[index]
        try:
            image = decode_compressed(path.read_bytes())
        except (OSError, EncodingError) as error:
            raise DriveError(f"{path}: {error}") from error
        calibration = self._calibration
        check_image_size(calibration.camera, image)
        height = calibration.camera_height_m
        return TrueFrame(path.stem, "", image, calibration.camera, self._points(index), height)

    def _points(self, index: int) -> Points:
        sweep = self._drive.lidar(self._images[index])
        if sweep is None:
            raise DriveError(f"{self._images[index]}: its sweep has gone")
        return transform(sweep, self._T_camera_lidar)
