"""Starts the depth node and, on request, rviz2.

An argument named after a node parameter overrides the parameter file, and the file overrides the node's defaults;
no default stands here.
"""

from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from recon3d_ros.ros.node_process import ros_environment

RESPAWN_DELAY = 2.0  # seconds

SHARE = Path(get_package_share_directory("recon3d_ros"))

# Node parameter -> how its argument is written as YAML.
PARAMETERS = {
    "model": "{}",
    "backend": "{}",
    "precision": "{}",
    "cameras": "[{}]",
    "image_topic": "{}",
    "camera_info_topic": "{}",
    "compressed": "{}",
    "autostart": "{}",
    "use_sim_time": "{}",
}


def start_nodes(context: LaunchContext) -> list[Node]:
    """Passes on only the arguments that were given: launch has no declarative way to leave a parameter out."""
    file = LaunchConfiguration("params_file").perform(context)
    if not Path(file).is_file():  # launch_ros only warns, and the node would drive with its defaults
        raise FileNotFoundError(f"params_file is '{file}', which is no file")
    values = {name: LaunchConfiguration(name).perform(context) for name in PARAMETERS}
    given = {name: yaml.safe_load(PARAMETERS[name].format(value)) for name, value in values.items() if value}
    parameters = [LaunchConfiguration("params_file"), given]
    return [
        Node(
            package="recon3d_ros",
            executable="depth_node",
            name="recon3d_depth",
            parameters=parameters,
            ros_arguments=["--log-level", ["recon3d_depth:=", LaunchConfiguration("log_level")]],
            # A variable that is set already keeps its value, so that a vehicle's own DDS profile wins.
            additional_env={
                name: EnvironmentVariable(name, default_value=v) for name, v in ros_environment().items()
            },
            output="screen",
            # A plain bool: Humble's launch does not perform a substitution here.
            respawn=IfCondition(LaunchConfiguration("respawn")).evaluate(context),
            respawn_delay=RESPAWN_DELAY,
        ),
        Node(
            package="rviz2",
            executable="rviz2",
            arguments=["-d", str(SHARE / "rviz" / "recon3d.rviz")],
            parameters=parameters,
            condition=IfCondition(LaunchConfiguration("rviz")),
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file",
                default_value=str(SHARE / "config" / "depth_node.yaml"),
                description="The node's parameters, as a ROS 2 parameter file.",
            ),
            *(
                DeclareLaunchArgument(name, default_value="", description=f"Overrides the parameter '{name}'.")
                for name in PARAMETERS
            ),
            DeclareLaunchArgument(
                "log_level", default_value="info", description="debug, info, warn, error or fatal."
            ),
            DeclareLaunchArgument(
                "respawn",
                default_value="false",
                description="true starts the node again 2 s after it ended, as where its engine hangs.",
            ),
            DeclareLaunchArgument("rviz", default_value="false", description="true starts rviz2 as well."),
            OpaqueFunction(function=start_nodes),
        ]
    )
