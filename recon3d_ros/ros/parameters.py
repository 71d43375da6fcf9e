"""The depth node's parameters: declared, checked and described from one frozen dataclass."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidTopicNameException, ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.validate_topic_name import validate_topic_name

from recon3d_ros.engines import BACKENDS

# Parameters that rclpy itself declares.
FOREIGN_PARAMETERS = ("use_sim_time", "start_type_description_service")


class ParameterError(ValueError):
    """A parameter whose type, range or value is wrong."""


def _parameter(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """A dataclass field that is a ROS parameter; `live` means that it may change while the node runs."""
    metadata = {
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "live": live,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DepthNodeParameters:
    """Every parameter of the depth node, with its default. Defaults stand nowhere else."""

    model: str = _parameter("", "One-file ONNX model; empty for the network that ships with the package.")
    backend: str = _parameter("onnxruntime", "Inference run time.", choices=tuple(BACKENDS))
    threads: int = _parameter(0, "CPU threads for inference; 0 lets the run time choose.", minimum=0, maximum=256)
    cameras: tuple[str, ...] = _parameter(
        ("camera",), "Camera namespaces; each has its own topics, and frames that wait together form one batch."
    )
    image_topic: str = _parameter(
        "image_raw", "Image topic within the camera's namespace (absolute if it starts with /)."
    )
    camera_info_topic: str = _parameter("camera_info", "CameraInfo topic within the camera's namespace.")
    compressed: bool = _parameter(
        False, "Subscribe to <image_topic>/compressed (sensor_msgs/CompressedImage, jpeg or png)."
    )
    rectified: bool = _parameter(
        False, "The images are rectified already (image_rect): take P of the CameraInfo and ignore its distortion."
    )
    crop_position: float = _parameter(
        0.5,
        "Part kept where the image is taller or wider than the network's input: 0 top or left, 1 bottom or right.",
        minimum=0.0,
        maximum=1.0,
    )
    min_range: float = _parameter(
        0.5, "Metres along z; nearer depth is published as invalid.", minimum=0.0, maximum=1000.0, live=True
    )
    max_range: float = _parameter(
        80.0, "Metres along z; farther depth is published as out of range.", minimum=0.0, maximum=1000.0, live=True
    )
    depth_encoding: str = _parameter(
        "32FC1",
        "Depth image: 32FC1 metres (NaN invalid, +Inf out of range) or 16UC1 millimetres (0 for both).",
        choices=("32FC1", "16UC1"),
        live=True,
    )
    cloud_fields: str = _parameter("xyzrgb", "Fields of the point cloud.", choices=("xyz", "xyzrgb"), live=True)
    cloud_organised: bool = _parameter(
        True,
        "True: one point a pixel with NaN where invalid (height x width); false: valid points only.",
        live=True,
    )
    cloud_stride: int = _parameter(
        1, "Take every n-th pixel in both directions for the cloud.", minimum=1, maximum=64, live=True
    )
    diagnostics_period: float = _parameter(1.0, "Seconds between /diagnostics.", minimum=0.05, maximum=60.0)
    stale_after: float = _parameter(
        2.0, "Seconds without an image after which a camera is reported as stale.", minimum=0.1, maximum=3600.0
    )
    autostart: bool = _parameter(True, "Configure and activate at start; false leaves that to a supervisor.")


def topic_of(camera: str, topic: str) -> str:
    """Returns a topic within the camera's namespace; an absolute topic stays as it is."""
    return topic if topic.startswith("/") else f"{camera}/{topic}"


def declare_parameters(node: Node) -> DepthNodeParameters:
    """Declares every parameter on the node and returns their values.

    Raises:
        ParameterError: if an override has an unknown name or the wrong type, lies out of range or is not one of
            the choices.
    """
    known = [item.name for item in dataclasses.fields(DepthNodeParameters)]
    # rclpy drops overrides that nobody declares without a word, so a typing error in a YAML file would go unseen.
    for name in node._parameter_overrides:
        if name not in (*known, *FOREIGN_PARAMETERS) and not name.startswith("qos_overrides."):
            raise ParameterError(f"parameter '{name}' is unknown, expected one of {', '.join(known)}")
    values = []
    for item in dataclasses.fields(DepthNodeParameters):
        default = list(item.default) if isinstance(item.default, tuple) else item.default
        try:
            node.declare_parameter(item.name, default, _descriptor(item))
            values.append(node.get_parameter(item.name))  # an empty list in YAML has no type, and is refused here
        except ParameterException as error:
            raise ParameterError(f"parameter '{item.name}': {error}; {item.metadata['description']}") from error
    return with_changes(DepthNodeParameters(), values)


def with_changes(current: DepthNodeParameters, changes: list[Parameter]) -> DepthNodeParameters:
    """Returns the parameters with some of them changed; names of other owners (use_sim_time, qos) are passed over.

    Raises:
        ParameterError: if the new values do not fit together or are not one of the choices.
    """
    items = {item.name: item for item in dataclasses.fields(DepthNodeParameters)}
    values: dict[str, Any] = {}
    for change in changes:
        if change.name not in items:
            continue
        value = tuple(change.value) if isinstance(items[change.name].default, tuple) else change.value
        choices = items[change.name].metadata["choices"]
        if choices and value not in choices:
            raise ParameterError(f"parameter '{change.name}' is '{value}', expected one of {', '.join(choices)}")
        values[change.name] = value
    new = dataclasses.replace(current, **values)
    if new.min_range >= new.max_range:
        raise ParameterError(f"min_range is {new.min_range} m, expected less than max_range, {new.max_range} m")
    if not new.cameras or len(set(new.cameras)) != len(new.cameras) or not all(new.cameras):
        raise ParameterError(f"cameras are {list(new.cameras)}, expected different names, at least one")
    for name in ("image_topic", "camera_info_topic"):
        if len(new.cameras) > 1 and getattr(new, name).startswith("/"):
            raise ParameterError(f"{name} is absolute, but there are {len(new.cameras)} cameras; make it relative")
        for camera in new.cameras:
            try:
                validate_topic_name(topic_of(camera, getattr(new, name)))
            except InvalidTopicNameException as error:
                raise ParameterError(f"cameras and {name} give no ROS topic name: {error}") from error
    return new


def result_of(error: ParameterError | None) -> SetParametersResult:
    """Returns the answer to a request to set parameters."""
    return SetParametersResult(successful=error is None, reason="" if error is None else str(error))


def _descriptor(item: dataclasses.Field[Any]) -> ParameterDescriptor:
    metadata = item.metadata
    descriptor = ParameterDescriptor(description=metadata["description"], read_only=not metadata["live"])
    if metadata["choices"]:
        descriptor.additional_constraints = f"one of: {', '.join(metadata['choices'])}"
    if metadata["minimum"] is not None and isinstance(item.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=metadata["minimum"], to_value=metadata["maximum"])
        ]
    elif metadata["minimum"] is not None:
        descriptor.integer_range = [IntegerRange(from_value=metadata["minimum"], to_value=metadata["maximum"])]
    return descriptor
