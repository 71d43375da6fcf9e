"""The SROS 2 policy of a node: what it publishes, subscribes to and offers, from the live graph, and no more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node

from recon3d_ros.ros.depth_node import DepthNode
from recon3d_ros.ros.parameter_field import ParameterError

# Subscribed to where tf2_ros is installed; a vehicle has it even where the policy is made without.
TF_TOPICS = ("/tf", "/tf_static")


def depth_node_policy(params_file: Path | None) -> str:
    """Returns the policy XML of a depth node with the parameters of a file; None for the defaults.

    Raises:
        ParameterError: if a parameter is wrong, or the node cannot be configured with them.
    """
    try:
        rclpy.init(args=["--ros-args", "--params-file", str(params_file)] if params_file else [])
    except RuntimeError as error:  # rclpy's RCLError, which has no public name
        raise ParameterError(str(error)) from error
    try:
        node = DepthNode()
        try:
            if node.trigger_configure() != TransitionCallbackReturn.SUCCESS:
                raise ParameterError("the node cannot be configured with these parameters; its log says why")
            return policy_of(node)
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown()


def policy_of(node: Node) -> str:
    """Returns the policy XML of a node's enclave, `/<node name>`.

    Args:
        node: configured, so that all its topics exist.

    Source: the policy schema of sros2 (sros2/policy/schemas/policy.xsd), version 0.2.0.
    """
    identity = (node.get_name(), node.get_namespace())
    published = _names(node.get_publisher_names_and_types_by_node(*identity))
    subscribed = _names(node.get_subscriber_names_and_types_by_node(*identity))
    replied = _names(node.get_service_names_and_types_by_node(*identity))
    requested = _names(node.get_client_names_and_types_by_node(*identity))

    policy = ElementTree.Element("policy", version="0.2.0")
    enclave = ElementTree.SubElement(ElementTree.SubElement(policy, "enclaves"), "enclave", path=f"/{identity[0]}")
    profiles = ElementTree.SubElement(enclave, "profiles")
    profile = ElementTree.SubElement(profiles, "profile", ns=identity[1], node=identity[0])
    _add(profile, "service", "reply", replied)
    _add(profile, "service", "request", requested)
    _add(profile, "topic", "publish", published)
    _add(profile, "topic", "subscribe", sorted({*subscribed, *TF_TOPICS}))
    ElementTree.indent(policy)
    return ElementTree.tostring(policy, encoding="unicode") + "\n"


def _names(names_and_types: Iterable[tuple[str, list[str]]]) -> list[str]:
    return sorted({name for name, _types in names_and_types})


def _add(profile: ElementTree.Element, kind: str, permission: str, names: list[str]) -> None:
    if names:
        group = ElementTree.SubElement(profile, f"{kind}s", {permission: "ALLOW"})
        for name in names:
            ElementTree.SubElement(group, kind).text = name
