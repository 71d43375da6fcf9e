"""The files in config/: every parameter is one that the node has, and every setting takes effect."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed")


from recon3d_ros.ros.node_process import ros_environment
from recon3d_ros.ros.parameter_set import PER_CAMERA
from recon3d_ros.ros.parameters import DepthNodeParameters

CONFIG = Path(__file__).resolve().parents[1] / "config"
# Parameters that every ROS 2 node has.
COMMON_PARAMETERS = {"use_sim_time", "qos_overrides"}
# What a process prints of the node that it made and configured.
REPORT = """
import dataclasses, json, sys, rclpy
from recon3d_ros.ros.depth_node import DepthNode
rclpy.init(args=sys.argv)
node = DepthNode()
node.trigger_configure()
reliability = {p.topic_name: p.qos_profile.reliability.name for p in node.publishers if hasattr(p, "topic_name")}
front = dataclasses.asdict(node._parameter_set.of("front"))
print(json.dumps({"parameters": dataclasses.asdict(node.parameters), "front": front, "reliability": reliability}))
"""
DECLARED = {field.name: field for field in dataclasses.fields(DepthNodeParameters)}


def parameters_in_file(*, uncomment: bool) -> dict[str, Any]:
    """Returns the parameters of the shipped file, as it stands or with every commented-out line holding."""
    nested = yaml.safe_load(file_text(uncomment=uncomment))["/**"]["ros__parameters"]
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict) and name not in COMMON_PARAMETERS:
            flat.update({f"{name}.{own}": of_camera for own, of_camera in value.items()})
        else:
            flat[name] = value
    return flat


def file_text(*, uncomment: bool) -> str:
    text = (CONFIG / "depth_node.yaml").read_text(encoding="utf-8")
    example = re.compile(r"""^(\s+)# (\s*[\w/]+:( \S+| \[.*\]| ".*")?)$""", re.MULTILINE)
    return example.sub(r"\1\2", text) if uncomment else text


def type_of(value: Any) -> type:
    return tuple if isinstance(value, list) else type(value)


@pytest.mark.parametrize("uncomment", [False, True], ids=["as shipped", "examples uncommented"])
def test_every_parameter_in_the_file_is_declared_with_that_type(uncomment: bool) -> None:
    for name, value in parameters_in_file(uncomment=uncomment).items():
        if name not in COMMON_PARAMETERS:
            camera, _, name = name.rpartition(".")
            assert name in (PER_CAMERA if camera else DECLARED), f"'{name}' is not a parameter of the node"
            assert type_of(value) is type(DECLARED[name].default), name


def test_the_file_repeats_no_default() -> None:
    for name, value in parameters_in_file(uncomment=True).items():
        if name in DECLARED:
            assert value != DECLARED[name].default, f"'{name}' restates the default that stands in the dataclass"


@pytest.fixture(scope="module")
def node_with_every_example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a node in its own process reports after it took the file with every example uncommented."""
    file = tmp_path_factory.mktemp("node") / "parameters.yaml"
    file.write_text(file_text(uncomment=True), encoding="utf-8")
    command = [sys.executable, "-c", REPORT, "--ros-args", "--params-file", str(file)]
    output = subprocess.check_output(command, cwd=CONFIG.parent, text=True, timeout=60)
    return json.loads(output.splitlines()[-1])


def test_a_node_takes_the_file_with_every_example_uncommented(node_with_every_example: dict[str, Any]) -> None:
    expected = {name: value for name, value in parameters_in_file(uncomment=True).items() if name in DECLARED}
    parameters = node_with_every_example["parameters"]
    assert {name: parameters[name] for name in expected} == expected


def test_a_cameras_own_examples_are_taken(node_with_every_example: dict[str, Any]) -> None:
    of_front = {name.removeprefix("front."): value for name, value in parameters_in_file(uncomment=True).items()}
    expected = {name: of_front[name] for name in ("image_topic", "network_pixels", "scale_mode", "ego_mask")}
    front = node_with_every_example["front"]
    assert {name: front[name] for name in expected} == expected
    assert node_with_every_example["parameters"]["scale_mode"] == "model"


def test_a_qos_override_changes_its_topic_and_no_other(node_with_every_example: dict[str, Any]) -> None:
    expected = {"/front/points": "BEST_EFFORT", "/front/depth/image_rect": "RELIABLE", "/left/points": "RELIABLE"}
    reliability = node_with_every_example["reliability"]
    assert {topic: reliability[topic] for topic in expected} == expected


def test_a_shell_reads_the_allocator_file_as_the_code_does() -> None:
    script = f"set -a; . {CONFIG / 'allocator.env'}; env"
    output = subprocess.check_output(["sh", "-c", script], env={"PATH": os.environ["PATH"]}, text=True)
    malloc = {line for line in output.splitlines() if line.startswith("MALLOC_")}
    assert malloc == {f"{name}={value}" for name, value in ros_environment().items() if name.startswith("MALLOC_")}
    assert len(malloc) == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_the_profile_gives_a_process_a_64_mb_segment() -> None:
    script = (
        "import re, rclpy; rclpy.init(); node = rclpy.create_node('segment')\n"
        "maps = re.findall(r'(\\w+)-(\\w+) .*/fastrtps_\\w{16}$', open('/proc/self/maps').read(), re.M)\n"
        "print(rclpy.get_rmw_implementation_identifier(), *(int(b, 16) - int(a, 16) for a, b in maps))"
    )
    environment = {**os.environ, **ros_environment()}
    output = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True, timeout=30)
    middleware, *segment_sizes = output.split()
    if middleware != "rmw_fastrtps_cpp":
        pytest.skip(f"the middleware is {middleware}, the profile is for rmw_fastrtps_cpp")
    assert 64 * 2**20 <= max(map(int, segment_sizes)) < 80 * 2**20
