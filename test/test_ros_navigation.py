"""What the live node gives to navigation, against a street whose every point is known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")
pytest.importorskip("onnx", reason="onnx, which makes the model of these tests, is not installed")

from diagnostic_msgs.msg import DiagnosticStatus
from onnx_models import write_model
from rclpy.parameter import Parameter
from ros_harness import RosHarness
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from street_scene import (
    CAMERA_HEIGHT,
    CX,
    CY,
    FRONT,
    FX,
    FY,
    HEIGHT,
    REAR,
    WALL,
    WIDTH,
    Street,
    street_depth,
    street_info,
)
from street_scene import street_image as image_of

from recon3d_ros.ros.camera_port import ReceivedImage
from recon3d_ros.ros.messages import depth_from_msg, points_from_msg, points_to_msg


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.onnx", height=HEIGHT, width=WIDTH)


@pytest.fixture
def drive(model: Path):
    """Starts an active node among cameras that see the street; its arguments are topics and parameters."""
    harnesses = []

    def start(*topics: str, **parameters: Any) -> Street:
        defaults = {"model": str(model), "cameras": ["front"], "threads": 1, "diagnostics_period": 0.05}
        harness = RosHarness(**{**defaults, "static_transforms": FRONT, **parameters})
        harnesses.append(harness)
        return Street(harness, topics)

    yield start
    for harness in harnesses:
        harness.close()


def test_a_scan_in_the_base_frame_has_the_wall_at_its_distance_in_every_beam(drive):
    street = drive("front/scan")
    street.send(stamp=(9, 70))
    scan = street.get("front/scan")
    assert (scan.header.frame_id, scan.header.stamp.sec, scan.header.stamp.nanosec) == ("base_link", 9, 70)
    angles = scan.angle_min + scan.angle_increment * np.arange(len(scan.ranges))
    assert angles[-1] == pytest.approx(scan.angle_max, abs=1e-4)
    # The wall is the plane x = 1 + WALL of the base frame; a beam's point may lie half a beam beside its middle.
    ranges, expected = np.array(scan.ranges), (1.0 + WALL) / np.cos(angles)
    assert len(ranges) > WIDTH / 2
    # At the sides, what the camera sees of the far end of a beam lies beside what it sees of the wall: unknown.
    np.testing.assert_allclose(ranges[8:-8], expected[8:-8], rtol=0.03)


def test_the_road_is_ground_and_the_wall_an_obstacle(drive):
    street = drive("front/obstacles", "front/ground", target_frame="base_link")
    street.send()
    obstacles, ground = street.get("front/obstacles"), street.get("front/ground")
    assert obstacles.header.frame_id == ground.header.frame_id == "base_link"
    wall, road = points_from_msg(obstacles), points_from_msg(ground)
    assert len(wall) > 300 and len(road) > 300
    np.testing.assert_allclose(wall[:, 0], 1.0 + WALL, atol=0.05)
    np.testing.assert_allclose(road[:, 2], 0.0, atol=0.35)
    assert np.median(np.abs(road[:, 2])) < 0.03
    on_road = np.count_nonzero(street_depth() < WALL - 0.05)
    assert len(road) >= on_road, "no point of the road is missing"


def test_a_cloud_in_the_base_frame_lies_where_the_camera_is(drive):
    street = drive("front/points", target_frame="base_link", cloud_organised=False)
    street.send()
    cloud = street.get("front/points")
    points = points_from_msg(cloud)
    assert cloud.header.frame_id == "base_link"
    # Pixel (u, v) of the wall lies at y = 0.2 - (u - cx) / fx * WALL, z = 3 - (v - cy) / fy * WALL.
    top = points[:WIDTH]
    np.testing.assert_allclose(top[:, 0], 8.0, atol=0.02)
    np.testing.assert_allclose(top[:, 1], 0.2 - (np.arange(WIDTH) - CX) / FX * WALL, atol=0.03)
    np.testing.assert_allclose(top[:, 2], CAMERA_HEIGHT + CY / FY * WALL, atol=0.03)


def test_the_road_gives_the_scale_that_the_camera_height_asks_for(drive):
    street = drive("front/depth/image_rect", "front/scale", scale_mode="ground")
    for index in range(6):
        street.send(stamp=(10, index * 100_000_000), scale=0.8)
        street.get("front/scale", index + 1)
    depth = depth_from_msg(street.get("front/depth/image_rect", 6))
    np.testing.assert_allclose(depth, street_depth(), rtol=0.08)  # the filter is on its way from 1
    message = street.get("front/scale", 6)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (10, 500_000_000)
    values = {item.key: item.value for item in message.status[0].values}
    assert float(values["scale_measured"]) == pytest.approx(1.25, rel=0.06)
    assert values["scale_source"] == "ground" and values["scale_held"] == "false"


def test_a_camera_height_alone_gives_the_scale_and_withholds_what_needs_a_frame(drive):
    street = drive(
        "front/scale", "front/scan", static_transforms="", camera_height=CAMERA_HEIGHT, scale_mode="ground"
    )
    for index in range(4):
        street.send(stamp=(10, index * 100_000_000), scale=0.8)
        street.get("front/scale", index + 1)
    values = {item.key: item.value for item in street.get("front/scale", 4).status[0].values}
    assert float(values["scale_measured"]) == pytest.approx(1.25, rel=0.06)
    street.wait_for_value("problems.transform", "4")
    assert not street.out["front/scan"]


def test_a_lidar_gives_the_scale_and_its_silence_is_told(drive):
    street = drive(
        "front/scale",
        scale_mode="lidar",
        lidar_topic="/lidar/points",
        lidar_timeout=0.5,
        static_transforms=f"{FRONT}; base_link lidar 0.5 0 2 0 0 0 1",
    )
    lidar = street.harness.publisher("/lidar/points", PointCloud2)
    street.harness.wait_for(lambda: lidar.get_subscription_count() > 0, "the node to subscribe to the LiDAR")
    y, z = np.meshgrid(np.linspace(-3, 3, 40), np.linspace(-1.0, 0.5, 20))
    wall = np.stack([np.full_like(y, 1.0 + WALL - 0.5), y, z], axis=-1).reshape(-1, 3).astype(np.float32)
    for index in range(4):
        image = image_of(stamp=(20, index * 100_000_000), scale=0.8)
        cloud = points_to_msg(wall, Header(stamp=image.header.stamp, frame_id="lidar"))
        lidar.publish(cloud)
        street.harness.wait_for(lambda n=index: street.node._publisher.lidar._received > n, "the sweep")
        street.images["front"].publish(image)
        street.get("front/scale", index + 1)
    values = {item.key: item.value for item in street.get("front/scale", 4).status[0].values}
    assert float(values["scale"]) == pytest.approx(1.25, rel=0.03)
    assert values["scale_source"] == "lidar" and values["scale_held"] == "false"
    street.harness.wait_for(
        lambda: street.status("lidar").level == DiagnosticStatus.STALE, "the LiDAR to be stale"
    )
    assert "/lidar/points" in street.status("lidar").message
    street.send(stamp=(21, 0), scale=0.8)
    held = street.get("front/scale", 5).status[0]
    assert held.level == DiagnosticStatus.WARN and "sweep" in held.message
    street.harness.wait_for(lambda: "scale held at 1.2" in street.status().message, "the camera to be degraded")


def test_without_a_transform_the_depth_goes_on_and_the_scan_is_withheld_and_told(drive):
    street = drive(
        "front/depth/image_rect", "front/scan", "points", static_transforms="base_link other 0 0 0 0 0 0 1"
    )
    for index in range(3):
        street.send(stamp=(10, index))
        street.get("front/depth/image_rect", index + 1)
    street.wait_for_value("problems.transform", "3")
    street.harness.wait_for(lambda: street.status().level == DiagnosticStatus.WARN, "WARN")
    assert "front_optical_frame" in street.status().message and "base_link" in street.status().message
    assert not street.out["front/scan"] and not street.out["points"]
    assert street.values()["published"] == "3"


def test_a_camera_under_the_road_is_told_and_nothing_is_published_by_that_transform(drive):
    buried = FRONT.replace("1.0 0.2 3.0", "1.0 0.2 -3.0")
    street = drive("front/depth/image_rect", "front/scan", "front/obstacles", "points", static_transforms=buried)
    street.send()
    street.get("front/depth/image_rect")
    street.wait_for_value("problems.mounting", "1")
    assert "-3 m above the road" in street.status().message
    assert not street.out["front/scan"] and not street.out["points"] and not street.out["front/obstacles"]


def test_an_ego_mask_can_be_drawn_while_the_node_runs_and_a_bad_one_is_refused(drive):
    street = drive("front/depth/image_rect")
    (result,) = street.node.set_parameters([Parameter("ego_mask", value="0 20, 60 30, 60 20, 0 30")])
    assert not result.successful and "crosses itself" in result.reason
    street.set(ego_mask="0 48, 127 48, 127 63, 0 63")
    street.send()
    depth = depth_from_msg(street.get("front/depth/image_rect"))
    assert np.isnan(depth[49:]).all() and np.isfinite(depth[:47]).all()
    street.set(ego_mask="0 48, 630 48, 630 63, 0 63")  # drawn on a larger image
    street.send()
    depth = depth_from_msg(street.get("front/depth/image_rect", 2))
    assert np.isfinite(depth).all()
    street.harness.wait_for(lambda: "outside the 128x64 image" in street.status().message, "the mask to be told")
    assert street.status().level == DiagnosticStatus.WARN


def test_parameters_change_during_a_stream_without_a_lost_frame(drive):
    street = drive("front/depth/image_rect", "front/points", "front/scan")
    changes = [
        {"edge_threshold": 0.1},
        {"ego_mask": "0 58, 127 58, 127 63, 0 63"},
        {"scale_mode": "ground"},
        {"voxel_size": 0.3, "cloud_organised": False},
        {"scan_max_range": 20.0, "scan_min_height": 0.1},
        {"front__max_range": 6.5},
        {"scale_mode": "model", "voxel_size": 0.0},
        {"cloud_fields": "xyz", "cloud_stride": 2},
    ]
    for index in range(3 * len(changes)):
        street.send(stamp=(30, index * 10_000_000))
        if index % 3 == 1:
            street.set(**changes[index // 3])
        for topic in street.out:
            street.get(topic, index + 1)
    street.wait_for_value("published", str(3 * len(changes)))
    assert street.values()["received"] == str(3 * len(changes))
    assert street.values()["dropped"] == street.values()["rejected"] == "0"
    depth = depth_from_msg(street.out["front/depth/image_rect"][-1])
    assert np.isinf(depth[5]).all(), "the camera's own max_range holds"


def test_two_cameras_make_one_cloud_and_a_dead_one_holds_up_nobody(drive):
    transforms = f"{FRONT}; {REAR}"
    street = drive("points", "obstacles", cameras=["front", "rear"], static_transforms=transforms, stale_after=1.0)
    for index in range(2):
        street.send("front", stamp=(40 + index, 0))
        street.send("rear", stamp=(40 + index, 10))
        merged = street.get("points", index + 1)
        street.get("obstacles", index + 1)
    assert merged.header.frame_id == "base_link"
    assert (merged.header.stamp.sec, merged.header.stamp.nanosec) == (41, 10)
    x = points_from_msg(merged)[:, 0]
    assert merged.is_dense and (merged.height, merged.width) == (1, len(x))
    assert x.max() == pytest.approx(8.0, abs=0.05) and x.min() == pytest.approx(-8.0, abs=0.05)
    walls = points_from_msg(street.out["obstacles"][-1])[:, 0]
    np.testing.assert_allclose(np.abs(walls), 8.0, atol=0.05)
    # The rear camera dies: one round waits for it until the front camera comes again, then none does.
    street.send("front", stamp=(49, 0))
    street.wait_for_value("published", "3")
    for index in range(3):
        street.send("front", stamp=(50 + index, 0))
        street.get("points", 4 + index)
    assert [cloud.header.stamp.sec for cloud in street.out["points"][2:]] == [49, 50, 51, 52]
    assert points_from_msg(street.out["points"][-1])[:, 0].min() > 0
    street.harness.wait_for(lambda: "no image for" in street.status("rear").message, "the rear camera to be stale")


def test_a_thinned_cloud_keeps_its_obstacles_finite_and_in_their_place(drive):
    street = drive("front/obstacles", "front/ground", target_frame="base_link", voxel_size=0.5)
    street.send()
    wall, road = points_from_msg(street.get("front/obstacles")), points_from_msg(street.get("front/ground"))
    assert 20 < len(wall) < 1000 and 20 < len(road) < 1000
    np.testing.assert_allclose(wall[:, 0], 1.0 + WALL, atol=0.05)
    assert np.isfinite(road).all()


def test_free_pixels_become_clearing_points_at_the_scans_range(drive):
    street = drive("front/clearing", target_frame="base_link", scan_max_range=4.0, scan_min_height=0.0)
    street.send()
    points = points_from_msg(street.get("front/clearing"))
    assert len(points) > 100
    np.testing.assert_allclose(np.linalg.norm(points - (1.0, 0.2, CAMERA_HEIGHT), axis=1), 4.0, atol=1e-4)
    assert points[:, 2].min() >= 0.0 and points[:, 2].max() <= 2.0


def test_a_camera_whose_outputs_fail_costs_the_others_no_frame(drive):
    # A camera that looks straight up sees no scan.
    up = "base_link front_optical_frame 1.0 0.2 3.0 0 0 0 1"
    street = drive("front/scan", "rear/scan", cameras=["front", "rear"], static_transforms=f"{up}; {REAR}")
    for index in range(3):
        street.send("front", stamp=(10 + index, 0))
        street.send("rear", stamp=(10 + index, 0))
        street.get("rear/scan", index + 1)
    street.wait_for_value("rejected.scan", "3")
    assert "straight up or down" in street.values()["last_error"]
    assert not street.out["front/scan"] and street.values("rear")["published"] == "3"


def test_a_camera_too_wide_to_be_resized_costs_the_other_camera_no_frame(drive):
    street = drive("front/depth/image_rect", "rear/depth/image_rect", cameras=["front", "rear"])
    info = street_info("front_optical_frame")
    info.width, info.height = 256 * WIDTH, HEIGHT  # more than OpenCV can resize
    info.k[0] = info.k[4] = 32.0 * WIDTH
    street.infos["front"].publish(info)
    port = street.node._ports["front"]
    street.harness.wait_for(lambda: port._calibration.camera.width == 256 * WIDTH, "the CameraInfo")
    wide = image_of("front_optical_frame")
    wide.width, wide.step, wide.data = 256 * WIDTH, 256 * WIDTH, wide.data.tobytes() * 256
    # Both in one batch: the node takes what waits together.
    received = {
        "front": ReceivedImage(wide, time.monotonic()),
        "rear": ReceivedImage(image_of("rear_optical_frame"), time.monotonic()),
    }
    street.node._inference._infer(received)
    street.get("rear/depth/image_rect")
    street.wait_for_value("rejected.bad_camera_info", "1")
    assert "pixels a side" in street.values()["last_error"]


def test_what_waited_for_a_merged_cloud_is_forgotten_when_the_node_pauses(drive):
    street = drive("points", cameras=["front", "rear"], static_transforms=f"{FRONT}; {REAR}")
    street.send("front", stamp=(10, 0))
    street.wait_for_value("published", "1")
    assert street.node.trigger_deactivate() == street.node.trigger_activate()
    street.send("rear", stamp=(10, 500_000_000))
    street.harness.wait_for(lambda: street.values("rear")["published"] == "1", "the rear part")
    street.send("rear", stamp=(10, 600_000_000))
    x = points_from_msg(street.get("points"))[:, 0]
    assert x.max() < 0, "no point of the front camera, whose picture is from before the pause"


def test_a_part_long_after_the_others_begins_a_round_of_its_own(drive):
    street = drive("points", cameras=["front", "rear"], static_transforms=f"{FRONT}; {REAR}")
    street.send("front", stamp=(10, 0))
    street.wait_for_value("published", "1")
    street.send("rear", stamp=(15, 0))
    first = street.get("points")
    assert first.header.stamp.sec == 10 and points_from_msg(first)[:, 0].min() > 0
    street.send("front", stamp=(15, 10))  # the round of the front camera alone expects nobody else
    x = points_from_msg(street.get("points", 2))[:, 0]
    assert x.min() < -7.9 and x.max() > 7.9
    # A bag that loops: what waits from before the jump is not shown after it.
    street.send("front", stamp=(20, 0))
    street.wait_for_value("published", "3")
    street.send("front", stamp=(1, 0))
    street.send("rear", stamp=(1, 10))
    looped = street.get("points", 3)
    assert (looped.header.stamp.sec, looped.header.stamp.nanosec) == (1, 10)


def test_what_goes_wrong_with_the_merged_cloud_is_told(drive, monkeypatch):
    street = drive("points", "front/depth/image_rect")
    errors = []
    monkeypatch.setattr(street.node._inference, "_unexpected", errors.append)
    monkeypatch.setattr("recon3d_ros.ros.merged_cloud.kept_points", lambda clouds: 1 / 0)
    street.send()
    street.harness.wait_for(lambda: errors, "the error")
    assert isinstance(errors[0], ZeroDivisionError)


def test_a_lidar_that_recovers_from_a_bad_sweep_is_well_again(drive):
    lidar_frame = "base_link lidar 0.5 0 2 0 0 0 1"
    street = drive(
        "front/scale", scale_mode="lidar", lidar_topic="/lidar/points", static_transforms=f"{FRONT}; {lidar_frame}"
    )
    port = street.node._publisher.lidar
    good = points_to_msg(np.ones((5, 3), np.float32), Header(frame_id="lidar"))
    bad = points_to_msg(np.ones((5, 3), np.float32), Header(frame_id="lidar"))
    bad.fields = bad.fields[:2]
    for sweep, level in ((bad, DiagnosticStatus.WARN), (good, DiagnosticStatus.OK)):
        port._receive(sweep)
        port.sweeps()
        assert port.report(is_active=True).level == level
    assert "expected x, y and z" in {v.key: v.value for v in port.report(is_active=True).values}["last_error"]


def test_a_filter_by_confidence_that_the_model_does_not_give_is_told(drive):
    street = drive("front/depth/image_rect", min_confidence=0.5)
    street.send()
    assert np.isfinite(depth_from_msg(street.get("front/depth/image_rect"))).all()
    street.harness.wait_for(lambda: street.status().level == DiagnosticStatus.WARN, "WARN")
    assert "min_confidence has no effect" in street.status().message


@pytest.mark.parametrize("limit", ["max_range", "model"])
def test_nothing_is_called_free_beyond_the_range_in_which_it_would_be_seen(drive, tmp_path: Path, limit):
    # The wall is 7 m before the camera. What is limited to 5 m is +Inf there, and does not see it.
    near = write_model(tmp_path / "near.onnx", height=HEIGHT, width=WIDTH, metadata={"max_depth": "5.0"})
    limited = {"max_range": 5.0} if limit == "max_range" else {"model": str(near)}
    street = drive("front/scan", "front/clearing", target_frame="base_link", **limited)
    street.send()
    scan = street.get("front/scan")
    assert np.isposinf(scan.ranges).any() and scan.range_max == pytest.approx(5.0)
    points = points_from_msg(street.get("front/clearing"))
    assert len(points) and points[:, 0].max() <= 6.0, "1 m ahead of base_link, 5 m from the camera"
