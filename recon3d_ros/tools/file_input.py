"""The frames of a folder of images and of a video file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from recon3d_ros.bags.messages import static_tf_message
from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.camera_info import check_image_size
from recon3d_ros.core.drive import load_drive
from recon3d_ros.core.encodings import EncodingError, decode_compressed
from recon3d_ros.core.preprocess import RawImage
from recon3d_ros.tools.inputs import CameraFrame, InputError, InputOptions
from recon3d_ros.tools.transforms import static_transforms

DEFAULT_RATE_HZ = 10.0
MAX_RATE_HZ = 1000.0


class _FileSource:
    """What a folder and a video share: stamps counted from a rate, one camera for all frames."""

    def __init__(self, path: Path, options: InputOptions, length: int | None) -> None:
        if options.rate_hz is not None and not 0 < options.rate_hz < MAX_RATE_HZ:
            raise InputError(
                f"--rate is {options.rate_hz:g}, expected more than 0 and less than {MAX_RATE_HZ:g} Hz"
            )
        self.path = path
        self.camera_names = [options.camera_name]
        self.length = length
        self.rate_hz = DEFAULT_RATE_HZ
        self.notes: list[str] = []
        self.skipped: Counter[str] = Counter()
        self.damage: list[str] = []
        self.static_transforms: list[Any] = []
        self.calibration = options.calibration
        self.frame_id = options.camera_name.replace("/", "_") + "_optical_frame"
        self._options = options

    def _set_rate(self, rate_hz: float | None) -> None:
        if rate_hz is not None and 0 < rate_hz < MAX_RATE_HZ:
            self.rate_hz = rate_hz
        else:
            self.notes.append(f"{self.path}: states no rate; its frames get stamps at {DEFAULT_RATE_HZ:g} Hz")

    def _check_camera(self) -> None:
        """Notes a guessed camera, raises InputError where there is nothing to guess from."""
        hfov_deg = self._options.hfov_deg
        if self.calibration is not None:
            transforms = static_transforms(self.calibration, self.frame_id)
            if transforms:
                self.static_transforms = [static_tf_message(transforms, self._options.start_stamp_ns)]
            return
        if hfov_deg is None:
            raise InputError(
                f"{self.path}: has no calibration; give --calibration FILE, or --hfov-deg DEG to guess the camera"
            )
        if not 1 <= hfov_deg <= 170:
            raise InputError(f"--hfov-deg is {hfov_deg:g}, expected 1 to 170 degrees")
        self.notes.append(
            f"{self.path}: the camera is guessed from a horizontal field of view of {hfov_deg:g} degrees, without "
            "lens distortion; all depth scales with that guess"
        )

    def _frame(self, index: int, image: RawImage) -> CameraFrame:
        """Returns the frame of an image; raises CameraError if it has not the size of its calibration."""
        stamp_ns = self._options.start_stamp_ns + round(index * 1e9 / self.rate_hz)
        name = self._options.camera_name
        return CameraFrame(index, stamp_ns, self.frame_id, name, image, self._camera(image))

    def _camera(self, image: RawImage) -> CameraModel:
        if self.calibration is None:
            focal = image.width / 2 / math.tan(math.radians(self._options.hfov_deg or 0.0) / 2)
            cx, cy = (image.width - 1) / 2, (image.height - 1) / 2
            return CameraModel(image.width, image.height, focal, focal, cx, cy)
        check_image_size(self.calibration.camera, image)
        return self.calibration.camera.undistorted() if self._options.rectified else self.calibration.camera


class FolderSource(_FileSource):
    """The images of a folder by their names, at a constant rate; see FrameSource."""

    def __init__(self, folder: Path, options: InputOptions) -> None:
        """Finds the images and their calibration.

        Raises:
            DriveError: if there is no image.
            InputError: if nothing says what the camera is.
        """
        self.drive = load_drive(folder)
        super().__init__(folder, options, len(self.drive.images))
        self.calibration = options.calibration or self.drive.calibration
        self._set_rate(options.rate_hz or (self.calibration.rate_hz if self.calibration else None))
        self._check_camera()

    def __iter__(self) -> Iterator[CameraFrame]:
        for index, path in enumerate(self.drive.images):
            try:
                frame = self._frame(index, decode_compressed(path.read_bytes()))
            except (OSError, EncodingError, CameraError) as error:
                self.skipped[f"{path}: {error}"] += 1
                continue
            yield frame


class VideoSource(_FileSource):
    """The frames of a video at its own rate; see FrameSource."""

    def __init__(self, path: Path, options: InputOptions) -> None:
        """Opens the video.

        Raises:
            InputError: if it cannot be decoded, or nothing says what the camera is.
        """
        video = cv2.VideoCapture(str(path))
        rate_hz, count = video.get(cv2.CAP_PROP_FPS), int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        is_readable = video.isOpened() and video.grab()
        video.release()
        if not is_readable:
            raise InputError(f"{path}: OpenCV cannot decode this video; convert it, for example to H.264 in .mp4")
        super().__init__(path, options, count if count > 0 else None)
        self._set_rate(options.rate_hz or rate_hz)
        self._check_camera()

    def __iter__(self) -> Iterator[CameraFrame]:
        video = cv2.VideoCapture(str(self.path))
        index = 0
        try:
            while True:
                is_read, pixels = video.read()
                if not is_read:
                    break
                frame = self._frame(index, RawImage(np.asarray(pixels, dtype=np.uint8), "bgr"))
                index += 1
                yield frame
        finally:
            video.release()
        if self.length is not None and index < self.length:
            self.damage.append(f"{self.path}: {index} of {self.length} frames could be decoded")
