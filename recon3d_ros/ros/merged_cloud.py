"""The clouds of all cameras as one, in the base frame."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rclpy.lifecycle import LifecycleNode
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from recon3d_ros.core.camera_view import View
from recon3d_ros.core.merge import CameraCloud, kept_points
from recon3d_ros.core.obstacles import OBSTACLE
from recon3d_ros.core.transforms import move
from recon3d_ros.ros import messages
from recon3d_ros.ros.camera_outputs import LabelledCloud, output_qos

TOPICS = ("points", "obstacles")
MAX_SPAN_NS = 1_000_000_000  # between the stamps of a round's parts; a vehicle has moved on by then


@dataclass(frozen=True, eq=False)
class Part:
    """One camera's part of a merged cloud; points, colours and labels are of the valid points alone."""

    stamp_ns: int
    cloud: CameraCloud
    colors: npt.NDArray[np.uint8] | None
    labels: npt.NDArray[np.uint8] | None


class MergedCloud:
    """Collects one part of each camera, then publishes them as `points` and `obstacles`.

    A round is complete when every camera of the last round is in it, or when a camera comes for the second time or
    long after it: the others then have been missed, and the next round does not wait for them. So the merged
    clouds come at the pace of the fastest camera, and one that dies, or whose place is not known, holds up one
    round. The stamp is that of the newest part; each part lies where its camera was at its own image's stamp.
    """

    def __init__(self, node: LifecycleNode, cameras: Collection[str]) -> None:
        self._node = node
        self._expected = set(cameras)
        self._parts: dict[str, Part] = {}
        self._stamps_ns: dict[str, int] = {}  # of the last part of each camera
        overrides = QoSOverridingOptions.with_default_policies()
        self._publishers = {
            topic: node.create_lifecycle_publisher(
                PointCloud2, topic, output_qos(), qos_overriding_options=overrides
            )
            for topic in TOPICS
        }

    def destroy(self) -> None:
        """Removes the publishers from the node."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def is_wanted(self, *topics: str) -> bool:
        """Whether anybody subscribes to one of the merged clouds; to any of them where none is named."""
        return any(self._publishers[topic].get_subscription_count() > 0 for topic in topics or TOPICS)

    def forget(self) -> None:
        """Forgets the round: what was seen before a pause is not published beside what is seen after it."""
        self._parts = {}
        self._stamps_ns = {}

    def add(self, camera: str, part: Part, frame_id: str, *, merge_overlaps: bool) -> None:
        """Takes a camera's part; publishes the round first where the part does not belong to it any more."""
        is_far = any(abs(part.stamp_ns - other.stamp_ns) > MAX_SPAN_NS for other in self._parts.values())
        if is_far and part.stamp_ns < self._stamps_ns.get(camera, part.stamp_ns):  # a bag that loops
            self._parts = {}
        elif is_far or camera in self._parts:
            self.publish(frame_id, merge_overlaps=merge_overlaps)
        self._parts[camera] = part
        self._stamps_ns[camera] = part.stamp_ns

    def publish_if_complete(self, frame_id: str, *, merge_overlaps: bool) -> None:
        """Publishes the round if no camera of the last one is missing."""
        if self._parts and self._expected <= set(self._parts):
            self.publish(frame_id, merge_overlaps=merge_overlaps)

    def publish(self, frame_id: str, *, merge_overlaps: bool) -> None:
        """Publishes the round as it is, and begins the next."""
        self._expected = set(self._parts)
        parts, self._parts = list(self._parts.values()), {}
        if merge_overlaps:
            kept = kept_points([part.cloud for part in parts])
        else:
            kept = [np.ones(len(part.cloud.points), dtype=np.bool_) for part in parts]
        header = Header(frame_id=frame_id)
        seconds, header.stamp.nanosec = divmod(max(part.stamp_ns for part in parts), 1_000_000_000)
        header.stamp.sec = seconds
        if self.is_wanted("points"):
            self._publishers["points"].publish(_message(parts, kept, header))
        if self.is_wanted("obstacles"):
            obstacles = [
                keep & (part.labels == OBSTACLE) if part.labels is not None else np.zeros_like(keep)
                for part, keep in zip(parts, kept, strict=True)
            ]
            self._publishers["obstacles"].publish(_message(parts, obstacles, header))


def part_of(labelled: LabelledCloud, seen: View, stamp_ns: int) -> Part | None:
    """Returns a camera's part of the merged cloud, or None where its place in the base frame is not known."""
    T_base_camera = seen.place.T_base_camera
    if T_base_camera is None:
        return None
    points, colors = labelled.cloud.points, labelled.cloud.colors
    is_point = np.isfinite(points[..., 2])
    cloud = CameraCloud(move(points[is_point], T_base_camera), seen.frame.depth, seen.frame.camera, T_base_camera)
    return Part(
        stamp_ns,
        cloud,
        None if colors is None else colors[is_point],
        None if labelled.labels is None else labelled.labels[is_point],
    )


def _message(parts: list[Part], kept: list[npt.NDArray[np.bool_]], header: Header) -> PointCloud2:
    points = np.concatenate([part.cloud.points[keep] for part, keep in zip(parts, kept, strict=True)])
    colors = [part.colors[keep] for part, keep in zip(parts, kept, strict=True) if part.colors is not None]
    # The fields may have been changed between two parts of a round: all parts have colours, or none is shown.
    return messages.points_to_msg(points, header, np.concatenate(colors) if len(colors) == len(parts) else None)
