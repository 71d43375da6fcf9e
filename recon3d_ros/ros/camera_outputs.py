"""What the depth node publishes of one camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2
from std_msgs.msg import Header

from recon3d_ros.core.camera_view import CameraView, View
from recon3d_ros.core.cloud_filters import Cloud
from recon3d_ros.core.obstacles import GROUND, OBSTACLE
from recon3d_ros.core.scan import ScanError
from recon3d_ros.core.transforms import move
from recon3d_ros.ros import messages
from recon3d_ros.ros.diagnostics import key_values
from recon3d_ros.ros.parameters import DepthNodeParameters
from recon3d_ros.ros.places import Located

OUTPUTS = {
    "depth/image_rect": Image,
    "depth/camera_info": CameraInfo,
    "image_rect": Image,
    "points": PointCloud2,
    "obstacles": PointCloud2,
    "ground": PointCloud2,
    "clearing": PointCloud2,
    "scan": LaserScan,
    "scale": DiagnosticArray,
}
CLOUDS = ("points", "obstacles", "ground", "clearing")


def output_qos() -> QoSProfile:
    """Returns the QoS of an output, which default rviz2 and Nav2 connect to; a new one, as sensor_qos."""
    return QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


@dataclass(frozen=True, eq=False)
class LabelledCloud:
    """A camera's points with what each of them is.

    Attributes:
        cloud: points and colours, optical frame.
        labels: uint8 (see core.obstacles) of the points' shape, or None where the road is not known.
    """

    cloud: Cloud
    labels: npt.NDArray[np.uint8] | None


class CameraOutputs:
    """The publishers of one camera namespace. What nobody subscribes to is not computed."""

    def __init__(self, node: LifecycleNode, name: str) -> None:
        self._node = node
        self._name = name
        overrides = QoSOverridingOptions.with_default_policies()
        self._publishers = {
            topic: node.create_lifecycle_publisher(
                message_type, f"{name}/{topic}", output_qos(), qos_overriding_options=overrides
            )
            for topic, message_type in OUTPUTS.items()
        }

    def destroy(self) -> None:
        """Removes the publishers from the node."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def is_wanted(self, *topics: str) -> bool:
        """Whether anybody subscribes to one of these outputs; to any of them where none is named."""
        return any(self._publishers[topic].get_subscription_count() > 0 for topic in topics or OUTPUTS)

    def cloud(
        self, view: CameraView, seen: View, parameters: DepthNodeParameters, *, labels: bool
    ) -> LabelledCloud:
        """Returns the points of a frame, organised, and on request what each of them is."""
        cloud = view.cloud(
            seen, colors=parameters.cloud_fields == "xyzrgb", stride=parameters.cloud_stride, organised=True
        )
        road = view.road(seen) if labels else None
        return LabelledCloud(
            cloud, None if road is None else view.labels(seen, road, stride=parameters.cloud_stride)
        )

    def publish_images(self, seen: View, header: Header, parameters: DepthNodeParameters) -> int:
        """Publishes what lies in the camera's own image and needs no transform; returns how many messages."""
        frame, sent = seen.frame, []
        if self.is_wanted("depth/camera_info"):
            sent.append(("depth/camera_info", messages.camera_to_msg(frame.camera, header)))
        if self.is_wanted("depth/image_rect"):
            depth = messages.depth_to_msg(frame.depth, header, parameters.depth_encoding)
            sent.append(("depth/image_rect", depth))
        if self.is_wanted("image_rect"):
            sent.append(("image_rect", messages.image_to_msg(frame.image, header)))
        if self.is_wanted("scale"):
            sent.append(("scale", scale_message(seen, header, self._name)))
        for topic, message in sent:
            self._publishers[topic].publish(message)
        return len(sent)

    def publish_clouds(
        self,
        view: CameraView,
        labelled: LabelledCloud,
        seen: View,
        header: Header,
        parameters: DepthNodeParameters,
        located: Located,
    ) -> int:
        """Publishes the clouds, in target_frame where there is one; returns how many.

        The caller has seen to it that what they need is known.
        """
        cloud_header = Header(stamp=header.stamp, frame_id=parameters.target_frame or header.frame_id)
        points, colors = labelled.cloud.points, labelled.cloud.colors
        is_point = np.isfinite(points[..., 2])
        sent = 0
        for topic, label in (("points", None), ("obstacles", OBSTACLE), ("ground", GROUND)):
            if not self.is_wanted(topic) or (label is not None and labelled.labels is None):
                continue
            if label is None and parameters.cloud_organised:
                chosen, chosen_colors = points, colors
            else:
                keep = is_point if label is None else is_point & (labelled.labels == label)
                chosen, chosen_colors = points[keep], None if colors is None else colors[keep]
            if located.T_target_camera is not None:
                chosen = move(chosen, located.T_target_camera)
            self._publishers[topic].publish(messages.points_to_msg(chosen, cloud_header, chosen_colors))
            sent += 1
        if self.is_wanted("clearing") and located.place.T_base_camera is not None:
            free = view.clearing(seen, located.place.T_base_camera)
            if located.T_target_camera is not None:
                free = move(free, located.T_target_camera)
            self._publishers["clearing"].publish(messages.points_to_msg(free, cloud_header))
            sent += 1
        return sent

    def publish_scan(self, view: CameraView, seen: View, header: Header, parameters: DepthNodeParameters) -> int:
        """Publishes the scan in the base frame; returns how many messages.

        Raises:
            ScanError: if the camera cannot see what the scan asks for.
        """
        T_base_camera = seen.place.T_base_camera
        if T_base_camera is None:
            raise ScanError("the camera's place in the base frame is not known")
        scan = view.scan(seen, T_base_camera)
        scan_header = Header(stamp=header.stamp, frame_id=parameters.base_frame)
        self._publishers["scan"].publish(messages.scan_to_msg(scan, scan_header))
        return 1


def scale_message(seen: View, header: Header, camera: str) -> DiagnosticArray:
    """Returns the scale of a frame under its image's header.

    A DiagnosticArray is the one standard message that has a stamp and holds the value, its confidence, where it is
    from and in words why it is held; plotting tools read its numbers.
    """
    estimate = seen.estimate
    status = DiagnosticStatus(
        level=DiagnosticStatus.WARN if estimate.is_held else DiagnosticStatus.OK,
        name=f"recon3d_depth: {camera}: scale",
        message=estimate.reason or estimate.source,
        hardware_id=camera,
        values=key_values(scale_values(seen)),
    )
    return DiagnosticArray(header=header, status=[status])


def scale_values(seen: View) -> dict[str, str]:
    """Returns the scale of a frame for diagnostics."""
    estimate = seen.estimate
    return {
        "scale": f"{estimate.scale:.4f}",
        "scale_sigma": f"{estimate.sigma:.4f}",
        "scale_source": estimate.source,
        "scale_held": str(estimate.is_held).lower(),
        "scale_measured": "" if estimate.measured is None else f"{estimate.measured:.4f}",
        "scale_reason": estimate.reason,
    }
