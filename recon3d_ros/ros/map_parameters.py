"""The map node's parameters: declared, checked and described from one frozen dataclass."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.parameter import Parameter

from recon3d_ros.core.fusion_settings import FusionSettings
from recon3d_ros.ros.parameter_field import declare, parameter, refuse_unknown


@dataclass(frozen=True)
class MapNodeParameters:
    """Every parameter of the map node, with its default. Defaults stand nowhere else."""

    depth_topic: str = parameter(
        "camera/depth/image_rect", "Depth image, 32FC1 or 16UC1, rectified: the depth node's or an RGB-D camera's."
    )
    camera_info_topic: str = parameter("", "CameraInfo of the depth; empty for camera_info beside the depth.")
    color_topic: str = parameter(
        "",
        "Images of the depth's own view and stamps, as camera/image_rect; empty for a map without colour.",
    )
    world_frame: str = parameter("odom", "Fixed frame of the map.")
    odometry_topic: str = parameter(
        "", "nav_msgs/Odometry that says how the vehicle moves, in place of TF from the vehicle to world_frame."
    )
    static_transforms: str = parameter(
        "", "Transforms besides TF: 'parent child x y z qx qy qz qw' (metres), separated by semicolons."
    )
    transform_timeout: float = parameter(
        0.1, "Seconds to wait for the pose of a depth image.", minimum=0.0, maximum=5.0
    )
    voxel: float = parameter(0.1, "Edge of a voxel, metres.", minimum=0.001, maximum=10.0)
    truncation_voxels: float = parameter(
        4.0, "How far from a surface distances are kept, voxels.", minimum=2.0, maximum=32.0
    )
    max_depth: float = parameter(20.0, "Farther depth is left out, metres along z.", minimum=0.1, maximum=200.0)
    radius: float = parameter(
        40.0, "The map is forgotten farther than this from the camera, metres.", minimum=1.0, maximum=1000.0
    )
    min_views: float = parameter(
        3.0, "What was seen less often is neither published nor saved.", minimum=1.0, maximum=1000.0, live=True
    )
    max_views: float = parameter(
        100.0,
        "Older views count as so many at most: what changes shows after about as many new ones.",
        minimum=1.0,
        maximum=1e6,
        live=True,
    )
    memory_mb: float = parameter(
        1024.0, "What the map may take; frames that need more are refused.", minimum=1.0, maximum=1e6
    )
    device: str = parameter("cpu", "Where frames are fused: cpu, cuda or cuda:N.")
    cloud_period: float = parameter(
        1.0, "Seconds between two clouds of the map.", minimum=0.05, maximum=3600.0, live=True
    )
    mesh_path: str = parameter("", "File that the service save_mesh writes: .ply, .glb, .obj or .stl.", live=True)
    diagnostics_period: float = parameter(1.0, "Seconds between /diagnostics.", minimum=0.05, maximum=60.0)
    stale_after: float = parameter(
        2.0, "Seconds without depth after which the map is reported as stale.", minimum=0.1, maximum=3600.0
    )

    @property
    def fusion(self) -> FusionSettings:
        """How frames are fused."""
        names = ("voxel", "max_depth", "truncation_voxels", "memory_mb", "device")
        return FusionSettings(**{name: getattr(self, name) for name in names})


FIELDS = {item.name: item for item in dataclasses.fields(MapNodeParameters)}


def declare_parameters(node: Node) -> MapNodeParameters:
    """Declares every parameter on the node and returns their values.

    Raises:
        ParameterError: if an override has an unknown name or the wrong type, or lies out of range.
    """
    values = {name: declare(node, name, item).value for name, item in FIELDS.items()}
    refuse_unknown(node, f"one of {', '.join(FIELDS)}")
    return MapNodeParameters(**values)


def with_changes(current: MapNodeParameters, changes: list[Parameter]) -> MapNodeParameters:
    """Returns the parameters with some of them changed; names of other owners are passed over."""
    return dataclasses.replace(current, **{item.name: item.value for item in changes if item.name in FIELDS})
