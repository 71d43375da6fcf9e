"""A street that the tiny model of onnx_models sees exactly: a level road and a wall, drawn in grey levels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx_models import METRES_PER_FOCAL_PX, METRES_PER_GREY
from sensor_msgs.msg import CameraInfo, Image

WIDTH, HEIGHT = 128, 64  # of the camera and of the network's input, so that no pixel is resampled
FX, FY, CX, CY = 48.0, 46.0, 61.0, 21.0
CAMERA_HEIGHT = 3.0  # metres, as on a lorry: the nearest road is then within what the model can say
WALL = 7.0  # metres before the camera
# The camera is 1 m ahead of the base frame and 0.2 m to its left, level; optical z is the base's x.
FRONT = "base_link front_optical_frame 1.0 0.2 3.0 -0.5 0.5 -0.5 0.5"
REAR = "base_link rear_optical_frame -1.0 0.2 3.0 -0.5 -0.5 0.5 0.5"  # looks back: optical z is the base's -x


def street_depth() -> npt.NDArray[np.float64]:
    """Returns (HEIGHT, WIDTH) metres along z."""
    below = np.maximum(np.arange(HEIGHT) - CY, 1e-6)
    road = CAMERA_HEIGHT * FY / below
    return np.repeat(np.minimum(road, WALL)[:, None], WIDTH, axis=1)


def street_image(frame_id: str = "front_optical_frame", *, stamp: tuple[int, int] = (7, 500), scale: float = 1.0):
    """Returns the Image whose depth the tiny model takes for the street's times `scale`."""
    grey = np.rint((street_depth() * scale - FX * METRES_PER_FOCAL_PX) / METRES_PER_GREY)
    assert 0 <= grey.min() and grey.max() <= 255
    message = Image(width=WIDTH, height=HEIGHT, encoding="mono8", step=WIDTH)
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    message.header.frame_id = frame_id
    message.data = grey.astype(np.uint8).tobytes()
    return message


def street_info(frame_id: str = "front_optical_frame") -> CameraInfo:
    """Returns the CameraInfo of the street's camera."""
    message = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.frame_id = frame_id
    message.k = [FX, 0.0, CX, 0.0, FY, CY, 0.0, 0.0, 1.0]
    return message
