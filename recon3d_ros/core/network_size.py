"""The size at which a network sees a camera: the model's own, or where that is free one of the camera's shape."""

from __future__ import annotations

import math

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.model import SIZE_STEP, ModelInfo

DEFAULT_NETWORK_PIXELS = 640 * 192  # of the images that the shipped network was trained on
MAX_NETWORK_PIXELS = 4_000_000
MAX_ROWS_CUT = 0.01  # share of the rows that may be cut so that the width needs no further step down


def network_size(info: ModelInfo, camera: CameraModel, pixels: int = DEFAULT_NETWORK_PIXELS) -> tuple[int, int]:
    """Returns the (height, width) of the network's input for a camera.

    Args:
        info: of the model; one of a fixed size has that size for every camera.
        camera: whose shape is kept.
        pixels: what the input may hold, about; 0 takes the model's default size, whatever the camera's shape.
    """
    if not info.has_free_size or pixels == 0:
        return info.height, info.width
    return camera_shape(camera, pixels)


def camera_shape(camera: CameraModel, pixels: int = DEFAULT_NETWORK_PIXELS) -> tuple[int, int]:
    """Returns the (height, width) with a camera's shape and about so many pixels, in multiples of 32.

    The height is the nearest multiple, the width the next one below: the cut to this shape takes at most 1 % of
    the camera's rows, which hold the road right ahead, and less than 32 of the network's columns.
    """
    pixels = max(pixels, SIZE_STEP**2)
    # A camera that is one strip must not make the other side endless: both sides are at least one step.
    longest = pixels / SIZE_STEP**2
    aspect = min(max(camera.width / camera.height, 1 / longest), longest)
    height = max(round(math.sqrt(pixels / aspect) / SIZE_STEP), 1) * SIZE_STEP
    width = max(math.floor(height * aspect * (1 + MAX_ROWS_CUT) / SIZE_STEP), 1) * SIZE_STEP
    return height, width
