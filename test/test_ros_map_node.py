"""The live map over real DDS: a ball of known size comes out where it is, as a cloud and as a file."""

from __future__ import annotations

import ast
import dataclasses
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from posed_scenes import CENTER, COLOR, HEIGHT, RADIUS, WIDTH, K, around, ball_depth, open3d_or_skip

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")
nav_msgs = pytest.importorskip("nav_msgs.msg", reason="nav_msgs is not installed")
pytest.importorskip("std_srvs.srv", reason="std_srvs is not installed")
open3d_or_skip()
trimesh = pytest.importorskip("trimesh", reason="mesh files need trimesh")

from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from recon3d_ros.core.camera import CameraModel  # noqa: E402
from recon3d_ros.core.fusion_settings import FusionError  # noqa: E402
from recon3d_ros.ros import messages  # noqa: E402
from recon3d_ros.ros.frames import transform_message  # noqa: E402
from recon3d_ros.ros.map_node import NODE_NAME, MapNode  # noqa: E402
from recon3d_ros.ros.map_parameters import MapNodeParameters  # noqa: E402
from recon3d_ros.ros.parameter_field import ParameterError  # noqa: E402

RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
CAMERA = CameraModel.from_calibration(width=WIDTH, height=HEIGHT, K=K)
START = 1_700_000_000
# The camera sits 1 m above base_link and looks along its x axis.
MOUNT = "base_link camera_optical_frame 0 0 1 -0.5 0.5 -0.5 0.5"
T_BASE_CAMERA = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]])


