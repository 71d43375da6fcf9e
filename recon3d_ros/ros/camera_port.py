"""One camera of the depth node: its subscriptions, and the conversion of their messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.camera_info import camera_from_info, check_image_size
from recon3d_ros.core.preprocess import RawImage
from recon3d_ros.core.stamps import stamp_ns_of
from recon3d_ros.ros import messages
from recon3d_ros.ros.diagnostics import CameraHealth
from recon3d_ros.ros.parameters import DepthNodeParameters, topic_of

# Images of two publishers on one topic go back and forth by less; TF holds for both of them.
MIN_JUMP_NS = 1_000_000_000
KEPT_CALIBRATIONS = 64  # two seconds at 30 Hz; an image waits no longer for the network


def sensor_qos() -> QoSProfile:
    """Returns the QoS of an input; a new one each time, because rclpy writes a topic's overrides into it.

    The executor moves images into the keep-latest mailbox at once. A queue of one would let DDS drop, uncounted,
    what arrives while another callback runs; the mailbox drops the same frames and counts them.
    """
    return QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class FrameError(Exception):
    """A frame that cannot be used: a short reason for the counters, and a message that says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class ReceivedImage:
    """An image message and the monotonic time at which it arrived, seconds."""

    message: Image | CompressedImage
    arrival: float


@dataclass(frozen=True)
class Calibration:
    """What the last CameraInfo said."""

    camera: CameraModel
    frame_id: str


class CameraPort:
    """The inputs of one camera: its images and its CameraInfo.

    Args:
        node: that subscribes.
        name: the camera's namespace.
        parameters: that hold for the camera.
        health: counts what arrives.
        on_image: called in the executor's thread.
        on_camera: called there with each calibration that can be used.
        on_time_jump: called there when a stamp goes back far, before the image is handed on.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        parameters: DepthNodeParameters,
        health: CameraHealth,
        on_image: Callable[[str, ReceivedImage], None],
        on_camera: Callable[[str, CameraModel], None],
        on_time_jump: Callable[[], None],
    ) -> None:
        self.name = name
        self.health = health
        self._node = node
        self._on_image = on_image
        self._on_camera = on_camera
        self._on_time_jump = on_time_jump
        self._is_rectified = parameters.rectified
        # Written by the executor's thread and read by the inference thread, so always as one value.
        self._calibration: Calibration | CameraError | None = None
        # By stamp, for cameras whose lens moves: an image that waited for the network has a later one behind it.
        self._calibrations: dict[int, Calibration | CameraError] = {}
        self._last_stamp_ns = 0
        self._last_number = 0

        image_type, suffix = (CompressedImage, "/compressed") if parameters.compressed else (Image, "")
        # The base topic is remapped before the transport's suffix is added, as image_transport does.
        image_topic = node.resolve_topic_name(topic_of(name, parameters.image_topic)) + suffix
        overrides = QoSOverridingOptions.with_default_policies()
        # Humble's rclpy hands over no message info, so that there nobody counts what DDS loses.
        receive = self._receive_numbered if hasattr(Subscription, "CallbackType") else self._receive_image
        self._subscriptions = [
            node.create_subscription(
                image_type, image_topic, receive, sensor_qos(), qos_overriding_options=overrides
            ),
            node.create_subscription(
                CameraInfo,
                topic_of(name, parameters.camera_info_topic),
                self._receive_camera_info,
                sensor_qos(),
                qos_overriding_options=overrides,
            ),
        ]

    def destroy(self) -> None:
        """Removes the camera's subscriptions from the node."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def decode(self, message: Image | CompressedImage) -> tuple[RawImage, CameraModel]:
        """Returns the image of a message and the camera that took it.

        Raises:
            FrameError: if the message is malformed or no CameraInfo fits it.
        """
        try:
            if isinstance(message, CompressedImage):
                image = messages.image_from_compressed_msg(message)
            else:
                image = messages.image_from_msg(message)
        except ValueError as error:
            raise FrameError("bad_image", str(error)) from error
        calibration = self._calibrations.get(stamp_ns_of(message.header), self._calibration)
        if calibration is None:
            topic = self._subscriptions[1].topic_name
            raise FrameError("no_camera_info", f"no CameraInfo on {topic} yet; depth needs the focal length")
        if isinstance(calibration, CameraError):
            raise FrameError("bad_camera_info", f"CameraInfo cannot be used: {calibration}")
        try:
            check_image_size(calibration.camera, image)
        except CameraError as error:
            raise FrameError("camera_info_mismatch", str(error)) from error
        if message.header.frame_id != calibration.frame_id:
            raise FrameError(
                "camera_info_mismatch",
                f"image has frame_id '{message.header.frame_id}', its CameraInfo '{calibration.frame_id}'; "
                "they must be the same optical frame",
            )
        return image, calibration.camera

    def _receive_numbered(self, message: Image | CompressedImage, info: Mapping[str, int | None]) -> None:
        """Counts the images that were published but never arrived, by the gap in the publisher's numbers."""
        number = info.get("publication_sequence_number") or 0
        missing = number - self._last_number - 1
        if self._last_number > 0 and missing > 0:
            # Each publisher has numbers of its own: where there are two on one topic, a gap says nothing.
            if self._node.count_publishers(self._subscriptions[0].topic_name) == 1:
                self.health.count_lost(missing)
        self._last_number = number
        self._receive_image(message)

    def _receive_image(self, message: Image | CompressedImage) -> None:
        self.health.count_received()
        stamp_ns = stamp_ns_of(message.header)
        if stamp_ns < self._last_stamp_ns:
            if stamp_ns < self._last_stamp_ns - MIN_JUMP_NS:
                self._on_time_jump()
            if self.health.count_time_jump():
                self._node.get_logger().warning(
                    f"{self.name}: stamp went back by {(self._last_stamp_ns - stamp_ns) * 1e-9:.3f} s "
                    "(a bag that loops, or two publishers on one topic); going on with the new time"
                )
        self._last_stamp_ns = stamp_ns
        self._on_image(self.name, ReceivedImage(message, time.monotonic()))

    def _receive_camera_info(self, message: CameraInfo) -> None:
        calibration: Calibration | CameraError
        try:
            camera = camera_from_info(message, rectified=self._is_rectified)
            calibration = Calibration(camera, message.header.frame_id)
        except CameraError as error:
            calibration = error
        stamp_ns = stamp_ns_of(message.header)
        if self._calibrations and stamp_ns < next(reversed(self._calibrations)):
            self._calibrations = {}  # time jumped back: a stamp comes again, its calibration may be another
        self._calibration = self._calibrations[stamp_ns] = calibration
        if len(self._calibrations) > KEPT_CALIBRATIONS:
            del self._calibrations[next(iter(self._calibrations))]
        if isinstance(calibration, Calibration):
            self._on_camera(self.name, calibration.camera)
