"""The node's process is killed, interrupted, started and stopped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")

from world import IS_LONG, Camera, World, accounted, flowing

STARTS = 100 if IS_LONG else 2


def segments(process: int) -> set[str]:
    """Returns the names of the shared-memory segments that a process has open."""
    lines = Path(f"/proc/{process}/maps").read_text().splitlines()
    return {line.split("/dev/shm/")[1].removesuffix(" (deleted)") for line in lines if "/dev/shm/" in line}


def left_behind(names: set[str]) -> set[str]:
    """Returns those of the segments that still exist though nobody here has them open."""
    return {name for name in names - segments(os.getpid()) if (Path("/dev/shm") / name).exists()}


def test_a_killed_node_serves_again_once_a_supervisor_restarts_it(
    tmp_path: Path, small_model: Path, report
) -> None:
    with World(tmp_path, small_model) as world, flowing(world) as camera:
        world.process.send_signal(signal.SIGKILL)
        world.wait_for(lambda: world.process.poll() is not None, "the node to die")
        before = time.monotonic()
        world.start_node()
        seconds = world.wait_for_frames(5, after=before)
        camera.stop()
        world.settle(camera)
        newest = max(stamp for _, stamp, _ in world.depths.frames)
        assert newest > camera.stamp - 2.0, "the frames are those of now, not of before"
        assert "Traceback" not in world.log
        report("node killed (SIGKILL), restarted at once", "the supervisor's word; STALE until then", seconds)


def test_two_sigints_end_the_node_with_status_0_and_leave_nothing_behind(
    tmp_path: Path, small_model: Path, report
) -> None:
    with World(tmp_path, small_model) as world:
        with flowing(world):
            used = segments(world.process.pid)
            world.process.send_signal(signal.SIGINT)
            time.sleep(0.05)
            if world.process.poll() is None:
                world.process.send_signal(signal.SIGINT)
            world.wait_for(lambda: world.process.poll() is not None, "the node to end")
        assert world.process.poll() == 0
        assert "Traceback" not in world.log
        assert used and not left_behind(used)
        report("SIGINT twice, as ros2 launch sends it", "a clean end, status 0, no segment in /dev/shm left", None)


def test_a_shutdown_in_the_middle_of_publishing_is_a_clean_end(tmp_path: Path, small_model: Path, report) -> None:
    program = Path(__file__).with_name("interrupted_node.py")
    with World(tmp_path, small_model, program=program) as world:
        world.start_node()
        world.wait_for(lambda: world.process.poll() is not None, "the node to end")
        assert world.process.poll() == 0, world.log
        assert "Traceback" not in world.log
        report("shut down while it publishes", "a clean end, status 0", None)


@pytest.mark.parametrize("starts", [STARTS])
def test_starting_and_stopping_leaks_nothing(tmp_path: Path, small_model: Path, report, starts: int) -> None:
    with World(tmp_path, small_model) as world:
        camera = Camera(world)
        for _ in range(starts):
            world.start_node()
            camera.wait_for_node()
            camera.sent = 0
            camera.start()
            world.wait_for_frames(1)
            camera.stop()
            used = segments(world.process.pid)
            assert world.process.stop() == 0, world.log
            assert used and not left_behind(used)
            assert "Traceback" not in world.log
        report(f"started and stopped {starts} times", "no segment, no process left", None)


def test_what_comes_out_is_what_went_in_while_nothing_is_wrong(tmp_path: Path, small_model: Path, report) -> None:
    with World(tmp_path, small_model) as world, flowing(world) as camera:
        time.sleep(10.0 if IS_LONG else 1.0)
        camera.stop()
        counts = world.settle(camera)
        report("none", "OK, publishing", None, accounted(camera.sent, counts))
