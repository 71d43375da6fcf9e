"""From a CameraInfo message to the camera of the image it belongs to."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.preprocess import RawImage

DISTORTION_ALIASES = {"fisheye": "equidistant"}


class RegionOfInterest(Protocol):
    """The fields of sensor_msgs/RegionOfInterest that are read; full-resolution pixels."""

    @property
    def x_offset(self) -> int: ...
    @property
    def y_offset(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...


class CameraInfo(Protocol):
    """The fields of sensor_msgs/CameraInfo that are read; rclpy's and rosbags' messages both have them."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def distortion_model(self) -> str: ...
    @property
    def d(self) -> npt.ArrayLike: ...
    @property
    def k(self) -> npt.ArrayLike: ...
    @property
    def p(self) -> npt.ArrayLike: ...
    @property
    def binning_x(self) -> int: ...
    @property
    def binning_y(self) -> int: ...
    @property
    def roi(self) -> RegionOfInterest: ...


def camera_from_info(info: CameraInfo, *, rectified: bool = False) -> CameraModel:
    """Returns the camera of the image that a CameraInfo came with.

    The message describes the full sensor; its region of interest, then its binning, lead to the image.

    Args:
        info: sensor_msgs/CameraInfo.
        rectified: False for the raw image (K and D), True for the rectified one (P, no distortion).

    Raises:
        CameraError: if the message holds no calibration, or one that no camera has.
    """
    if info.width == 0 or info.height == 0:
        raise CameraError(
            f"CameraInfo is of a {info.width}x{info.height} image; the camera's driver does not fill it in"
        )
    full = _rectified_camera(info) if rectified else _raw_camera(info)
    roi = info.roi
    if roi.width or roi.height:
        if roi.x_offset + roi.width > info.width or roi.y_offset + roi.height > info.height:
            raise CameraError(
                f"region of interest {roi.width}x{roi.height} at ({roi.x_offset}, {roi.y_offset}) does not fit "
                f"the {info.width}x{info.height} image; CameraInfo's size must be that of the full sensor"
            )
        full = full.cropped(left=roi.x_offset, top=roi.y_offset, width=roi.width, height=roi.height)
    binning_x, binning_y = max(info.binning_x, 1), max(info.binning_y, 1)
    width, height = full.width // binning_x, full.height // binning_y
    # A sensor drops the pixels that do not fill a bin.
    binned = full.cropped(left=0, top=0, width=width * binning_x, height=height * binning_y)
    return binned.resized(width=width, height=height)


def check_image_size(camera: CameraModel, image: RawImage) -> None:
    """Raises CameraError unless the image has the size of its camera."""
    if (image.width, image.height) != (camera.width, camera.height):
        raise CameraError(
            f"image is {image.width}x{image.height}, its CameraInfo {camera.width}x{camera.height}; usual causes: "
            "the driver publishes at another resolution than it was calibrated at, a resize node without its "
            "camera_info, or CameraInfo of another camera"
        )


def _raw_camera(info: CameraInfo) -> CameraModel:
    return CameraModel.from_calibration(
        width=info.width,
        height=info.height,
        K=info.k,
        distortion_model=DISTORTION_ALIASES.get(info.distortion_model, info.distortion_model),
        distortion=info.d,
    )


def _rectified_camera(info: CameraInfo) -> CameraModel:
    projection = np.asarray(info.p, dtype=np.float64).reshape(-1)
    if projection.size != 12:
        raise CameraError(f"P has {projection.size} numbers, expected 12")
    if projection.any():
        K = projection.reshape(3, 4)[:, :3]
        return CameraModel.from_calibration(width=info.width, height=info.height, K=K)
    if np.any(np.asarray(info.d, dtype=np.float64)):
        raise CameraError(
            "P is all zero, so the rectified image has no intrinsics; calibrate the camera, or use the raw image"
        )
    return _raw_camera(info)
