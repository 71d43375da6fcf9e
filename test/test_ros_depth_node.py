"""The live depth node over real DDS: what it publishes, and what it does when it is fed nonsense."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from onnx_models import write_model
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_harness import RosHarness
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from recon3d_ros.core.camera import CameraError
from recon3d_ros.ros.camera_port import Calibration, ReceivedImage
from recon3d_ros.ros.messages import depth_from_msg, points_from_msg

WIDTH, HEIGHT = 200, 120  # of the camera; the network's input is 64 x 32
OUTPUTS = {
    "/front/depth/image_rect": Image,
    "/front/depth/camera_info": CameraInfo,
    "/front/image_rect": Image,
    "/front/points": PointCloud2,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_model(path, height=32, width=64)
    return path


@pytest.fixture
def start(model: Path):
    """Starts an active node with its outputs subscribed; returns the camera to feed it with."""
    harnesses = []

    def start_node(**parameters):
        names = {"model": str(model), "cameras": ["front"], "threads": 1, "diagnostics_period": 0.05}
        harness = RosHarness(**{**names, **parameters})
        harnesses.append(harness)
        return Feed(harness)

    yield start_node
    for harness in harnesses:
        harness.close()


class Feed:
    """A camera in front of a live node: publishes images and CameraInfo, and collects what comes out."""

    def __init__(self, harness: RosHarness, *, outputs: dict | None = None) -> None:
        self.harness = harness
        self.node = harness.node
        is_compressed = self.node.parameters.compressed
        topic = "/front/image_raw/compressed" if is_compressed else "/front/image_raw"
        self.images = harness.publisher(topic, CompressedImage if is_compressed else Image)
        self.infos = harness.publisher("/front/camera_info", CameraInfo)
        self.out = {topic: harness.collect(topic, kind) for topic, kind in (outputs or OUTPUTS).items()}
        self.diagnostics = harness.collect("/diagnostics", DiagnosticArray)
        assert self.node.start()
        harness.wait_until_connected([self.images, self.infos], list(self.out))

    def send_info(self, **changes) -> None:
        self.infos.publish(camera_info(**changes))
        self.harness.wait_for(lambda: self.calibration() is not None, "the CameraInfo to arrive")

    def calibration(self) -> Calibration | CameraError | None:
        """What the node has made of the last CameraInfo."""
        return self.node._ports["front"]._calibration

    def send(self, image: Image | None = None, **changes) -> None:
        self.images.publish(image or image_message(**changes))

    def depth(self, count: int = 1) -> list[Image]:
        depths = self.out["/front/depth/image_rect"]
        self.harness.wait_for(lambda: len(depths) >= count, f"{count} depth images")
        return depths

    def values(self) -> dict[str, str]:
        """The newest diagnostics of the camera."""
        return {value.key: value.value for value in self.status().values}

    def status(self) -> DiagnosticStatus:
        return next(s for s in self.diagnostics[-1].status if s.name.endswith("front"))

    def wait_for_value(self, key: str, value: str) -> None:
        try:
            self.harness.wait_for(lambda: self.diagnostics and self.values().get(key) == value, f"{key}={value}")
        except AssertionError as error:
            raise AssertionError(f"{error}; diagnostics are {self.values()}") from error


def camera_info(width=WIDTH, height=HEIGHT, fx=150.0, frame_id="front_optical_frame") -> CameraInfo:
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.frame_id = frame_id
    message.k = [fx, 0.0, 104.0, 0.0, fx, 57.0, 0.0, 0.0, 1.0]
    return message


def image_message(
    width=WIDTH, height=HEIGHT, encoding="rgb8", stamp=(7, 500), frame_id="front_optical_frame", value=100
) -> Image:
    message = Image(width=width, height=height, encoding=encoding, step=width * 3)
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    message.header.frame_id = frame_id
    message.data = bytes([value]) * (height * width * 3)
    return message


def test_each_output_has_the_inputs_header_and_one_geometry(start):
    feed = start()
    feed.send_info()
    feed.send()
    for topic, messages in feed.out.items():
        feed.harness.wait_for(lambda messages=messages: messages, topic)
        header = messages[0].header
        assert (header.stamp.sec, header.stamp.nanosec) == (7, 500), topic
        assert header.frame_id == "front_optical_frame", topic
    depth = feed.out["/front/depth/image_rect"][0]
    info = feed.out["/front/depth/camera_info"][0]
    image = feed.out["/front/image_rect"][0]
    cloud = feed.out["/front/points"][0]
    assert (depth.width, depth.height, depth.encoding) == (64, 32, "32FC1")
    assert (info.width, info.height) == (64, 32)
    assert (image.width, image.height, image.encoding) == (64, 32, "rgb8")
    assert (cloud.width, cloud.height) == (64, 32)
    # 200 x 120 at the aspect of 64 x 32 is 200 x 100, ten rows cut at the top; then a resize by 0.32.
    assert info.k[0] == pytest.approx(150 * 0.32)
    assert info.k[2] == pytest.approx((104 + 0.5) * 0.32 - 0.5)
    assert info.k[5] == pytest.approx((57 - 10 + 0.5) * 0.32 - 0.5)
    assert list(info.p[:3]) == list(info.k[:3])


def test_the_cloud_is_the_published_depth_seen_through_the_published_camera_info(start):
    feed = start(cloud_organised=False)
    feed.send_info()
    feed.send()
    feed.harness.wait_for(lambda: all(feed.out.values()), "every output")
    depth = depth_from_msg(feed.out["/front/depth/image_rect"][0])
    info = feed.out["/front/depth/camera_info"][0]
    points = points_from_msg(feed.out["/front/points"][0])
    assert np.isfinite(depth).all()
    u = points[:, 0] / points[:, 2] * info.k[0] + info.k[2]
    v = points[:, 1] / points[:, 2] * info.k[4] + info.k[5]
    np.testing.assert_allclose(u, np.tile(np.arange(64), 32), atol=1e-3)
    np.testing.assert_allclose(v, np.repeat(np.arange(32), 64), atol=1e-3)
    np.testing.assert_allclose(points[:, 2], depth.reshape(-1), rtol=1e-6)


def test_depth_in_millimetres_is_the_same_depth(start):
    feed = start()
    feed.send_info()
    feed.send()
    metres = depth_from_msg(feed.depth(1)[0])
    feed.node.set_parameters([Parameter("depth_encoding", value="16UC1")])
    feed.send()
    message = feed.depth(2)[1]
    assert message.encoding == "16UC1"
    np.testing.assert_allclose(depth_from_msg(message), metres, atol=0.0006)


def test_ranges_and_stride_change_while_the_node_runs(start):
    feed = start(cloud_stride=4)
    feed.send_info()
    feed.send()
    depth = depth_from_msg(feed.depth(1)[0])
    feed.harness.wait_for(lambda: feed.out["/front/points"], "a cloud")
    assert (feed.out["/front/points"][0].width, feed.out["/front/points"][0].height) == (16, 8)
    limit = float(depth.max()) - 1e-3
    results = feed.node.set_parameters([Parameter("max_range", value=limit)])
    assert results[0].successful, results[0].reason
    feed.send()
    assert np.isinf(depth_from_msg(feed.depth(2)[1])).any()


def test_no_frame_is_lost_without_being_counted(start):
    feed = start()
    feed.send_info()
    for index in range(40):
        feed.send(stamp=(10 + index, 0))
        time.sleep(0.003)  # faster than the node publishes
    feed.wait_for_value("received", "40")
    feed.harness.wait_for(
        lambda: int(feed.values()["published"]) + int(feed.values()["dropped"]) == 40, "every frame to be counted"
    )
    feed.depth(int(feed.values()["published"]))
    stamps = [message.header.stamp.sec for message in feed.out["/front/depth/image_rect"]]
    assert stamps == sorted(stamps)
    assert stamps[-1] == 49, "the newest frame is never the one that is dropped"


def test_nothing_is_computed_while_nobody_subscribes(model: Path):
    harness = RosHarness(model=str(model), cameras=["front"], diagnostics_period=0.05)
    try:
        images = harness.publisher("/front/image_raw", Image)
        assert harness.node.start()
        harness.wait_for(lambda: images.get_subscription_count() > 0, "the node to subscribe")
        images.publish(image_message())
        health = harness.node._healths["front"]
        harness.wait_for(lambda: health.received == 1, "the image")
        assert (health.unwanted, health.published) == (1, 0)
    finally:
        harness.close()


def test_compressed_images_give_the_same_geometry(start):
    import cv2

    feed = start(compressed=True)
    feed.send_info()
    message = CompressedImage(format="rgb8; jpeg compressed bgr8")
    message.header.frame_id = "front_optical_frame"
    picture = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    message.data = cv2.imencode(".jpg", picture)[1].tobytes()
    feed.images.publish(message)
    assert feed.depth(1)[0].width == 64
    message.data = message.data[:100]
    feed.images.publish(message)
    feed.wait_for_value("rejected.bad_image", "1")


BAD_FRAMES = {
    "unknown encoding": ({"encoding": "rgb565"}, "bad_image", "rgb565"),
    "zero size": ({"width": 0, "height": 0}, "bad_image", "0x0"),
    "another size than the CameraInfo": ({"width": 100, "height": 60}, "camera_info_mismatch", "200x120"),
    "another frame than the CameraInfo": ({"frame_id": "rear"}, "camera_info_mismatch", "front_optical_frame"),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_a_bad_image_is_counted_and_the_next_good_one_served(start, case):
    changes, reason, words = BAD_FRAMES[case]
    feed = start()
    feed.send_info()
    feed.send(**changes)
    feed.wait_for_value(f"rejected.{reason}", "1")
    assert words in feed.values()["last_error"]
    feed.send()
    assert len(feed.depth(1)) == 1
    assert feed.values()["rejected"] == "1"


def test_a_truncated_image_is_counted_and_the_next_good_one_served(start):
    feed = start()
    feed.send_info()
    image = image_message()
    image.data = image.data[:1000]
    feed.send(image)
    feed.wait_for_value("rejected.bad_image", "1")
    assert "1000 bytes" in feed.values()["last_error"]
    feed.send()
    feed.depth(1)


def test_an_image_without_camera_info_is_refused_until_it_comes(start):
    feed = start()
    feed.send()
    feed.wait_for_value("rejected.no_camera_info", "1")
    feed.harness.wait_for(lambda: feed.status().level == DiagnosticStatus.ERROR or feed.values(), "diagnostics")
    assert "/front/camera_info" in feed.values()["last_error"]
    feed.send_info()
    feed.send()
    feed.depth(1)


def test_a_camera_info_of_zeros_is_refused_and_a_good_one_serves(start):
    feed = start()
    feed.send_info(fx=0.0)
    feed.send()
    feed.wait_for_value("rejected.bad_camera_info", "1")
    assert "not calibrated" in feed.values()["last_error"] or "K" in feed.values()["last_error"]
    feed.infos.publish(camera_info())
    feed.harness.wait_for(lambda: isinstance(feed.calibration(), Calibration), "the good CameraInfo")
    feed.send()
    feed.depth(1)


def test_a_resolution_that_changes_in_mid_stream_is_followed(start):
    feed = start()
    feed.send_info()
    feed.send()
    feed.depth(1)
    feed.infos.publish(camera_info(width=100, height=60, fx=75.0))
    feed.harness.wait_for(lambda: feed.calibration().camera.width == 100, "the new CameraInfo")
    feed.send(width=100, height=60)
    feed.depth(2)
    feed.harness.wait_for(lambda: len(feed.out["/front/depth/camera_info"]) == 2, "the second CameraInfo")
    assert feed.out["/front/depth/camera_info"][1].k[0] == pytest.approx(75 * 0.64)


def test_a_stamp_that_goes_back_is_counted_and_the_frame_served(start):
    feed = start()
    feed.send_info()
    feed.send(stamp=(50, 0))
    feed.depth(1)
    feed.send(stamp=(3, 0))
    assert feed.depth(2)[1].header.stamp.sec == 3
    feed.wait_for_value("time_jumps", "1")


def test_a_camera_that_falls_silent_is_reported_as_stale(start):
    feed = start(stale_after=0.2)
    feed.harness.wait_for(lambda: feed.diagnostics and feed.status().level == DiagnosticStatus.STALE, "STALE")
    assert "no image yet" in feed.status().message


def test_two_cameras_go_through_one_engine(model: Path):
    harness = RosHarness(model=str(model), cameras=["front", "rear"], threads=1)
    try:
        out = {name: harness.collect(f"/{name}/depth/image_rect", Image) for name in ("front", "rear")}
        feeds = {
            name: (
                harness.publisher(f"/{name}/camera_info", CameraInfo),
                harness.publisher(f"/{name}/image_raw", Image),
            )
            for name in out
        }
        assert harness.node.start()
        publishers = [publisher for pair in feeds.values() for publisher in pair]
        harness.wait_until_connected(publishers, [f"/{name}/depth/image_rect" for name in out])
        for name, (infos, _) in feeds.items():
            infos.publish(camera_info(frame_id=f"{name}_optical_frame"))
        harness.wait_for(lambda: all(p._calibration for p in harness.node._ports.values()), "both CameraInfo")
        for name, (_, images) in feeds.items():
            images.publish(image_message(frame_id=f"{name}_optical_frame"))
        harness.wait_for(lambda: all(out.values()), "depth of both cameras")
        for name, messages in out.items():
            assert messages[0].header.frame_id == f"{name}_optical_frame"
    finally:
        harness.close()


@pytest.mark.parametrize("content", [None, b"", b"not a model at all"], ids=["missing", "empty", "foreign"])
def test_a_bad_model_fails_the_transition_with_its_reason(tmp_path: Path, content: bytes | None):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    harness = RosHarness(model=str(path), cameras=["front"], diagnostics_period=0.05)
    try:
        diagnostics = harness.collect("/diagnostics", DiagnosticArray)
        assert harness.node.trigger_configure() == TransitionCallbackReturn.FAILURE
        harness.wait_for(lambda: any(m.status[0].level == DiagnosticStatus.ERROR for m in diagnostics), "ERROR")
        assert "model.onnx" in diagnostics[-1].status[0].message
    finally:
        harness.close()


def test_the_lifecycle_can_be_driven_by_a_supervisor_again_and_again(model: Path):
    harness = RosHarness(model=str(model), cameras=["front"], autostart=False)
    node = harness.node
    success = TransitionCallbackReturn.SUCCESS
    try:
        for _ in range(3):
            assert node.trigger_configure() == success
            assert node.trigger_activate() == success
            assert node.trigger_deactivate() == success
            assert node.trigger_cleanup() == success
        assert node.trigger_shutdown() == success
    finally:
        harness.close()


def test_a_small_step_back_in_time_leaves_tf_alone_and_a_jump_does_not(start):
    feed = start()
    feed.send_info()
    jumps = []
    feed.node._ports["front"]._on_time_jump = lambda: jumps.append(True)
    for count, stamp in enumerate([(50, 0), (49, 900_000_000), (50, 100_000_000), (3, 0)], 1):
        feed.send(stamp=stamp)
        feed.depth(count)
    feed.wait_for_value("time_jumps", "2")
    assert len(jumps) == 1, "two publishers on one topic go back again and again, by less than a second"


def test_an_image_is_seen_through_the_camera_info_of_its_own_stamp(start):
    feed = start()
    for second, fx in ((20, 150.0), (21, 300.0)):  # a zoom lens that moves while the first image waits
        info = camera_info(fx=fx)
        info.header.stamp.sec = second
        feed.infos.publish(info)
    feed.harness.wait_for(lambda: feed.calibration() and feed.calibration().camera.fx == 300.0, "the CameraInfo")
    for count, (second, fx) in enumerate([(20, 150.0), (21, 300.0), (22, 300.0)], 1):
        feed.send(stamp=(second, 0))
        feed.depth(count)
        infos = feed.out["/front/depth/camera_info"]
        feed.harness.wait_for(lambda n=count, infos=infos: len(infos) >= n, "its CameraInfo")
        assert infos[-1].header.stamp.sec == second
        assert infos[-1].k[0] == pytest.approx(fx * 64 / WIDTH, rel=0.2), "scaled to the network's width"
    info = camera_info(fx=200.0)
    info.header.stamp.sec = 1
    feed.infos.publish(info)
    feed.harness.wait_for(lambda: feed.calibration().camera.fx == 200.0, "the CameraInfo after a jump")
    feed.send(stamp=(20, 0))
    feed.depth(4)
    feed.harness.wait_for(lambda: len(infos) >= 4, "its CameraInfo")
    assert infos[-1].k[0] == pytest.approx(infos[1].k[0] * 2 / 3), "nothing of the time before the jump is left"


def test_a_frame_whose_subscriber_has_left_is_not_counted_as_published(model: Path):
    harness = RosHarness(model=str(model), cameras=["front"], threads=1)
    try:
        assert harness.node.start()
        port, health = harness.node._ports["front"], harness.node._healths["front"]
        port._receive_camera_info(camera_info())
        harness.node._inference.put("front", ReceivedImage(image_message(), time.monotonic()))
        harness.wait_for(lambda: health.unwanted + health.published == 1, "the frame to be counted")
        assert health.unwanted == 1
    finally:
        harness.close()
