"""A street that the tiny model of onnx_models sees exactly: a level road and a wall, drawn in grey levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from onnx_models import METRES_PER_FOCAL_PX, METRES_PER_GREY
from rclpy.parameter import Parameter
from ros_harness import RosHarness
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2

TYPES = {
    "depth/image_rect": Image,
    "image_rect": Image,
    "camera_info": CameraInfo,
    "scan": LaserScan,
    "scale": DiagnosticArray,
}
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


class Street:
    """Cameras in the street before a live node, and what comes out of it."""

    def __init__(self, harness: RosHarness, topics: tuple[str, ...]) -> None:
        self.harness, self.node = harness, harness.node
        names = self.node.parameters.cameras
        self.images = {name: harness.publisher(f"/{name}/image_raw", Image) for name in names}
        self.infos = {name: harness.publisher(f"/{name}/camera_info", CameraInfo) for name in names}
        self.out = {topic: harness.collect(f"/{topic}", kind_of(topic)) for topic in topics}
        self.diagnostics = harness.collect("/diagnostics", DiagnosticArray)
        assert self.node.start()
        inputs = [*self.images.values(), *self.infos.values()]
        harness.wait_until_connected(inputs, [f"/{topic}" for topic in topics])
        for name, publisher in self.infos.items():
            publisher.publish(street_info(f"{name}_optical_frame"))
        ports = self.node._ports.values()
        harness.wait_for(lambda: all(port._calibration for port in ports), "the CameraInfo")

    def send(self, camera: str = "front", **changes: Any) -> None:
        self.images[camera].publish(street_image(f"{camera}_optical_frame", **changes))

    def get(self, topic: str, count: int = 1) -> Any:
        """Returns the newest message of a topic after `count` of them have come."""
        messages = self.out[topic]
        self.harness.wait_for(lambda: len(messages) >= count, f"{count} messages on {topic}; {self.said()}")
        return messages[-1]

    def said(self) -> list[str]:
        return [status.message for status in self.diagnostics[-1].status] if self.diagnostics else []

    def status(self, name: str = "front") -> DiagnosticStatus:
        return next(s for s in self.diagnostics[-1].status if s.name == f"recon3d_depth: {name}")

    def values(self, name: str = "front") -> dict[str, str]:
        return {item.key: item.value for item in self.status(name).values}

    def wait_for_value(self, key: str, value: str) -> None:
        self.harness.wait_for(lambda: self.diagnostics and self.values().get(key) == value, f"{key}={value}")

    def set(self, **changes: Any) -> None:
        names = {name.replace("__", "."): value for name, value in changes.items()}
        for result in self.node.set_parameters([Parameter(name, value=value) for name, value in names.items()]):
            assert result.successful, result.reason


def kind_of(topic: str) -> Any:
    return next((kind for name, kind in TYPES.items() if topic.endswith(name)), PointCloud2)
