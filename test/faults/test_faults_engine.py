"""An engine that raises, answers NaN or hangs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")


from diagnostic_msgs.msg import DiagnosticStatus
from odd_node import HANGS, IS_NAN, IS_SLOW, RAISES
from world import ODD_NODE, World, accounted, flowing


def test_an_engine_that_raises_costs_the_frames_of_that_batch_only(
    tmp_path: Path, small_model: Path, report
) -> None:
    with World(tmp_path, small_model, program=ODD_NODE) as world, flowing(world) as camera:
        camera.grey = RAISES
        world.wait_for(lambda: world.status().level == DiagnosticStatus.ERROR, "ERROR")
        assert "the engine was told to fail" in world.status().message
        camera.grey = 100
        seconds = world.wait_for_frames()
        camera.stop()
        counts = world.settle(camera)
        assert counts["rejected"] > 0
        report("engine raises", "ERROR, 'every frame is rejected' and the reason", seconds,
               accounted(camera.sent, counts))  # fmt: skip


def test_a_slow_engine_drops_the_oldest_and_counts_them(tmp_path: Path, small_model: Path, report) -> None:
    with World(tmp_path, small_model, program=ODD_NODE) as world, flowing(world, rate=50.0) as camera:
        camera.grey = IS_SLOW
        world.wait_for(lambda: world.status().level == DiagnosticStatus.WARN, "WARN")
        assert "frames dropped" in world.status().message
        late = [arrival for arrival, _, _ in world.depths.frames]
        time.sleep(1.0)
        camera.grey = 100
        seconds = world.wait_for_frames(10)
        camera.stop()
        counts = world.settle(camera)
        assert late and counts["dropped"] > 0
        report("engine slower than the camera", "WARN, 'frames dropped: the camera is faster'", seconds,
               accounted(camera.sent, counts))  # fmt: skip


def test_an_engine_that_answers_nan_is_told(tmp_path: Path, small_model: Path, report) -> None:
    with World(tmp_path, small_model, program=ODD_NODE) as world, flowing(world) as camera:
        camera.grey = IS_NAN
        world.wait_for(lambda: world.status().level != DiagnosticStatus.OK, "a level that is not OK")
        message = world.status().message
        camera.grey = 100
        seconds = world.wait_for_frames()
        camera.stop()
        counts = world.settle(camera)
        report("engine answers NaN", f"WARN, '{message}'", seconds, accounted(camera.sent, counts))


def test_an_engine_that_hangs_ends_the_node_so_that_it_is_restarted(
    tmp_path: Path, small_model: Path, report
) -> None:
    with World(tmp_path, small_model, program=ODD_NODE, inference_timeout=1.0) as world:
        with flowing(world) as camera:
            camera.grey = HANGS
            told = world.wait_for(lambda: world.process.poll() is not None, "the node to end")
            assert world.process.poll() == 1
            assert "inference has taken" in world.log
            camera.grey = 100
            before = time.monotonic()
            world.start_node()
            seconds = world.wait_for_frames(after=before)
            report("engine hangs", f"fatal 'inference has taken ...', status 1 after {told:.1f} s "
                   "(inference_timeout 1 s)", seconds)  # fmt: skip
