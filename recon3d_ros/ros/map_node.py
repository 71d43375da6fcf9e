"""The map node: depth images and poses in, a rolling map of fused surfaces out. Wiring only."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.camera_info import camera_from_info
from recon3d_ros.core.encodings import EncodingError
from recon3d_ros.core.fusion import Volume
from recon3d_ros.core.fusion_mesh import extract_mesh
from recon3d_ros.core.fusion_settings import FusionError, PosedDepth
from recon3d_ros.core.image_message import rgb_of
from recon3d_ros.core.lidar import LidarError
from recon3d_ros.core.mesh import count_edges
from recon3d_ros.core.mesh_files import UNITS, MeshFileError, check_suffix, write_mesh
from recon3d_ros.core.poses import PoseError
from recon3d_ros.core.stamps import stamp_ns_of
from recon3d_ros.core.transforms import TransformError, parse_transforms
from recon3d_ros.ros import messages
from recon3d_ros.ros.camera_port import sensor_qos
from recon3d_ros.ros.diagnostics import CameraHealth
from recon3d_ros.ros.frames import open_frames
from recon3d_ros.ros.mailbox import Mailbox
from recon3d_ros.ros.map_motion import Motion, OdometryMotion, TfMotion
from recon3d_ros.ros.map_parameters import declare_parameters, with_changes
from recon3d_ros.ros.parameter_field import ParameterError
from recon3d_ros.ros.running import run_node

NODE_NAME = "recon3d_map"
MAX_WAITING = 10  # depth images that wait for their colour, and the other way round
TIME_JUMP_NS = 1_000_000_000  # depth that is older than the last by more starts a new map


@dataclass(frozen=True)
class ReceivedDepth:
    """A depth image, the colour image of its stamp or None, its camera, and when it came (monotonic seconds)."""

    depth: Image
    color: Image | None
    camera: CameraModel
    arrival: float


class MapNode(Node):
    """Fuses depth images into a volume around the vehicle, publishes its surface and saves it on request.

    The executor's thread only stores the newest depth image; one thread fuses what waits, and publishes the cloud.

    Raises:
        ParameterError: if a parameter is unknown, has the wrong type or is out of range.
        FusionError: if Open3D is not installed or lacks the device.
    """

    def __init__(self, **node_options: object) -> None:
        super().__init__(NODE_NAME, **node_options)
        self._mailbox: Mailbox[ReceivedDepth] = Mailbox()
        self._thread: threading.Thread | None = None
        self.parameters = declare_parameters(self)
        self._health = CameraHealth("map", self.parameters.stale_after)
        self._settings = self.parameters.fusion
        self._volume = Volume(self._settings)
        self._volume_lock = threading.Lock()
        self._depths: dict[int, Image] = {}  # by stamp, until the colour of the same stamp has come
        self._colors: dict[int, Image] = {}
        self._camera: CameraModel | CameraError | None = None
        self._last_stamp_ns = 0
        self._last_cloud = -float("inf")
        self._motion = self._open_motion()
        self._open_topics()
        self.add_on_set_parameters_callback(self._set_parameters)
        self._thread = threading.Thread(target=self._fuse_until_closed, name="fusion", daemon=True)
        self._thread.start()
        p = self.parameters
        motion = p.odometry_topic or f"TF to '{p.world_frame}'"
        topic = self.resolve_topic_name(p.depth_topic)
        self.get_logger().info(f"waiting for depth on {topic}, motion by {motion}")

    def _open_motion(self) -> Motion:
        p = self.parameters
        try:
            frames = open_frames(self, parse_transforms(p.static_transforms))
        except TransformError as error:
            raise ParameterError(f"static_transforms: {error}") from error
        if not p.odometry_topic:
            return TfMotion(frames, p.world_frame, p.transform_timeout)
        motion = OdometryMotion(frames, p.odometry_topic, p.transform_timeout)

        def receive(message: Odometry) -> None:
            try:
                motion.receive(message)
            except LidarError as error:
                self._reject("odometry", f"{p.odometry_topic}: {error}; its publisher does not set the rotation")

        self.create_subscription(Odometry, p.odometry_topic, receive, sensor_qos())
        return motion

    def _open_topics(self) -> None:
        p = self.parameters
        overrides = QoSOverridingOptions.with_default_policies()
        info_topic = p.camera_info_topic or p.depth_topic.rpartition("/")[0] + "/camera_info"
        self._info_topic = self.resolve_topic_name(info_topic)
        for kind, topic, callback in (
            (CameraInfo, info_topic, self._receive_camera_info),
            (Image, p.depth_topic, self._receive_depth),
            (Image, p.color_topic, self._receive_color),
        ):
            if topic:
                self.create_subscription(kind, topic, callback, sensor_qos(), qos_overriding_options=overrides)
        reliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._cloud = self.create_publisher(PointCloud2, "~/points", reliable, qos_overriding_options=overrides)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_service(Trigger, "~/save_mesh", self._save_mesh)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # health must go on being told when /clock stops
        self.create_timer(p.diagnostics_period, self._publish_diagnostics, clock=steady)

    def destroy_node(self) -> None:
        self._mailbox.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        super().destroy_node()

    def _receive_camera_info(self, message: CameraInfo) -> None:
        try:
            self._camera = camera_from_info(message, rectified=True)
        except CameraError as error:
            self._camera = error

    def _receive_depth(self, message: Image) -> None:
        self._health.count_received()
        self._depths[stamp_ns_of(message.header)] = message
        self._match(message.header)

    def _receive_color(self, message: Image) -> None:
        self._colors[stamp_ns_of(message.header)] = message
        self._match(message.header)

    def _match(self, header: Header) -> None:
        """Hands a depth image on once its colour has come too; lets go of what has waited too long."""
        stamp_ns = stamp_ns_of(header)
        if stamp_ns in self._depths and (stamp_ns in self._colors or not self.parameters.color_topic):
            depth, color = self._depths.pop(stamp_ns), self._colors.pop(stamp_ns, None)
            if not isinstance(self._camera, CameraModel):
                reason = f"cannot be used: {self._camera}" if self._camera else "has not come"
                self._reject("no_camera_info", f"CameraInfo on {self._info_topic} {reason}")
            elif (
                self._mailbox.put("depth", ReceivedDepth(depth, color, self._camera, time.monotonic())) is not None
            ):
                self._health.count_dropped()
        for waiting in (self._depths, self._colors):
            if len(waiting) > MAX_WAITING:
                waiting.pop(next(iter(waiting)))
                if waiting is self._depths:
                    self._reject("no_color", f"no image of the depth's stamp on {self.parameters.color_topic}")

    def _fuse_until_closed(self) -> None:
        while received := self._mailbox.take_all():
            try:
                self._fuse(received["depth"])
            except (CameraError, EncodingError, FusionError, LidarError, PoseError, TransformError) as error:
                self._reject(type(error).__name__.removesuffix("Error").lower(), str(error))
            except Exception as error:  # the thread must outlive any single frame
                if not rclpy.ok(context=self.context):
                    return
                self.get_logger().error(traceback.format_exc(), throttle_duration_sec=5.0)
                self._reject("failed", f"{type(error).__name__}: {error}")

    def _fuse(self, received: ReceivedDepth) -> None:
        """Converts, fuses and publishes one depth image."""
        start = time.monotonic()
        header = received.depth.header
        stamp_ns = stamp_ns_of(header)
        if stamp_ns < self._last_stamp_ns - TIME_JUMP_NS:
            self._start_anew((self._last_stamp_ns - stamp_ns) * 1e-9)
        self._last_stamp_ns = stamp_ns
        pose = self._motion.pose(header.frame_id, stamp_ns)
        located = time.monotonic()
        frame = PosedDepth(
            depth=messages.depth_from_msg(received.depth),
            camera=received.camera,
            T_world_camera=pose,
            color=None if received.color is None else rgb_of(received.color),
        )
        with self._volume_lock:
            self._volume.add(frame)
            self._volume.forget_beyond(pose[:3, 3], self.parameters.radius)
            self._volume.limit_views(self.parameters.max_views)
        fused = time.monotonic()
        if fused - self._last_cloud >= self.parameters.cloud_period and self._cloud.get_subscription_count():
            self._last_cloud = fused
            self._publish_cloud(Header(stamp=header.stamp, frame_id=self.parameters.world_frame))
        done = time.monotonic()
        self._health.count_published(
            {
                "wait": start - received.arrival,
                "pose": located - start,
                "fuse": fused - located,
                "publish": done - fused,
                "total": done - received.arrival,
            }
        )

    def _publish_cloud(self, header: Header) -> None:
        with self._volume_lock:
            points, colors = self._volume.points(min_views=self.parameters.min_views)
        self._cloud.publish(messages.points_to_msg(points, header, colors))

    def _start_anew(self, seconds: float) -> None:
        self.get_logger().warning(f"stamps went back by {seconds:.1f} s (a bag that loops); a new map begins")
        self._health.count_time_jump()
        self._motion.forget()
        with self._volume_lock:
            self._volume = Volume(self._settings)

    def _save_mesh(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        path = Path(self.parameters.mesh_path).expanduser()
        try:
            if not self.parameters.mesh_path:
                raise MeshFileError("parameter mesh_path is empty; set it to a file, for example map.glb")
            suffix = check_suffix(path)
            with self._volume_lock:
                mesh = extract_mesh(self._volume, min_views=self.parameters.min_views)
            write_mesh(path, mesh)  # the world frame has z up (REP 103)
        except (FusionError, MeshFileError, OSError) as error:
            response.success, response.message = False, str(error)
            self.get_logger().error(f"save_mesh: {error}")
            return response
        edges = count_edges(mesh.triangles)
        response.success = True
        response.message = (
            f"{path.absolute()}: {len(mesh.triangles)} triangles, {edges.free} free edges, unit {UNITS[suffix]}"
        )
        return response

    def _reject(self, reason: str, message: str) -> None:
        if self._health.count_rejected(reason, message):
            self.get_logger().warning(f"depth rejected ({reason}): {message}")

    def _set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        self.parameters = with_changes(self.parameters, changes)
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        with self._volume_lock:
            blocks, size = self._volume.blocks, self._volume.memory_bytes
        self._health.facts = {"blocks": str(blocks), "memory_mb": f"{size / 1e6:.0f}"}
        message = DiagnosticArray(status=[self._health.report(is_active=True)])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main(arguments: list[str] | None = None) -> int:
    """Runs the node until it is told to stop; returns 1 if it could not start."""
    return run_node(NODE_NAME, MapNode, refusals=(ParameterError, FusionError), arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
