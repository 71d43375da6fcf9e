"""From an Image message to an image or a depth image; rclpy's and rosbags' messages both serve."""

from __future__ import annotations

from typing import Protocol, TypedDict

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.encodings import Bytes, decode_depth, decode_image
from recon3d_ros.core.preprocess import TO_RGB, RawImage


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image that are read."""

    @property
    def data(self) -> Bytes: ...
    @property
    def encoding(self) -> str: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def is_bigendian(self) -> int: ...


class _Layout(TypedDict):
    encoding: str
    height: int
    width: int
    step: int
    is_bigendian: bool


def image_of(message: ImageMessage) -> RawImage:
    """Returns the image of a sensor_msgs/Image; errors as decode_image."""
    return decode_image(message.data, **_layout(message))


def rgb_of(message: ImageMessage) -> npt.NDArray[np.uint8]:
    """Returns the (H, W, 3) uint8 RGB pixels of a sensor_msgs/Image; errors as decode_image."""
    image = image_of(message)
    conversion = TO_RGB[image.channels]
    pixels = image.data if conversion is None else cv2.cvtColor(image.data, conversion)
    return np.asarray(pixels, dtype=np.uint8)


def depth_of(message: ImageMessage) -> npt.NDArray[np.float32]:
    """Returns the (H, W) float32 metres of a depth image; errors as decode_depth."""
    return decode_depth(message.data, **_layout(message))


def _layout(message: ImageMessage) -> _Layout:
    return {
        "encoding": message.encoding,
        "height": message.height,
        "width": message.width,
        "step": message.step,
        "is_bigendian": bool(message.is_bigendian),
    }
