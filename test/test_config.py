"""The files in config/: every parameter is one that the node has, and every setting takes effect."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")

from rclpy.context import Context  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.qos import ReliabilityPolicy  # noqa: E402

from recon3d_ros.ros.depth_node import DepthNode  # noqa: E402
from recon3d_ros.ros.environment import PROFILE_VARIABLES, node_environment  # noqa: E402
from recon3d_ros.ros.parameters import DepthNodeParameters  # noqa: E402

CONFIG = Path(__file__).resolve().parents[1] / "config"
# Parameters that every ROS 2 node has.
COMMON_PARAMETERS = {"use_sim_time", "qos_overrides"}
DECLARED = {field.name: field for field in dataclasses.fields(DepthNodeParameters)}


def parameters_in_file(*, uncomment: bool) -> dict[str, Any]:
    """Returns the parameters of the shipped file, as it stands or with every commented-out line holding."""
    return yaml.safe_load(file_text(uncomment=uncomment))["/**"]["ros__parameters"]


def file_text(*, uncomment: bool) -> str:
    text = (CONFIG / "depth_node.yaml").read_text(encoding="utf-8")
    return (
        re.sub(r"^(\s+)# (\s*[\w/]+:( \S+| \[.*\])?)$", r"\1\2", text, flags=re.MULTILINE) if uncomment else text
    )


def type_of(value: Any) -> type:
    return tuple if isinstance(value, list) else type(value)


@pytest.mark.parametrize("uncomment", [False, True], ids=["as shipped", "examples uncommented"])
def test_every_parameter_in_the_file_is_declared_with_that_type(uncomment: bool) -> None:
    for name, value in parameters_in_file(uncomment=uncomment).items():
        if name not in COMMON_PARAMETERS:
            assert name in DECLARED, f"'{name}' is not a parameter of the node"
            assert type_of(value) is type(DECLARED[name].default), name


def test_the_file_repeats_no_default() -> None:
    for name, value in parameters_in_file(uncomment=True).items():
        if name in DECLARED:
            assert value != DECLARED[name].default, f"'{name}' restates the default that stands in the dataclass"


def test_a_node_accepts_the_file_with_every_example_uncommented(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx, which makes the model of this test, is not installed")
    from onnx_models import write_model

    path = tmp_path / "parameters.yaml"
    path.write_text(file_text(uncomment=True), encoding="utf-8")
    model = write_model(tmp_path / "tiny.onnx")
    context = Context()
    rclpy.init(args=["--ros-args", "--params-file", str(path), "-p", f"model:={model}"], context=context)
    node = DepthNode(context=context)
    try:
        for name, value in parameters_in_file(uncomment=True).items():
            if name in DECLARED:
                assert getattr(node.parameters, name) == (tuple(value) if isinstance(value, list) else value)
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        (cloud,) = node.get_publishers_info_by_topic("/front/points")
        assert cloud.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_a_variable_that_is_set_already_keeps_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/vehicle/profile.xml")
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    environment = node_environment(CONFIG)
    assert environment["FASTRTPS_DEFAULT_PROFILES_FILE"] == "/vehicle/profile.xml"
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == str(CONFIG / "fastdds.xml")
    assert environment["MALLOC_MMAP_THRESHOLD_"] == str(32 * 1024 * 1024)


def test_a_shell_reads_the_allocator_file_as_the_code_does() -> None:
    script = f"set -a; . {CONFIG / 'allocator.env'}; env"
    output = subprocess.check_output(["sh", "-c", script], env={"PATH": os.environ["PATH"]}, text=True)
    malloc = {line for line in output.splitlines() if line.startswith("MALLOC_")}
    environment = node_environment(CONFIG)
    assert malloc == {f"{name}={value}" for name, value in environment.items() if name.startswith("MALLOC_")}
    assert len(malloc) == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_the_profile_gives_a_process_a_64_mb_segment() -> None:
    script = (
        "import re, rclpy; rclpy.init(); node = rclpy.create_node('segment')\n"
        "maps = re.findall(r'(\\w+)-(\\w+) .*/fastrtps_\\w{16}$', open('/proc/self/maps').read(), re.M)\n"
        "print(rclpy.get_rmw_implementation_identifier(), *(int(b, 16) - int(a, 16) for a, b in maps))"
    )
    profile = dict.fromkeys(PROFILE_VARIABLES, str(CONFIG / "fastdds.xml"))
    environment = {**os.environ, **profile}
    output = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True, timeout=30)
    middleware, *segment_sizes = output.split()
    if middleware != "rmw_fastrtps_cpp":
        pytest.skip(f"the middleware is {middleware}, the profile is for rmw_fastrtps_cpp")
    assert 64 * 2**20 <= max(map(int, segment_sizes)) < 80 * 2**20
