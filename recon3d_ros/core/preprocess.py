"""From the raw camera image to the network's rectified input in one remap."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraError, CameraModel

MAX_SIDE = 32_766  # pixels that cv2.remap takes
TO_RGB = {
    "rgb": None,
    "bgr": cv2.COLOR_BGR2RGB,
    "rgba": cv2.COLOR_RGBA2RGB,
    "bgra": cv2.COLOR_BGRA2RGB,
    "mono": cv2.COLOR_GRAY2RGB,
}


@dataclass(frozen=True)
class RawImage:
    """An image as it came from the camera.

    Attributes:
        data: (H, W) or (H, W, C) uint8; may be a read-only view into a message.
        channels: "rgb", "bgr", "rgba", "bgra" or "mono".
    """

    data: npt.NDArray[np.uint8]
    channels: str

    @property
    def height(self) -> int:
        return int(self.data.shape[0])

    @property
    def width(self) -> int:
        return int(self.data.shape[1])


def crop_to_aspect(camera: CameraModel, *, width: int, height: int, position: float = 0.5) -> CameraModel:
    """Returns the largest crop of a camera that has the aspect ratio of width x height.

    Args:
        camera: the whole image.
        width, height: only their ratio counts.
        position: where the crop lies in the direction that is cut: 0 keeps the top or left, 1 the bottom or right.
    """
    if camera.width * height >= camera.height * width:
        crop_width, crop_height = round(camera.height * width / height), camera.height
    else:
        crop_width, crop_height = camera.width, round(camera.width * height / width)
    crop_width, crop_height = max(crop_width, 1), max(crop_height, 1)
    return camera.cropped(
        left=round((camera.width - crop_width) * position),
        top=round((camera.height - crop_height) * position),
        width=crop_width,
        height=crop_height,
    )


def lens_reach(camera: CameraModel, radius: float) -> float:
    """Returns the distance from the axis, at z = 1, up to which the distortion polynomial describes the lens.

    Beyond the calibrated field of view a polynomial can turn back, and then shows a second, false picture of rays
    that the lens never saw.

    Args:
        camera: with its distortion.
        radius: how far to look; also the answer where the polynomial does not turn back before.
    """
    radii = np.linspace(0.0, radius, 4096)
    pixels = camera.project(np.stack([radii, np.zeros_like(radii), np.ones_like(radii)], axis=1))[:, 0]
    turns = np.flatnonzero(np.diff(pixels) <= 0)
    return float(radii[turns[0]]) if turns.size else radius


class Rectifier:
    """Undistorts, crops and resizes the images of one camera to the network's input, in one remap.

    The maps are made once; the cost of a frame follows the network's size, not the camera's. Colour is
    converted after the remap, at the network's size.

    Attributes:
        source: the camera whose images come in.
        camera: the undistorted camera of what comes out.
        valid_mask: (height, width) bool; False where the raw image has no pixel of that ray.

    Raises:
        CameraError: if the image or the network's input is longer than OpenCV can resize.
    """

    def __init__(self, source: CameraModel, *, width: int, height: int, crop_position: float = 0.5) -> None:
        if max(source.width, source.height, width, height) > MAX_SIDE:
            raise CameraError(
                f"a {source.width}x{source.height} image cannot become {width}x{height}: expected at most "
                f"{MAX_SIDE} pixels a side"
            )
        self.source = source
        crop = crop_to_aspect(source.undistorted(), width=width, height=height, position=crop_position)
        self.camera = crop.resized(width=width, height=height)
        size = (width, height)
        if source.distortion_model == "equidistant":
            map_u, map_v = cv2.fisheye.initUndistortRectifyMap(
                source.K, np.array(source.distortion), np.eye(3), self.camera.K, size, cv2.CV_32FC1
            )
        else:
            coefficients = np.array(source.distortion) if source.distortion else np.zeros(4)
            map_u, map_v = cv2.initUndistortRectifyMap(
                source.K, coefficients, np.eye(3), self.camera.K, size, cv2.CV_32FC1
            )
        inside = (map_u >= -0.5) & (map_u <= source.width - 0.5) & (map_v >= -0.5) & (map_v <= source.height - 0.5)
        radius = np.linalg.norm(self.camera.rays()[..., :2], axis=-1)
        self.valid_mask: npt.NDArray[np.bool_] = inside & (radius <= lens_reach(source, float(radius.max())))
        self._maps = cv2.convertMaps(map_u, map_v, cv2.CV_16SC2)

    def __call__(self, image: RawImage) -> npt.NDArray[np.uint8]:
        """Returns the (height, width, 3) uint8 RGB input of the network.

        Raises:
            ValueError: if the image's size is not the camera's, or its channels are unknown.
        """
        if (image.width, image.height) != (self.source.width, self.source.height):
            raise ValueError(
                f"image is {image.width}x{image.height}, its camera {self.source.width}x{self.source.height}"
            )
        if image.channels not in TO_RGB:
            raise ValueError(f"image has channels '{image.channels}', expected one of {', '.join(TO_RGB)}")
        conversion = TO_RGB[image.channels]
        rectified = cv2.remap(
            image.data, self._maps[0], self._maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        if conversion is not None:
            rectified = cv2.cvtColor(rectified, conversion)
        return np.asarray(rectified, dtype=np.uint8)