def header(index: int, frame_id: str) -> Header:
    return Header(stamp=Time(sec=START + index // 10, nanosec=index % 10 * 100_000_000), frame_id=frame_id)


def odometry(index: int, T_world_camera: np.ndarray) -> Any:
    """Returns the pose of base_link; its quaternion is trimesh's."""
    T = T_world_camera @ np.linalg.inv(T_BASE_CAMERA)
    message = nav_msgs.Odometry(header=header(index, "odom"), child_frame_id="base_link")
    pose = message.pose.pose
    pose.position.x, pose.position.y, pose.position.z = (float(value) for value in T[:3, 3])
    w, x, y, z = (float(value) for value in trimesh.transformations.quaternion_from_matrix(T))
    pose.orientation.w, pose.orientation.x, pose.orientation.y, pose.orientation.z = w, x, y, z
    return message


class World:
    """A MapNode and a node that drives it, spinning in one process of their own context."""

    def __init__(self, **parameters: Any) -> None:
        self.context = Context()
        rclpy.init(context=self.context)
        values = {
            "odometry_topic": "odom",
            "static_transforms": MOUNT,
            "voxel": 0.02,
            "max_depth": 3.0,
            "cloud_period": 0.05,
            "diagnostics_period": 0.1,
            "transform_timeout": 1.0,
            **parameters,
        }
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.node = MapNode(context=self.context, parameter_overrides=overrides)
        self.tester = Node("tester", context=self.context)
        self.clouds: list[PointCloud2] = []
        self.diagnostics: list[DiagnosticArray] = []
        self.tester.create_subscription(PointCloud2, "recon3d_map/points", self.clouds.append, RELIABLE)
        self.tester.create_subscription(DiagnosticArray, "/diagnostics", self.diagnostics.append, RELIABLE)
        kinds = {
            "odom": nav_msgs.Odometry,
            "camera/depth/camera_info": CameraInfo,
            "camera/depth/image_rect": Image,
            "camera/image_rect": Image,
        }
        self.publishers = {
            topic: self.tester.create_publisher(kind, topic, RELIABLE) for topic, kind in kinds.items()
        }
        self.save = self.tester.create_client(Trigger, "recon3d_map/save_mesh")
        self._executor = SingleThreadedExecutor(context=self.context)
        for node in (self.node, self.tester):
            self._executor.add_node(node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        topics = [t for t in kinds if t != "camera/image_rect" or parameters.get("color_topic")]
        self.wait_for(
            lambda: (
                all(self.publishers[topic].get_subscription_count() for topic in topics)
                and self.node.count_subscribers("recon3d_map/points") > 0
                and self.save.service_is_ready()
            ),
            "the nodes to find each other",
        )

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}; {self.values()}"
            time.sleep(0.01)

    def values(self) -> dict[str, str]:
        """Returns the newest diagnostics of the map."""
        status = self.diagnostics[-1].status[0] if self.diagnostics else None
        return {} if status is None else {"message": status.message, **{v.key: v.value for v in status.values}}

    def show(self, index: int, pose: np.ndarray, *, odometry_too: bool = True, color: bool = False) -> None:
        """Publishes what a camera sees of the ball, and where it is."""
        camera = header(index, "camera_optical_frame")
        if odometry_too:
            self.publishers["odom"].publish(odometry(index, pose))
        self.publishers["camera/depth/camera_info"].publish(messages.camera_to_msg(CAMERA, camera))
        if color:
            pixels = np.full((HEIGHT, WIDTH, 3), COLOR, np.uint8)
            self.publishers["camera/image_rect"].publish(messages.image_to_msg(pixels, camera))
        depth = messages.depth_to_msg(ball_depth(pose), camera, "16UC1")
        self.publishers["camera/depth/image_rect"].publish(depth)

    def show_all_around(self, count: int = 24, **options: Any) -> None:
        """Shows the ball from all around, each view once the last is fused."""
        for index, pose in enumerate(around(count)):
            before = self.node._health.published
            self.show(index, pose, **options)
            if index:  # odometry needs two messages before it says where anything was
                self.wait_for(lambda before=before: self.node._health.published > before, f"view {index}")

    def call_save(self) -> Trigger.Response:
        future = self.save.call_async(Trigger.Request())
        self.wait_for(future.done, "the service")
        return future.result()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        self.tester.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**parameters: Any) -> World:
        worlds.append(World(**parameters))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


def test_the_map_is_published_in_the_world_and_saved_on_request(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    file = tmp_path / "maps" / "ball.ply"
    world = make_world(mesh_path=str(file), color_topic="camera/image_rect")
    world.show_all_around(color=True)
    world.wait_for(lambda: world.clouds and world.clouds[-1].width > 3000, "a cloud of the whole ball")
    cloud = world.clouds[-1]
    assert cloud.header.frame_id == "odom" and [field.name for field in cloud.fields] == ["x", "y", "z", "rgb"]
    error = np.abs(np.linalg.norm(messages.points_from_msg(cloud) - CENTER, axis=1) - RADIUS)
    assert np.percentile(error, 95) < 0.02
    response = world.call_save()
    assert response.success, response.message
    assert str(file) in response.message and "unit m" in response.message
    mesh = trimesh.load_mesh(file)
    assert np.percentile(np.abs(np.linalg.norm(mesh.vertices - CENTER, axis=1) - RADIUS), 95) < 0.02
    assert (mesh.visual.vertex_colors[:, :3] == COLOR).all()
    assert [path.name for path in file.parent.iterdir()] == ["ball.ply"]


def test_the_map_follows_tf(make_world: Callable[..., World]) -> None:
    pytest.importorskip("tf2_ros", reason="tf2_ros is not installed")
    from tf2_msgs.msg import TFMessage

    world = make_world(odometry_topic="", min_views=2.0)
    publisher = world.tester.create_publisher(TFMessage, "/tf", RELIABLE)
    world.wait_for(publisher.get_subscription_count, "the node to listen to /tf")
    for index, pose in enumerate(around(24)):
        moving = header(index, "odom")
        T = pose @ np.linalg.inv(T_BASE_CAMERA)
        publisher.publish(TFMessage(transforms=[stamped(transform_message("odom", "base_link", T), moving)]))
        world.show(index, pose, odometry_too=False)
        world.wait_for(lambda index=index: world.node._health.published > index, f"view {index}")
    points, _ = world.node._volume.points(min_views=2.0)
    assert len(points) > 3000
    assert np.percentile(np.abs(np.linalg.norm(points - CENTER, axis=1) - RADIUS), 95) < 0.02


def stamped(message: Any, stamp: Header) -> Any:
    message.header = Header(stamp=stamp.stamp, frame_id=message.header.frame_id)
    return message


def test_what_lies_farther_than_the_radius_is_forgotten(make_world: Callable[..., World]) -> None:
    world = make_world(radius=2.5)
    world.show_all_around()
    assert world.node._volume.blocks > 100
    away = around(24)[0]
    away[:3, 3] += [0.0, 0.0, 50.0]
    world.show(25, away)
    world.wait_for(lambda: world.node._volume.blocks == 0, "the ball to be forgotten")


def test_depth_without_a_pose_is_refused_and_told(make_world: Callable[..., World]) -> None:
    world = make_world(transform_timeout=0.05)
    world.show(0, around(24)[0], odometry_too=False)
    world.wait_for(lambda: world.values().get("rejected.transform") == "1", "the refusal in the diagnostics")
    assert "0 messages on odom" in world.values()["message"]


def test_odometry_without_a_rotation_is_refused_and_told(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.publishers["odom"].publish(nav_msgs.Odometry(header=header(0, "odom"), child_frame_id="base_link"))
    message = nav_msgs.Odometry(header=header(1, "odom"), child_frame_id="base_link")
    message.pose.pose.orientation.w = 0.0
    world.publishers["odom"].publish(message)
    world.wait_for(lambda: world.values().get("rejected.odometry") == "1", "the refusal in the diagnostics")


def test_a_recording_that_loops_begins_a_new_map(make_world: Callable[..., World]) -> None:
    world = make_world()
    for index in (100, 101, 102):
        world.show(index, around(24)[index % 24])
        world.wait_for(lambda index=index: world.node._health.published >= index - 100, "the view")
    old = world.node._volume
    world.show(0, around(24)[0])
    world.wait_for(lambda: world.node._volume is not old, "a new map")
    assert world.node._volume.blocks == 0


@pytest.mark.parametrize(
    "path, reason",
    [("", "mesh_path is empty"), ("map.fbx", "a mesh is written as"), ("/proc/no/map.ply", "/proc/no")],
)
def test_a_mesh_that_cannot_be_saved_is_answered_with_the_reason(
    make_world: Callable[..., World], path: str, reason: str
) -> None:
    world = make_world(mesh_path=path, min_views=1.0)
    world.show_all_around(3)
    response = world.call_save()
    assert not response.success and reason in response.message


def test_an_empty_map_is_not_saved(make_world: Callable[..., World], tmp_path: Path) -> None:
    response = make_world(mesh_path=str(tmp_path / "map.ply")).call_save()
    assert not response.success and "of 0 triangles" in response.message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "parameters, error",
    [
        ({"voxels": 0.1}, ParameterError),
        ({"voxel": "small"}, ParameterError),
        ({"voxel": 50.0}, ParameterError),
        ({"static_transforms": "base_link camera 1 2"}, ParameterError),
        ({"device": "gpu"}, FusionError),
    ],
)
def test_parameters_that_cannot_be_stop_the_node(parameters: dict[str, Any], error: type[Exception]) -> None:
    context = Context()
    rclpy.init(context=context)
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    try:
        with pytest.raises(error, match=next(iter(parameters))):
            MapNode(context=context, parameter_overrides=overrides)
    finally:
        rclpy.try_shutdown(context=context)


ROOT = Path(__file__).resolve().parents[1]
DECLARED = {field.name: field for field in dataclasses.fields(MapNodeParameters)}


def test_every_parameter_in_the_shipped_file_is_declared_with_that_type_and_is_no_default() -> None:
    text = (ROOT / "config" / "map_node.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"^    (?:# )?([\w]+): (.+)$", text, flags=re.MULTILINE)
    assert len(lines) > 5
    for name, value in lines:
        if name != "use_sim_time":
            assert type(yaml.safe_load(value)) is type(DECLARED[name].default), name
            assert yaml.safe_load(value) != DECLARED[name].default, name


def test_the_launch_file_overrides_parameters_of_the_node_and_starts_what_setup_installs() -> None:
    tree = ast.parse((ROOT / "launch" / "map.launch.py").read_text(encoding="utf-8"))
    assigned = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert set(ast.literal_eval(assigned["PARAMETERS"])) - set(DECLARED) == {"use_sim_time"}
    words = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert {"map_node", NODE_NAME, "map_node.yaml"} <= words
    assert '"map_node = recon3d_ros.ros.map_node:main"' in (ROOT / "setup.py").read_text(encoding="utf-8")


def test_the_documented_table_is_the_parameters() -> None:
    text = (ROOT / "docs" / "reconstruction.md").read_text(encoding="utf-8")
    rows = [f"| `{name}` | `{field.default!r}` |" for name, field in DECLARED.items()]
    assert re.findall(r"^\| `\w+` \| `[^`]*` \|", text, flags=re.MULTILINE) == rows
    assert all(field.metadata["description"] in text for field in DECLARED.values())
