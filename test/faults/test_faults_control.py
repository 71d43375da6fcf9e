"""Storms of parameters and of lifecycle transitions, and a disk that is full."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from world import IS_LONG, World, accounted, flowing

ROOT = Path(__file__).resolve().parents[2]
TRANSITIONS = [
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_CLEANUP,
    Transition.TRANSITION_ACTIVATE,
    Transition.TRANSITION_DEACTIVATE,
]
BURST = 8  # requests at once; a ROS service holds ten
SECONDS = 60.0 if IS_LONG else 4.0


def call(world: World, client: Any, request: Any) -> Any:
    """Calls a service of the node and returns the answer."""
    future = client.call_async(request)
    world.wait_for(future.done, f"an answer of {client.srv_name}")
    return future.result()


def test_a_storm_of_parameters_costs_no_frame(tmp_path: Path, small_model: Path, report) -> None:
    with World(tmp_path, small_model) as world, flowing(world) as camera:
        client = world.node.create_client(SetParameters, "/recon3d_depth/set_parameters")
        assert client.wait_for_service(timeout_sec=20.0)
        names = ("max_range", "min_range", "backend", "no_such_parameter")
        accepted, refused = 0, 0
        rng = random.Random(1)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            futures = []
            for _ in range(BURST):
                value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=rng.uniform(-5.0, 100.0))
                parameter = Parameter(name=rng.choice(names), value=value)
                futures.append(client.call_async(SetParameters.Request(parameters=[parameter])))
            world.wait_for(lambda futures=futures: all(f.done() for f in futures), f"answers to {BURST} requests")
            results = [result for future in futures for result in future.result().results]
            accepted += sum(result.successful for result in results)
            refused += sum(not result.successful for result in results)
            assert all(result.successful or result.reason for result in results)
        assert accepted and refused
        for name, value in (("max_range", 90.0), ("min_range", 0.5)):
            value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
            assert call(world, client, SetParameters.Request(parameters=[Parameter(name=name, value=value)]))
        world.wait_for_frames()
        camera.stop()
        counts = world.settle(camera)
        assert counts["rejected"] == 0
        fault, seen = (
            f"{accepted + refused} parameters set in {SECONDS:.0f} s",
            f"{refused} refused with their reasons",
        )
        report(fault, seen, None, accounted(camera.sent, counts))


def test_lifecycle_transitions_in_any_order_leave_a_node_that_serves(
    tmp_path: Path, small_model: Path, report
) -> None:
    with World(tmp_path, small_model) as world, flowing(world):
        change = world.node.create_client(ChangeState, "/recon3d_depth/change_state")
        state = world.node.create_client(GetState, "/recon3d_depth/get_state")
        assert change.wait_for_service(timeout_sec=20.0) and state.wait_for_service(timeout_sec=20.0)

        def now() -> str:
            return call(world, state, GetState.Request()).current_state.label

        rng = random.Random(2)
        count, until = 0, time.monotonic() + SECONDS
        while time.monotonic() < until:
            transition = Transition(id=rng.choice(TRANSITIONS))
            call(world, change, ChangeState.Request(transition=transition))
            assert world.process.poll() is None
            count += 1
        for _ in range(2):
            need = {"unconfigured": Transition.TRANSITION_CONFIGURE, "inactive": Transition.TRANSITION_ACTIVATE}
            if (label := now()) in need:
                answer = call(world, change, ChangeState.Request(transition=Transition(id=need[label])))
                assert answer.success
        assert now() == "active"
        seconds = world.wait_for_frames()
        assert "Traceback" not in world.log
        report(f"{count} lifecycle transitions at random", "those that do not apply are refused", seconds)


@pytest.mark.parametrize("room", [20_000, 2_000_000], ids=["cloud", "bag"])
def test_a_full_disk_ends_a_recording_with_its_name_and_no_traceback(
    tmp_path: Path, small_model: Path, report, room: int
) -> None:
    def no_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing past the limit then fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    out = tmp_path / "out"
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "recon3d_ros.tools.cli",
            "run",
            "recon3d_ros/demo_drive",
            "-o",
            out,
            "--model",
            small_model,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=no_room,
    )
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    [line] = [line for line in result.stderr.splitlines() if line.startswith("recon3d run:")]
    name = {20_000: "000000.ply", 2_000_000: "out"}[room]
    assert name in line
    report(
        f"disk full while `recon3d run` writes ({name})", "one line: the file and the reason; exit status 2", None
    )
