"""Starts the map node: depth images and poses in, a rolling map and meshes out.

An argument named after a node parameter overrides the parameter file, and the file overrides the node's defaults;
no default stands here.
"""

from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from recon3d_ros.ros.node_process import ros_environment

SHARE = Path(get_package_share_directory("recon3d_ros"))
PARAMETERS = (
    "depth_topic",
    "color_topic",
    "world_frame",
    "odometry_topic",
    "voxel",
    "max_depth",
    "radius",
    "mesh_path",
    "use_sim_time",
)


def start_node(context: LaunchContext) -> list[Node]:
    """Passes on only the arguments that were given: launch has no declarative way to leave a parameter out."""
    file = LaunchConfiguration("params_file").perform(context)
    if not Path(file).is_file():  # launch_ros only warns, and the node would drive with its defaults
        raise FileNotFoundError(f"params_file is '{file}', which is no file")
    values = {name: LaunchConfiguration(name).perform(context) for name in PARAMETERS}
    given = {name: yaml.safe_load(value) for name, value in values.items() if value}
    return [
        Node(
            package="recon3d_ros",
            executable="map_node",
            name="recon3d_map",
            parameters=[LaunchConfiguration("params_file"), given],
            ros_arguments=["--log-level", ["recon3d_map:=", LaunchConfiguration("log_level")]],
            # A variable that is set already keeps its value, so that a vehicle's own DDS profile wins.
            additional_env={
                name: EnvironmentVariable(name, default_value=v) for name, v in ros_environment().items()
            },
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file",
                default_value=str(SHARE / "config" / "map_node.yaml"),
                description="The node's parameters, as a ROS 2 parameter file.",
            ),
            *(
                DeclareLaunchArgument(name, default_value="", description=f"Overrides the parameter '{name}'.")
                for name in PARAMETERS
            ),
            DeclareLaunchArgument(
                "log_level", default_value="info", description="debug, info, warn, error or fatal."
            ),
            OpaqueFunction(function=start_node),
        ]
    )
