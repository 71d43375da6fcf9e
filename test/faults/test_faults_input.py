"""Cameras, clocks and consumers that go wrong; after each, good frames flow and every frame is accounted for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from world import HEIGHT, IS_LONG, WIDTH, Camera, World, accounted, flowing

LASTING = 20.0 if IS_LONG else 1.0  # seconds


def test_a_camera_that_stops_is_stale_and_serves_when_it_comes_back(
    tmp_path: Path, small_model: Path, report
) -> None:
    with World(tmp_path, small_model, stale_after=0.5) as world, flowing(world) as camera:
        camera.stop()
        told = world.wait_for(lambda: world.status().level == DiagnosticStatus.STALE, "STALE")
        assert told < 5.0
        assert "no image for" in world.status().message
        camera.stamp += 5.0
        camera.start()
        seconds = world.wait_for_frames()
        world.wait_for(lambda: world.status().level == DiagnosticStatus.OK, "OK again")
        camera.stop()
        counts = world.settle(camera)
        report("camera stops", f"STALE, 'no image for ...' after {told:.1f} s (stale_after 0.5 s)", seconds,
               accounted(camera.sent, counts))  # fmt: skip


def test_a_camera_at_ten_times_its_rate_costs_frames_that_are_counted(
    tmp_path: Path, small_model: Path, report
) -> None:
    with World(tmp_path, small_model) as world, flowing(world, rate=30.0) as camera:
        camera.rate = 300.0
        time.sleep(LASTING)
        camera.rate = 30.0
        seconds = world.wait_for_frames()
        camera.stop()
        counts = world.settle(camera)
        words = accounted(camera.sent, counts)
        report(
            "camera at ten times its rate", "WARN, 'frames dropped' where the network is slower", seconds, words
        )


def test_two_publishers_on_one_topic_are_told(tmp_path: Path, small_model: Path, report) -> None:
    with World(tmp_path, small_model) as world, flowing(world) as camera:
        other = Camera(world, rate=20.0)
        other.stamp = camera.stamp - 100.0
        other.start()
        world.wait_for(lambda: int(world.value("time_jumps") or 0) >= 3, "time jumps")
        other.stop()
        camera.stop()
        camera.sent += other.sent
        counts = world.settle(camera)
        assert "two publishers" in world.log
        report("two publishers on one topic", "warning 'stamp went back', time_jumps counted", None,
               accounted(camera.sent, counts))  # fmt: skip


def test_a_resolution_that_changes_is_followed_and_misfits_between_are_rejected(
    tmp_path: Path, small_model: Path, report
) -> None:
    with World(tmp_path, small_model) as world, flowing(world) as camera:
        camera.info_size = (HEIGHT // 2, WIDTH // 2)  # the calibration changes first
        world.wait_for(lambda: int(world.value("rejected.camera_info_mismatch") or 0) > 0, "a rejected misfit")
        assert world.status().level in (DiagnosticStatus.WARN, DiagnosticStatus.ERROR)
        message = world.status().message
        assert f"{WIDTH}x{HEIGHT}" in message and f"{WIDTH // 2}x{HEIGHT // 2}" in message
        camera.size = camera.info_size
        seconds = world.wait_for_frames()
        camera.stop()
        counts = world.settle(camera)
        report("CameraInfo changes resolution, images later", "ERROR, both sizes named", seconds,
               accounted(camera.sent, counts))  # fmt: skip


@pytest.mark.parametrize("jump", [-500.0, 5000.0], ids=["back", "forward"])
def test_a_clock_that_jumps_costs_no_frame(tmp_path: Path, small_model: Path, report, jump: float) -> None:
    with World(tmp_path, small_model) as world, flowing(world) as camera:
        before = camera.stamp
        camera.stamp += jump
        seconds = world.wait_for_frames()
        assert abs(world.depths.frames[-1][1] - (before + jump)) < 60.0
        camera.stop()
        counts = world.settle(camera)
        assert int(world.value("time_jumps")) == (1 if jump < 0 else 0)
        seen = "warning 'stamp went back', time_jumps 1" if jump < 0 else "nothing: frames have gaps"
        report(f"stamps jump by {jump:+.0f} s", seen, seconds, accounted(camera.sent, counts))


def test_sim_time_without_a_clock_stops_neither_depth_nor_diagnostics(
    tmp_path: Path, small_model: Path, report
) -> None:
    with World(tmp_path, small_model, use_sim_time=True) as world, flowing(world) as camera:
        world.wait_for(lambda: world.status().message == "publishing", "diagnostics that say 'publishing'")
        camera.stop()
        counts = world.settle(camera)
        report(
            "use_sim_time without /clock", "OK; stamps are the camera's own", None, accounted(camera.sent, counts)
        )


def test_a_subscriber_that_never_reads_holds_nobody_up(tmp_path: Path, small_model: Path, report) -> None:
    context = Context()
    rclpy.init(context=context)
    deaf = Node("deaf", context=context)  # no executor ever takes what it gets
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    deaf.create_subscription(Image, "/front/depth/image_rect", lambda _: None, qos)
    try:
        with World(tmp_path, small_model) as world, flowing(world) as camera:
            time.sleep(LASTING)
            seconds = world.wait_for_frames()
            camera.stop()
            counts = world.settle(camera)
            stamps = {stamp for _, stamp, _ in world.depths.frames}
            assert len(stamps) == counts["published"]
            report("a subscriber that never reads", "nothing; the others get every frame", seconds,
                   accounted(camera.sent, counts))  # fmt: skip
    finally:
        deaf.destroy_node()
        rclpy.try_shutdown(context=context)
