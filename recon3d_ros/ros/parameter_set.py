"""The node's parameters as they stand: declared on the node, checked, and changed while it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.validate_topic_name import validate_topic_name

from recon3d_ros.core.transforms import TransformError, parse_transforms
from recon3d_ros.ros.parameter_field import ParameterError, declare, refuse_unknown
from recon3d_ros.ros.parameters import DepthNodeParameters, topic_of
from recon3d_ros.ros.view_options import view_options

FIELDS = {item.name: item for item in dataclasses.fields(DepthNodeParameters)}
PER_CAMERA = tuple(name for name, item in FIELDS.items() if item.metadata["per_camera"])
FOREIGN_PARAMETERS = ("use_sim_time", "start_type_description_service")  # rclpy itself declares these


@dataclass(frozen=True)
class ParameterSet:
    """All parameters at one moment; never changed in place, so that a frame sees one state of them.

    Attributes:
        node: the node's own.
        own: what a camera has of its own, by camera and name.
    """

    node: DepthNodeParameters
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, camera: str) -> DepthNodeParameters:
        """Returns the parameters that hold for a camera."""
        return dataclasses.replace(self.node, **self.own.get(camera, {}))


def declare_parameters(node: Node) -> ParameterSet:
    """Declares every parameter on the node and returns their values.

    `<camera>.<name>` is declared without a value, so that the node's own holds until it is set.

    Raises:
        ParameterError: if an override has an unknown name or the wrong type, lies out of range or is not one of
            the choices.
    """
    values = [declare(node, name, item) for name, item in FIELDS.items()]
    parameters = with_changes(ParameterSet(DepthNodeParameters()), values)
    own = [
        declare(node, f"{camera}.{name}", FIELDS[name], is_optional=True)
        for camera in parameters.node.cameras
        for name in PER_CAMERA
    ]
    refuse_unknown(
        node,
        f"one of {', '.join(FIELDS)}, or <camera>.<name> with one of the cameras "
        f"{', '.join(parameters.node.cameras)} and one of {', '.join(PER_CAMERA)}",
    )
    return with_changes(parameters, [value for value in own if value.type_ != Parameter.Type.NOT_SET])


def with_changes(current: ParameterSet, changes: Sequence[Parameter]) -> ParameterSet:
    """Returns the parameters with some of them changed; names of other owners (use_sim_time, qos) are passed over.

    Raises:
        ParameterError: if a value has the wrong type, is out of range or not one of the choices, or if the new
            values do not fit together.
    """
    values: dict[str, Any] = {}
    own = {camera: dict(of_camera) for camera, of_camera in current.own.items()}
    for change in changes:
        camera, _, name = change.name.rpartition(".")
        if not camera and name in FIELDS:
            values[name] = _value(change, FIELDS[name])
        elif camera in current.node.cameras and name in PER_CAMERA:
            own.setdefault(camera, {})[name] = _value(change, FIELDS[name])
    new = ParameterSet(dataclasses.replace(current.node, **values), own)
    _check_cameras(new)
    try:
        parse_transforms(new.node.static_transforms)
    except TransformError as error:
        raise ParameterError(f"static_transforms: {error}") from error
    return new


def result_of(error: ParameterError | None) -> SetParametersResult:
    """Returns the answer to a request to set parameters."""
    return SetParametersResult(successful=error is None, reason="" if error is None else str(error))


def _value(change: Parameter, item: dataclasses.Field[Any]) -> Any:
    """Returns a parameter's value; its range, and the type of the node's own, are rclpy's to check."""
    value = tuple(change.value) if isinstance(item.default, tuple) else change.value
    if type(value) is not type(item.default):
        raise ParameterError(
            f"parameter '{change.name}' is {value!r}, expected a value like {item.default!r}; "
            f"{item.metadata['description']}"
        )
    choices = item.metadata["choices"]
    if choices and value not in choices:
        raise ParameterError(f"parameter '{change.name}' is '{value}', expected one of {', '.join(choices)}")
    return value


def _check_cameras(parameters: ParameterSet) -> None:
    """Raises ParameterError where the cameras, or the parameters that hold for one, do not fit together."""
    cameras = parameters.node.cameras
    if not cameras or len(set(cameras)) != len(cameras) or not all(cameras):
        raise ParameterError(f"cameras are {list(cameras)}, expected different names, at least one")
    for name in ("image_topic", "camera_info_topic"):
        users: dict[str, str] = {}
        for camera in cameras:
            topic = topic_of(camera, getattr(parameters.of(camera), name))
            try:
                validate_topic_name(topic)
            except InvalidTopicNameException as error:
                raise ParameterError(f"cameras and {name} give no ROS topic name: {error}") from error
            if topic in users:
                raise ParameterError(
                    f"{name} is absolute: '{users[topic]}' and '{camera}' would both use {topic}; make it "
                    f"relative, or give each camera its own as <camera>.{name}"
                )
            users[topic] = camera
    for camera in cameras:
        _check(parameters.of(camera))


def _check(parameters: DepthNodeParameters) -> None:
    if parameters.min_range >= parameters.max_range:
        raise ParameterError(
            f"min_range is {parameters.min_range} m, expected less than max_range, {parameters.max_range} m"
        )
    if parameters.scale_mode == "lidar" and not parameters.lidar_topic:
        raise ParameterError("scale_mode is lidar, but lidar_topic is empty; name the PointCloud2 of the LiDAR")
    view_options(parameters)
