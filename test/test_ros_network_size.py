"""The live node with a model of free size: each camera gets a network of its shape, and each size an engine."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")
pytest.importorskip("onnx", reason="onnx, which makes the model of these tests, is not installed")

from conv_models import write_conv_model
from diagnostic_msgs.msg import DiagnosticStatus
from fake_build import FOCAL, MARKED, Drive, FakeBuild
from lifecycle_msgs.msg import Transition
from onnx_models import METRES_PER_FOCAL_PX, METRES_PER_GREY, write_model
from rclpy.lifecycle import TransitionCallbackReturn
from ros_harness import RosHarness
from sensor_msgs.msg import CameraInfo, Image

from recon3d_ros.ros import engine_host
from recon3d_ros.ros.messages import depth_from_msg

WIDE, NARROW = (320, 180), (160, 120)  # (width, height) of 16:9 and 4:3 cameras
# Their networks as (height, width), and fx there: 320 columns are cut to 315, and 448 / 315 is the scale.
OF_WIDE, OF_NARROW = (256, 448), (288, 384)
FX_WIDE, FX_NARROW = FOCAL * 448 / 315, FOCAL * 384 / 160


def depth_of(fx: float, grey: float = 100.0) -> float:
    """Returns what the model answers, metres."""
    return grey * METRES_PER_GREY + fx * METRES_PER_FOCAL_PX


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.onnx", has_free_size=True)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> FakeBuild:
    return FakeBuild().install(monkeypatch)


@pytest.fixture
def drive(model: Path, build: FakeBuild):
    """Makes live nodes with a fake TensorRT and a camera of each size."""
    drives = []

    def make(**settings) -> Drive:
        sizes = settings.pop("sizes", {"front": WIDE, "rear": NARROW})
        drives.append(Drive(model, sizes, cameras=list(sizes), **settings))
        return drives[-1]

    yield make
    build.may_finish.set()
    for made in drives:
        made.harness.close()


def rows_message(camera: str, width: int, height: int) -> Image:
    """Returns an image whose grey is the number of its row."""
    message = Image(width=width, height=height, encoding="mono8", step=width)
    message.header.frame_id = camera
    message.data = np.arange(height, dtype=np.uint8).repeat(width).tobytes()
    return message


def check_outputs(depth: Image, info: CameraInfo, network: tuple[int, int], fx: float, camera_height: int) -> None:
    """Checks an answer to rows_message: its size, its K, and that the first and last rows are in it."""
    assert (depth.height, depth.width) == (info.height, info.width) == network
    assert info.k[0] == pytest.approx(fx)
    edges = (np.array([-0.5, info.height - 0.5]) - info.k[5]) / info.k[4] * FOCAL + camera_height / 2 - 1
    np.testing.assert_allclose(edges, [-0.5, camera_height - 0.5], atol=0.6)
    metres = depth_from_msg(depth)
    assert metres[0].mean() == pytest.approx(depth_of(fx, 0), abs=METRES_PER_GREY)
    assert metres[-1].mean() == pytest.approx(depth_of(fx, camera_height - 1), abs=METRES_PER_GREY)


def test_a_16_9_and_a_4_3_camera_each_get_depth_of_their_shape_and_lose_no_row(model):
    harness = RosHarness(model=str(model), cameras=["front", "rear"], threads=1)
    sizes = {"front": WIDE, "rear": NARROW}
    try:
        depths = {name: harness.collect(f"/{name}/depth/image_rect", Image) for name in sizes}
        infos_out = {name: harness.collect(f"/{name}/depth/camera_info", CameraInfo) for name in sizes}
        infos = {name: harness.publisher(f"/{name}/camera_info", CameraInfo) for name in sizes}
        images = {name: harness.publisher(f"/{name}/image_raw", Image) for name in sizes}
        assert harness.node.start()
        topics = [f"/{name}/depth/{topic}" for name in sizes for topic in ("image_rect", "camera_info")]
        harness.wait_until_connected([*infos.values(), *images.values()], topics)

        def send(name: str, width: int, height: int, count: int) -> None:
            message = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
            message.header.frame_id = name
            message.k = [FOCAL, 0.0, width / 2 - 1, 0.0, FOCAL, height / 2 - 1, 0.0, 0.0, 1.0]
            infos[name].publish(message)
            port = harness.node._ports[name]
            harness.wait_for(lambda: port._calibration and port._calibration.camera.width == width, "CameraInfo")
            images[name].publish(rows_message(name, width, height))
            harness.wait_for(lambda: len(depths[name]) == len(infos_out[name]) == count, f"depth of {name}")

        for name, size in sizes.items():
            send(name, *size, 1)
        check_outputs(depths["front"][0], infos_out["front"][0], OF_WIDE, FX_WIDE, 180)
        check_outputs(depths["rear"][0], infos_out["rear"][0], OF_NARROW, FX_NARROW, 120)
        # The front camera's driver is set to 4:3 while it drives, and back.
        send("front", *NARROW, 2)
        check_outputs(depths["front"][1], infos_out["front"][1], OF_NARROW, FX_NARROW, 120)
        send("front", *WIDE, 3)
        check_outputs(depths["front"][2], infos_out["front"][2], OF_WIDE, FX_WIDE, 180)
    finally:
        harness.close()


def test_engines_are_built_one_after_the_other_for_the_sizes_that_the_cameras_tell(drive, build):
    live = drive()
    assert live.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    live.wait_for_message("waiting for a CameraInfo", DiagnosticStatus.OK)
    assert build.sizes == []
    assert live.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    live.connect()
    live.wait_for_value("448x256.serving", "tensorrt fp16")
    live.wait_for_value("384x288.serving", "tensorrt fp16")
    assert live.values()["sizes"] == "448x256, 384x288"
    assert sorted(build.sizes) == [OF_WIDE, OF_NARROW]
    assert build.most_at_once == 1
    live.wait_for_message("448x256: serving with tensorrt fp16; 384x288: serving with", DiagnosticStatus.OK)
    assert live.depth("front") == pytest.approx(depth_of(FX_WIDE) * MARKED, rel=1e-4)
    assert live.depth("rear") == pytest.approx(depth_of(FX_NARROW) * MARKED, rel=1e-4)
    frames = {engine.info.size: engine.batches[-1][0].shape for engine in build.engines}
    assert frames == {OF_WIDE: (1, *OF_WIDE, 3), OF_NARROW: (1, *OF_NARROW, 3)}


def test_cameras_of_one_size_share_an_engine_whose_state_stands_under_plain_keys(drive, build):
    live = drive(sizes={"front": WIDE, "left": (1920, 1080), "right": WIDE})
    live.start()
    live.wait_for_serving("tensorrt fp16")
    assert build.sizes == [OF_WIDE]
    assert live.values()["sizes"] == "448x256"


def test_a_size_without_an_engine_yet_is_rejected_while_the_other_camera_is_served(drive, build):
    live = drive(sizes={"front": WIDE, "rear": WIDE})
    live.start()
    live.wait_for_serving("tensorrt fp16")
    build.may_finish.clear()
    live.send_info("rear", *NARROW)  # its driver changes the resolution while it drives
    live.wait_for_value("384x288.phase", "build")
    live.send("rear")
    live.wait_for_value("rejected.engine_not_ready", "1", "rear")
    assert "tensorrt fp16: build" in live.values("rear")["last_error"]
    assert live.depth("front") == pytest.approx(depth_of(FX_WIDE) * MARKED, rel=1e-4)
    build.may_finish.set()
    live.wait_for_value("384x288.serving", "tensorrt fp16")
    assert live.depth("rear") == pytest.approx(depth_of(FX_NARROW) * MARKED, rel=1e-4)
    live.send_info("rear", *WIDE)
    assert live.depth("rear") == pytest.approx(depth_of(FX_WIDE) * MARKED, rel=1e-4)
    assert build.sizes == [OF_WIDE, OF_NARROW], "what was built once serves again"
    assert live.values("front")["rejected"] == "0"


def test_onnx_runtime_can_serve_every_size_meanwhile(drive, build):
    build.may_finish.clear()
    live = drive(serve_while_building=True)
    live.start()
    assert live.depth("front") == pytest.approx(depth_of(FX_WIDE), rel=1e-4)
    assert live.depth("rear") == pytest.approx(depth_of(FX_NARROW), rel=1e-4)
    live.wait_for_value("384x288.phase", "waiting for another engine's build")


def test_an_engine_that_cannot_be_built_for_one_size_is_replaced_there_alone(drive, build):
    build.build_error = {OF_NARROW: "the parser refuses Frobnicate"}
    live = drive()
    live.start()
    live.wait_for_value("448x256.serving", "tensorrt fp16")
    live.wait_for_value("384x288.serving", "onnxruntime fp32")
    assert "Frobnicate" in live.values()["384x288.refused.1"]
    assert "448x256.refused.1" not in live.values()
    assert live.depth("front") == pytest.approx(depth_of(FX_WIDE) * MARKED, rel=1e-4)
    assert live.depth("rear") == pytest.approx(depth_of(FX_NARROW), rel=1e-4)


def test_an_engine_that_fails_in_service_at_one_size_is_replaced_there_alone(drive, build):
    live = drive()
    live.start()
    live.wait_for_value("448x256.serving", "tensorrt fp16")
    live.wait_for_value("384x288.serving", "tensorrt fp16")
    build.may_finish.clear()
    build.error, build.error_size = "CUDA error 719", OF_NARROW
    assert live.depth("rear") == pytest.approx(depth_of(FX_NARROW), rel=1e-4)
    live.wait_for_value("384x288.refused.1", "CUDA error 719")
    assert live.values()["448x256.serving"] == "tensorrt fp16"
    assert live.depth("front") == pytest.approx(depth_of(FX_WIDE) * MARKED, rel=1e-4)
    assert live.values("rear")["rejected"] == "0"


def test_a_size_that_fails_costs_no_camera_of_another_its_frames(drive, build):
    live = drive()
    live.start()
    for size in ("448x256", "384x288"):
        live.wait_for_value(f"{size}.serving", "tensorrt fp16")
    engine, may_go = live.node._engine, threading.Event()
    infer, asked = engine.infer, []

    def odd(images, focals):
        asked.append(images.shape[1:3])
        may_go.wait()
        if images.shape[1:3] == OF_NARROW:
            raise MemoryError("out of memory for 384x288")
        return infer(images, focals)

    engine.infer = odd
    live.send("front")
    live.harness.wait_for(lambda: asked, "the engine to be busy")
    for name, count in (("rear", "1"), ("front", "2")):
        live.send(name)
        live.wait_for_value("received", count, name)
    may_go.set()
    live.wait_for_value("rejected.failed", "1", "rear")
    live.wait_for_value("published", "2", "front")
    assert "out of memory for 384x288" in live.values("rear")["last_error"]
    assert asked == [OF_WIDE, OF_NARROW, OF_WIDE]
    assert live.values("front")["rejected"] == "0"


def test_sizes_beyond_the_most_are_left_to_onnx_runtime(drive, build, monkeypatch):
    monkeypatch.setattr(engine_host, "MAX_SIZES", 1)
    live = drive()
    live.start()
    live.wait_for_value("others.serving", "onnxruntime fp32")
    live.wait_for_message("448x256: serving with tensorrt fp16; others: serving with onnx", DiagnosticStatus.WARN)
    assert live.depth("rear") == pytest.approx(depth_of(FX_NARROW), rel=1e-4)
    assert build.sizes == [OF_WIDE]


def test_a_camera_that_keeps_changing_its_size_waits_for_no_build_and_fills_no_diagnostics(
    drive, build, monkeypatch
):
    monkeypatch.setattr(engine_host, "MAX_SIZES", 2)
    live = drive()
    live.start()
    live.wait_for_value("384x288.serving", "tensorrt fp16")
    build.may_finish.clear()
    threads = threading.active_count()
    for width in range(200, 400, 20):
        live.send_info("rear", width, 60)
    assert live.depth("rear") > 0, "a size without an engine is served at once"
    assert threading.active_count() <= threads
    assert live.values()["sizes"] == "448x256, 384x288"
    assert len(live.values()) < 25


def test_cleanup_ends_every_build_and_no_more_than_one_wait_is_spent_on_them(drive, build):
    build.may_finish.clear()
    build.tells_progress = False
    live = drive()
    live.start()
    live.wait_for_value("384x288.phase", "waiting for another engine's build")
    start = time.monotonic()
    live.change(Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
    assert time.monotonic() - start < 1.75 * engine_host.STOP_SECONDS
    build.may_finish.set()
    live.harness.wait_for(
        lambda: not [thread for thread in threading.enumerate() if thread.name == "engine"], "the builders to end"
    )
    assert build.sizes == [OF_WIDE]


@pytest.mark.parametrize("own", [{"network_pixels": 0}, {"rear.network_pixels": 0}])
def test_the_default_size_is_built_at_configure_where_a_camera_is_to_have_it(drive, build, own):
    live = drive(**own)
    assert live.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    live.wait_for_serving("tensorrt fp16")
    assert (build.sizes, live.values()["sizes"]) == ([(32, 64)], "64x32")


def test_a_camera_may_have_pixels_of_its_own(drive, build):
    live = drive(sizes={"front": WIDE, "rear": WIDE}, **{"rear.network_pixels": 4 * 122_880})
    live.start()
    live.wait_for_value("448x256.serving", "tensorrt fp16")
    live.wait_for_value("896x512.serving", "tensorrt fp16")
    assert live.depth("rear") == pytest.approx(depth_of(FOCAL * 896 / 315) * MARKED, rel=1e-4)
    assert (live.depths["rear"][0].width, live.depths["rear"][0].height) == (896, 512)


def test_the_whole_way_with_tensorrt_faked_builds_each_size_once_and_starts_from_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    from fake_cuda import FakeCuda
    from fake_tensorrt import FakeTensorRt

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trt = FakeTensorRt(FakeCuda().install(monkeypatch), "tensorrt", "10.3.0").install(monkeypatch)
    path = write_conv_model(tmp_path / "conv.onnx", has_images=True, has_free_size=True)
    live = Drive(path, {"front": WIDE, "rear": NARROW}, cameras=["front", "rear"], precision="fp32")
    try:
        live.start()
        for start in (1, 2):
            for size in ("448x256", "384x288"):
                live.wait_for_value(f"{size}.serving", "tensorrt fp32")
            assert live.depth("front") > 0 and live.depth("rear") > 0
            built = [config.profile.shapes["image"][0][1:3] for config in trt.builds]
            assert built == [OF_WIDE, OF_NARROW]
            if start == 1:
                live.change(
                    Transition.TRANSITION_DEACTIVATE,
                    Transition.TRANSITION_CLEANUP,
                    Transition.TRANSITION_CONFIGURE,
                    Transition.TRANSITION_ACTIVATE,
                )
                live.connect()
    finally:
        live.harness.close()


def test_openvino_is_proved_at_each_size(model):
    pytest.importorskip("openvino", reason="openvino is not installed")
    sizes = {"front": WIDE, "rear": NARROW}
    live = Drive(model, sizes, cameras=list(sizes), backend="openvino", precision="fp32")
    try:
        live.start()
        for size in ("448x256", "384x288"):
            live.wait_for_value(f"{size}.serving", "openvino fp32")
        assert live.depth("front") == pytest.approx(depth_of(FX_WIDE), rel=1e-4)
        assert live.depth("rear") == pytest.approx(depth_of(FX_NARROW), rel=1e-4)
    finally:
        live.harness.close()
