"""The launch file: what it names exists, and it starts the node with what it was given."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import package_build
import pytest
import yaml

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")

from lifecycle_msgs.srv import GetState  # noqa: E402
from rcl_interfaces.srv import GetParameters  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import parameter_value_to_python  # noqa: E402

from recon3d_ros.ros.depth_node import NODE_NAME  # noqa: E402
from recon3d_ros.ros.node_process import ros_environment  # noqa: E402
from recon3d_ros.ros.parameters import DepthNodeParameters  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILE = ROOT / "launch" / "recon3d.launch.py"
TREE = ast.parse(LAUNCH_FILE.read_text(encoding="utf-8"))
NODE_ARGUMENTS = {
    "model",
    "backend",
    "precision",
    "cameras",
    "image_topic",
    "camera_info_topic",
    "compressed",
    "autostart",
}
WAIT_SECONDS = 20.0


def calls_of(name: str) -> list[ast.Call]:
    calls = [node for node in ast.walk(TREE) if isinstance(node, ast.Call)]
    return [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == name]


def overridden_parameters() -> set[str]:
    """Returns the names in the launch file's table of parameters."""
    assignments = {ast.unparse(node.targets[0]): node.value for node in TREE.body if isinstance(node, ast.Assign)}
    return set(ast.literal_eval(assignments["PARAMETERS"]))


def test_every_parameter_it_overrides_is_one_of_the_node() -> None:
    declared = {field.name for field in dataclasses.fields(DepthNodeParameters)}
    assert overridden_parameters() - declared == {"use_sim_time"}


def test_it_declares_the_documented_arguments() -> None:
    names = [call.args[0] for call in calls_of("DeclareLaunchArgument")]
    constants = {name.value for name in names if isinstance(name, ast.Constant)}
    assert constants == {"params_file", "log_level", "respawn", "rviz"}
    assert overridden_parameters() == NODE_ARGUMENTS | {"use_sim_time"}


def test_its_executable_and_node_name_are_the_packages() -> None:
    nodes = [{word.arg: word.value for word in call.keywords} for call in calls_of("Node")]
    (depth,) = (node for node in nodes if ast.literal_eval(node["package"]) == "recon3d_ros")
    executable = ast.literal_eval(depth["executable"])
    assert f'"{executable} = recon3d_ros.ros.depth_node:main"' in (ROOT / "setup.py").read_text(encoding="utf-8")
    assert ast.literal_eval(depth["name"]) == NODE_NAME


