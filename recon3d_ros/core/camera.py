"""The camera: intrinsics, distortion, and the one rule that scales and crops them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

# Number of coefficients that each ROS distortion model may have (sensor_msgs/distortion_models.hpp).
DISTORTION_COEFFICIENTS = {
    "none": (0,),
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}

MIN_FOCAL = 0.01  # of the image's side; a fisheye of 360 degrees has 0.16


class CameraError(ValueError):
    """A calibration that cannot be that of a camera."""


@dataclass(frozen=True)
class CameraModel:
    """A pinhole camera with optional lens distortion; the centre of the top-left pixel is (0, 0), as in ROS.

    Attributes:
        width, height: image size, pixels.
        fx, fy, cx, cy: intrinsics at that size, pixels.
        distortion_model: "none", "plumb_bob", "rational_polynomial" or "equidistant" (fisheye).
        distortion: its coefficients in OpenCV's order; all zero means no distortion.

    Raises:
        CameraError: on a size or focal length that no camera has, or on a distortion model or number of
            coefficients that ROS does not define.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = "none"
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise CameraError(f"image size is {self.width}x{self.height}, expected at least 1x1")
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(math.isfinite(number) for number in numbers):
            raise CameraError(f"intrinsics or distortion are not finite: {numbers}; calibrate the camera")
        if self.fx <= 0 or self.fy <= 0:
            raise CameraError(
                f"focal lengths are fx={self.fx}, fy={self.fy}, expected positive pixels; the camera is not "
                "calibrated (K of zeros) or its driver does not load the calibration"
            )
        if self.fx < MIN_FOCAL * self.width or self.fy < MIN_FOCAL * self.height:
            raise CameraError(
                f"focal lengths are fx={self.fx}, fy={self.fy} in a {self.width}x{self.height} image: no lens is "
                "so wide; expected pixels, they may be in millimetres"
            )
        if self.distortion_model not in DISTORTION_COEFFICIENTS:
            raise CameraError(
                f"distortion model is '{self.distortion_model}', expected one of "
                f"{', '.join(DISTORTION_COEFFICIENTS)}"
            )
        allowed = DISTORTION_COEFFICIENTS[self.distortion_model]
        if len(self.distortion) not in allowed:
            raise CameraError(
                f"{self.distortion_model} has {len(self.distortion)} coefficients, expected "
                f"{' or '.join(map(str, allowed))}"
            )

    @classmethod
    def from_calibration(
        cls,
        *,
        width: int,
        height: int,
        K: npt.ArrayLike,
        distortion_model: str = "none",
        distortion: npt.ArrayLike = (),
    ) -> CameraModel:
        """Returns the camera of a calibration file or message.

        Args:
            width, height: image size, pixels.
            K: intrinsics, 3x3 or 9 numbers in rows.
            distortion_model: a ROS name; "" means none. Zero coefficients of any model mean none too.
            distortion: the coefficients in OpenCV's order.

        Raises:
            CameraError: as of the camera, or the principal point is far outside the whole image. Outside a crop of
                it, it may well be.
        """
        matrix = np.asarray(K, dtype=np.float64).reshape(-1)
        if matrix.size != 9:
            raise CameraError(f"K has {matrix.size} numbers, expected 9")
        coefficients = tuple(float(d) for d in np.asarray(distortion, dtype=np.float64).reshape(-1))
        is_distorted = any(d != 0.0 for d in coefficients)
        camera = cls(
            width=int(width),
            height=int(height),
            fx=float(matrix[0]),
            fy=float(matrix[4]),
            cx=float(matrix[2]),
            cy=float(matrix[5]),
            distortion_model=distortion_model if is_distorted else "none",
            distortion=coefficients if is_distorted else (),
        )
        if not (-camera.width < camera.cx < 2 * camera.width and -camera.height < camera.cy < 2 * camera.height):
            raise CameraError(
                f"principal point ({camera.cx}, {camera.cy}) is far outside the {camera.width}x{camera.height} "
                "image; the calibration belongs to another resolution"
            )
        return camera

    @property
    def K(self) -> npt.NDArray[np.float64]:
        """The (3, 3) intrinsic matrix, pixels."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float64)

    def resized(self, *, width: int, height: int) -> CameraModel:
        """Returns the camera of the image resized to width x height.

        Pixel centres are integers, so a resize keeps the image's outer edge at -0.5 and
        `cx' = (cx + 0.5) * width' / width - 0.5`: the convention of cv2.resize.
        """
        scale_x = width / self.width
        scale_y = height / self.height
        return dataclasses.replace(
            self,
            width=width,
            height=height,
            fx=self.fx * scale_x,
            fy=self.fy * scale_y,
            cx=(self.cx + 0.5) * scale_x - 0.5,
            cy=(self.cy + 0.5) * scale_y - 0.5,
        )

    def cropped(self, *, left: int, top: int, width: int, height: int) -> CameraModel:
        """Returns the camera of `image[top:top + height, left:left + width]`."""
        return dataclasses.replace(self, width=width, height=height, cx=self.cx - left, cy=self.cy - top)

    def flipped(self) -> CameraModel:
        """Returns the camera of the image mirrored left to right (without distortion)."""
        return dataclasses.replace(self, cx=self.width - 1 - self.cx, distortion_model="none", distortion=())

    def undistorted(self) -> CameraModel:
        """Returns the pinhole camera with the same intrinsics and no distortion."""
        return dataclasses.replace(self, distortion_model="none", distortion=())

    def rays(self) -> npt.NDArray[np.float32]:
        """Returns the ray through each pixel centre at z = 1.

        Returns:
            (height, width, 3) float32, optical frame (x right, y down, z forward), metres per metre of depth.

        Raises:
            CameraError: if the camera is distorted: rectify its image first.
        """
        if self.distortion_model != "none":
            raise CameraError("rays of a distorted camera are not defined here; use undistorted()")
        rays = np.ones((self.height, self.width, 3), dtype=np.float32)
        rays[..., 0] = ((np.arange(self.width) - self.cx) / self.fx).astype(np.float32)
        rays[..., 1] = ((np.arange(self.height) - self.cy) / self.fy).astype(np.float32)[:, None]
        return rays

    def project(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Returns the pixels at which points appear, lens distortion included.

        Args:
            points: (N, 3), metres, optical frame; z > 0 is the caller's to ensure.

        Returns:
            (N, 2) float64: u to the right, v down, pixels.
        """
        p = np.asarray(points, dtype=np.float64).reshape(-1, 1, 3)
        if len(p) == 0:
            return np.empty((0, 2), dtype=np.float64)
        if (
            self.distortion_model == "none"
        ):  # cv2.projectPoints takes 22 ms for a sweep of 16,000 returns, this 0.3
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = p[:, 0, :2] / p[:, 0, 2:]
            return np.asarray(ratios * (self.fx, self.fy) + (self.cx, self.cy), dtype=np.float64)
        zero = np.zeros(3)
        if self.distortion_model == "equidistant":
            pixels, _ = cv2.fisheye.projectPoints(p, zero, zero, self.K, np.array(self.distortion))
        else:
            coefficients = np.array(self.distortion) if self.distortion else np.zeros(4)
            pixels, _ = cv2.projectPoints(p, zero, zero, self.K, coefficients)
        return np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
