"""A ROS parameter as a field of a frozen dataclass: its default, range and description, and its declaration."""

from __future__ import annotations

from dataclasses import Field, field
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter


class ParameterError(ValueError):
    """A parameter whose type, range or value is wrong."""


def parameter(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
    per_camera: bool = False,
) -> Any:
    """Returns a dataclass field that is a ROS parameter.

    Args:
        default: its value where nothing else is given.
        description: a sentence or more, with the unit.
        minimum, maximum: what is allowed.
        choices: the words that are allowed.
        live: it may change while the node runs.
        per_camera: a camera can have a value of its own, the parameter `<camera>.<name>`.
    """
    metadata = {
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "live": live,
        "per_camera": per_camera,
    }
    return field(default=default, metadata=metadata)


def declare(node: Node, name: str, item: Field[Any], *, is_optional: bool = False) -> Parameter:
    """Declares one parameter on the node and returns it as it is set.

    Args:
        node: that gets it.
        name: of the parameter.
        item: the dataclass field, made by `parameter`.
        is_optional: declared without a value: another parameter, named as the field, holds until it is set.

    Raises:
        ParameterError: if the override has the wrong type or lies out of range.
    """
    default = list(item.default) if isinstance(item.default, tuple) else item.default
    try:
        node.declare_parameter(name, None if is_optional else default, _descriptor(item, is_optional))
        return node.get_parameter(name)  # an empty list in YAML has no type, and is refused here
    except ParameterException as error:
        raise ParameterError(f"parameter '{name}': {error}; {item.metadata['description']}") from error


def refuse_unknown(node: Node, expected: str) -> None:
    """Raises ParameterError where an override names a parameter that the node has not declared.

    rclpy drops those without a word, so a typing error in a YAML file would go unseen.

    Args:
        node: all of whose parameters are declared.
        expected: what the name should have been, for the message.
    """
    for name in node._parameter_overrides:
        if not node.has_parameter(name) and not name.startswith("qos_overrides."):
            raise ParameterError(f"parameter '{name}' is unknown, expected {expected}")


def _descriptor(item: Field[Any], is_optional: bool) -> ParameterDescriptor:
    metadata = item.metadata
    description = metadata["description"]
    if is_optional:
        description = f"Of this camera alone; where it is not set, '{item.name}' holds. {description}"
    descriptor = ParameterDescriptor(
        description=description, read_only=not metadata["live"], dynamic_typing=is_optional
    )
    if metadata["choices"]:
        descriptor.additional_constraints = f"one of: {', '.join(metadata['choices'])}"
    if metadata["minimum"] is not None and isinstance(item.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=metadata["minimum"], to_value=metadata["maximum"])
        ]
    elif metadata["minimum"] is not None:
        descriptor.integer_range = [IntegerRange(from_value=metadata["minimum"], to_value=metadata["maximum"])]
    return descriptor