def test_every_file_it_names_is_there() -> None:
    constants = [node.value for node in ast.walk(TREE) if isinstance(node, ast.Constant)]
    names = {text for text in constants if isinstance(text, str) and text.endswith((".yaml", ".rviz"))}
    assert names == {"depth_node.yaml", "recon3d.rviz"}
    assert all(list(ROOT.glob(f"*/{name}")) for name in names)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a sourced workspace that holds the package."""
    for module in ("launch.actions", "launch_ros.actions", "colcon_core"):
        pytest.importorskip(module, reason=f"{module.split('.')[0]} is not installed")
    if shutil.which("ros2") is None:
        pytest.skip("the ros2 command is not installed")
    sources = package_build.copy_sources(tmp_path_factory.mktemp("workspace") / "source")
    package_build.colcon_build(sources)
    environment = package_build.sourced_environment(sources)
    return {name: value for name, value in environment.items() if name not in ros_environment()}


def heed_interrupts() -> None:
    """Undoes what a shell does to its background jobs, whose children ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Launched:
    """`ros2 launch` of the launch file, and a node beside it that asks the launched node."""

    def __init__(self, environment: dict[str, str], log: Path, *arguments: str) -> None:
        self._log = log
        command = ["ros2", "launch", "recon3d_ros", LAUNCH_FILE.name, *arguments]
        with log.open("w") as output:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=heed_interrupts,
            )
        self._context = Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("asker", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)

    def ask(self, service: Any, name: str, request: Any) -> Any:
        """Calls a service of the launched node; once more where the node knew the caller too late to answer."""
        client = self._node.create_client(service, f"/{NODE_NAME}/{name}")
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            if client.wait_for_service(1.0):
                future = client.call_async(request)
                rclpy.spin_until_future_complete(self._node, future, self._executor, 2.0)
                if future.done():
                    return future.result()
        raise AssertionError(f"{client.srv_name} did not answer in {WAIT_SECONDS} s\n{self._log.read_text()}")

    def wait_for_state(self, state: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while (label := self.ask(GetState, "get_state", GetState.Request()).current_state.label) != state:
            assert time.monotonic() < deadline, f"the node is {label}\n{self._log.read_text()}"
            time.sleep(0.05)

    def parameters(self, *names: str) -> dict[str, Any]:
        values = self.ask(GetParameters, "get_parameters", GetParameters.Request(names=names)).values
        return dict(zip(names, map(parameter_value_to_python, values), strict=True))

    def pids(self) -> list[int]:
        """Returns the node's processes, one for each time that it was started."""
        started = re.findall(r"\[depth_node-1\]: process started with pid \[(\d+)\]", self._log.read_text())
        return [int(pid) for pid in started]

    def environment(self) -> dict[str, str]:
        """Returns the environment of the node's process."""
        (pid,) = self.pids()
        entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
        return dict(entry.split("=", 1) for entry in entries if "=" in entry)

    def end(self) -> int:
        """Waits until `ros2 launch` has ended by itself; returns its status."""
        return self._process.wait(WAIT_SECONDS)

    def stop(self) -> str:
        """Interrupts as Ctrl-C does; returns the log."""
        rclpy.shutdown(context=self._context)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            assert self._process.wait(WAIT_SECONDS) == 0, self._log.read_text()
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise
        return self._log.read_text()


def test_arguments_override_the_file_and_the_file_overrides_defaults(
    workspace: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="onnx, which makes the model of this test, is not installed")
    from onnx_models import write_model

    share = Path(workspace["AMENT_PREFIX_PATH"].split(":")[0]) / "share" / "recon3d_ros"
    model = write_model(tmp_path / "tiny.onnx")
    file = tmp_path / "vehicle.yaml"
    content = {
        NODE_NAME: {
            "ros__parameters": {
                "cloud_stride": 3,
                "image_topic": "of_the_file",
                "compressed": True,
                "precision": "int8",
            }
        }
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    launched = Launched(
        workspace,
        tmp_path / "log",
        f"params_file:={file}",
        f"model:={model}",
        "cameras:=front,left",
        "image_topic:=given",
        "precision:=fp32",
        "use_sim_time:=true",
    )
    try:
        launched.wait_for_state("active")
        expected = {
            "model": str(model),
            "cameras": ["front", "left"],
            "image_topic": "given",
            "precision": "fp32",
            "use_sim_time": True,
            "cloud_stride": 3,
            "compressed": True,
            "backend": DepthNodeParameters().backend,
        }
        assert launched.parameters(*expected) == expected
        environment = launched.environment()
        shipped = {name: value.replace(str(ROOT), str(share)) for name, value in ros_environment().items()}
        assert {name: environment[name] for name in shipped} == shipped
    finally:
        log = launched.stop()
    assert "process has finished cleanly" in log


def test_with_autostart_off_the_node_waits_and_a_vehicles_own_profile_wins(
    workspace: dict[str, str], tmp_path: Path
) -> None:
    own = shutil.copy(ROOT / "config" / "fastdds.xml", tmp_path / "own.xml")
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE"
    launched = Launched({**workspace, variable: str(own)}, tmp_path / "log", "autostart:=false")
    try:
        launched.wait_for_state("unconfigured")
        assert launched.environment()[variable] == str(own)
    finally:
        launched.stop()


@pytest.mark.parametrize("respawn", ["true", "false"])
def test_a_node_that_ends_with_a_failure_is_started_again_if_asked(
    workspace: dict[str, str], tmp_path: Path, respawn: str
) -> None:
    launched = Launched(workspace, tmp_path / "log", "autostart:=false", f"respawn:={respawn}")
    try:
        launched.wait_for_state("unconfigured")
        (pid,) = launched.pids()
        os.kill(pid, signal.SIGKILL)
        if respawn == "true":
            deadline = time.monotonic() + WAIT_SECONDS
            while len(launched.pids()) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(launched.pids()) == 2, "started again"
            launched.wait_for_state("unconfigured")
        else:
            assert launched.end() == 0, "launch has nothing left to run"
            assert len(launched.pids()) == 1
    finally:
        launched.stop()


@pytest.mark.parametrize("launch_file", [LAUNCH_FILE.name, "map.launch.py"])
def test_a_parameter_file_that_is_not_there_starts_nothing(workspace: dict[str, str], launch_file: str) -> None:
    command = ["ros2", "launch", "recon3d_ros", launch_file, "params_file:=/no/vehicle.yaml"]
    result = subprocess.run(command, env=workspace, capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    assert "params_file is '/no/vehicle.yaml', which is no file" in result.stdout + result.stderr
    assert "process started" not in result.stdout + result.stderr
