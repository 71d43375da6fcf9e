"""The live node while its (fake) engine is built, refused, swapped in, and found wrong in service."""

from __future__ import annotations

import importlib.util
import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")
pytest.importorskip("onnx", reason="onnx, which makes the model of these tests, is not installed")

from conv_models import write_conv_model
from diagnostic_msgs.msg import DiagnosticStatus
from fake_build import HEIGHT, MARKED, TRUE_DEPTH, WIDTH, Drive, FakeBuild
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import GetState
from onnx_models import write_model
from rclpy.lifecycle import TransitionCallbackReturn

from recon3d_ros.engines import EngineError, fallback
from recon3d_ros.ros import engine_host

RESTART = (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP, Transition.TRANSITION_CONFIGURE)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> FakeBuild:
    return FakeBuild().install(monkeypatch)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.onnx", height=HEIGHT, width=WIDTH)


@pytest.fixture
def drive(model: Path, build: FakeBuild):
    drives = []

    def make(**parameters) -> Drive:
        drives.append(Drive(model, **parameters))
        return drives[-1]

    yield make
    build.may_finish.set()
    build.may_answer.set()
    for made in drives:
        made.harness.close()


def test_configure_does_not_wait_for_the_build_and_services_answer_meanwhile(drive, build):
    build.may_finish.clear()
    live = drive()
    live.start()
    client = live.harness.tester.create_client(GetState, "/recon3d_depth/get_state")
    assert client.wait_for_service(5)
    future = client.call_async(GetState.Request())
    live.harness.wait_for(future.done, "an answer while the engine is built")
    assert future.result().current_state.label == "active"
    live.wait_for_value("progress", "0.40")
    live.wait_for_message("tensorrt fp16: build, 40%", DiagnosticStatus.WARN)
    build.may_finish.set()
    live.wait_for_serving("tensorrt fp16")
    live.wait_for_message("serving with tensorrt fp16", DiagnosticStatus.OK)


def test_frames_that_come_before_the_engine_are_rejected_counted_and_explained(drive, build):
    build.may_finish.clear()
    live = drive()
    live.start()
    live.wait_for_value("phase", "build")
    live.send()
    live.wait_for_value("rejected.engine_not_ready", "1", "front")
    assert "tensorrt fp16: build" in live.values("front")["last_error"]
    fronts = [s for m in live.diagnostics for s in m.status if s.name.endswith("front")]
    assert DiagnosticStatus.ERROR not in [status.level for status in fronts]
    told = [status.message for status in fronts if status.level == DiagnosticStatus.WARN]
    assert any("the engine is being built: tensorrt fp16: build" in message for message in told)
    build.may_finish.set()
    live.wait_for_serving("tensorrt fp16")
    assert live.depth() == pytest.approx(TRUE_DEPTH * MARKED, rel=1e-5)
    assert len(live.depths["front"]) == 1


def test_onnx_runtime_can_serve_meanwhile_and_the_engine_takes_over_without_a_lost_frame(drive, build):
    build.may_finish.clear()
    live = drive(serve_while_building=True)
    live.start()
    assert live.depth() == pytest.approx(TRUE_DEPTH, rel=1e-5)
    live.wait_for_message("serving with onnxruntime fp32 until ready: tensorrt fp16", DiagnosticStatus.WARN)
    build.may_finish.set()
    live.wait_for_serving("tensorrt fp16")
    assert live.depth() == pytest.approx(TRUE_DEPTH * MARKED, rel=1e-5)
    live.wait_for_value("published", "2", "front")
    assert (live.values("front")["rejected"], live.values("front")["dropped"]) == ("0", "0")


def test_a_wrong_fp16_engine_gives_way_to_fp32_and_it_is_said(drive, build):
    build.scale["fp16"] = 1.05
    live = drive()
    live.start()
    live.wait_for_serving("tensorrt fp32")
    assert build.built == ["fp16", "fp32"]
    live.wait_for_message("tensorrt fp16 is not used", DiagnosticStatus.WARN)
    refused = live.values()["refused.1"]
    assert "tensorrt fp16 is not used" in refused and "mean relative error of depth 0.05" in refused
    assert live.depth() == pytest.approx(TRUE_DEPTH * MARKED, rel=1e-5)


def test_where_no_engine_can_be_built_onnx_runtime_serves_and_every_reason_is_told(drive, build):
    build.build_error = {"fp16": "the parser refuses Frobnicate", "fp32": "out of GPU memory"}
    live = drive()
    live.start()
    live.wait_for_serving("onnxruntime fp32")
    assert "Frobnicate" in live.values()["refused.1"]
    assert "out of GPU memory" in live.values()["refused.2"]
    live.wait_for_message("serving with onnxruntime fp32; tensorrt fp32 is not used", DiagnosticStatus.WARN)
    assert live.depth() == pytest.approx(TRUE_DEPTH, rel=1e-5)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"nan_share": 0.5}, "not finite and positive"),
        ({"scale": {"fp16": 1.6, "fp32": MARKED}}, "scale jumped to 1.6"),
        ({"error": "CUDA error 719"}, "CUDA error 719"),
    ],
    ids=["nan", "scale jump", "raises"],
)
def test_an_engine_that_goes_wrong_in_service_is_replaced_before_its_frame_is_published(
    drive, build, fault, words
):
    live = drive()
    live.start()
    live.wait_for_serving("tensorrt fp16")
    assert live.depth() == pytest.approx(TRUE_DEPTH * MARKED, rel=1e-5)
    build.may_finish.clear()
    for name, value in fault.items():
        setattr(build, name, value)
    # This very frame is answered by ONNX Runtime, which goes on while the next engine of the order is built.
    assert live.depth() == pytest.approx(TRUE_DEPTH, rel=1e-5)
    live.wait_for_value("refused.1", words)
    live.wait_for_message("serving with onnxruntime fp32 until ready: tensorrt fp32: build", DiagnosticStatus.WARN)
    assert live.depth() == pytest.approx(TRUE_DEPTH, rel=1e-5)
    build.nan_share, build.error = 0.0, ""
    build.may_finish.set()
    live.wait_for_serving("tensorrt fp32")
    assert live.depth() == pytest.approx(TRUE_DEPTH * MARKED, rel=1e-5)
    assert live.values("front")["rejected"] == "0"


def test_a_broken_set_up_fails_configure_with_its_reason(drive, monkeypatch):
    def broken(path, options):
        raise EngineError("the driver is for CUDA 11.4, expected 12.0 or newer; update the driver")

    monkeypatch.setattr(fallback, "cached_engine", broken)
    live = drive()
    assert live.node.trigger_configure() == TransitionCallbackReturn.FAILURE
    live.harness.wait_for(
        lambda: live.diagnostics and "CUDA 11.4" in live.diagnostics[-1].status[0].message, "the reason"
    )


@pytest.mark.skipif(Path("/dev/nvidia0").exists() or Path("/dev/nvmap").exists(), reason="there is a GPU here")
@pytest.mark.parametrize(("backend", "words"), [("tensorrt", "not installed"), ("tensorrt_rtx", "driver")])
def test_a_gpu_or_run_time_that_is_not_there_fails_configure_and_says_what_to_do(model, backend, words):
    present = importlib.util.find_spec(backend) is not None
    if present != (backend == "tensorrt_rtx"):
        pytest.skip(f"{backend} is {'' if present else 'not '}installed here")
    live = Drive(model, backend=backend)
    assert live.node.trigger_configure() == TransitionCallbackReturn.FAILURE
    live.harness.wait_for(
        lambda: live.diagnostics and words in live.diagnostics[-1].status[0].message, f"'{words}'"
    )
    assert live.diagnostics[-1].status[0].level == DiagnosticStatus.ERROR
    live.harness.close()


def test_what_the_engines_log_is_in_the_nodes_log_while_it_is_configured(drive, build, capfd):
    live = drive()
    live.start()
    live.wait_for_serving("tensorrt fp16")
    logging.getLogger("recon3d_ros.engines.cache").warning("the file is truncated; it is built anew")
    logging.getLogger("recon3d_ros.engines.cache").info("built in 3 s")
    live.change(Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
    logging.getLogger("recon3d_ros.engines.cache").warning("nobody hears this")
    log = capfd.readouterr().err
    assert "[recon3d_depth]: the file is truncated" in log and "[recon3d_depth]: built in 3 s" in log
    assert "[recon3d_depth]: nobody hears this" not in log


def test_a_precision_that_the_backend_cannot_choose_fails_configure(drive):
    live = drive(backend="onnxruntime")
    assert live.node.trigger_configure() == TransitionCallbackReturn.FAILURE


def test_cleanup_in_mid_build_ends_the_build_and_the_node_can_be_configured_again(drive, build):
    build.may_finish.clear()
    live = drive()
    assert live.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    live.harness.wait_for(lambda: build.built, "the build to begin")
    start = time.monotonic()
    live.change(Transition.TRANSITION_CLEANUP)
    assert build.was_stopped and time.monotonic() - start < 4.0
    assert not [thread for thread in threading.enumerate() if thread.name == "engine"]
    build.may_finish.set()
    live.start()
    live.wait_for_serving("tensorrt fp16")


def test_the_frames_of_several_cameras_go_through_the_engine_in_one_call(drive, build):
    live = drive(cameras=["front", "rear", "left"])
    live.start()
    live.wait_for_serving("tensorrt fp16")
    engine = build.engines[-1]
    assert max(len(images) for images, _ in engine.batches) == 3  # proved at the size that the cameras need
    engine.batches.clear()
    build.may_answer.clear()
    live.send("front")
    live.harness.wait_for(lambda: engine.batches, "the engine to be busy with one frame")
    live.send("left", "front", "rear")
    for name, count in (("front", "2"), ("rear", "1"), ("left", "1")):
        live.wait_for_value("received", count, name)
    build.may_answer.set()
    live.harness.wait_for(lambda: all(live.depths.values()), "a depth image of each camera")
    assert [len(images) for images, _ in engine.batches] == [1, 3]


def test_a_builder_that_does_not_stop_is_left_behind_and_what_it_makes_never_serves(drive, build, monkeypatch):
    monkeypatch.setattr(engine_host, "STOP_SECONDS", 0.1)
    build.may_finish.clear()
    build.tells_progress = False
    live = drive()
    assert live.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    live.harness.wait_for(lambda: build.built, "the build to begin")
    host = live.node._engine
    live.change(Transition.TRANSITION_CLEANUP)
    build.may_finish.set()
    live.harness.wait_for(
        lambda: not [t for t in threading.enumerate() if t.name == "engine"], "the builder to end"
    )
    assert not host.is_ready((HEIGHT, WIDTH))


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Our own engine, cache and proof over a TensorRT and a GPU that are fakes."""
    from fake_cuda import FakeCuda
    from fake_tensorrt import FakeTensorRt

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return FakeTensorRt(FakeCuda().install(monkeypatch), "tensorrt", "10.3.0").install(monkeypatch)


@pytest.fixture
def conv_model(tmp_path: Path) -> Path:
    return write_conv_model(tmp_path / "conv.onnx", has_images=True)


def test_the_whole_way_with_tensorrt_faked_builds_once_proves_and_starts_from_the_cache(trt, conv_model):
    live = Drive(conv_model, cameras=["front", "rear"])
    try:
        live.start()
        live.wait_for_serving("tensorrt fp16")
        assert live.depth() > 0
        live.change(*RESTART)
        live.wait_for_serving("tensorrt fp16")
        live.wait_for_message("serving with tensorrt fp16", DiagnosticStatus.OK)
        assert len(trt.builds) == 1
    finally:
        live.harness.close()


def test_an_engine_whose_output_stays_zero_never_serves_and_is_not_built_again(trt, conv_model, monkeypatch):
    monkeypatch.setattr("fake_tensorrt.Context._run", lambda context: None)
    live = Drive(conv_model)
    try:
        live.start()
        live.wait_for_serving("onnxruntime fp32")
        assert "not finite and positive" in live.values()["refused.1"]
        assert "tensorrt fp32 is not used" in live.values()["refused.2"]
        assert len(trt.builds) == 2
        live.change(*RESTART)
        live.wait_for_value("refused.1", "failed its check when it was built")
        live.wait_for_serving("onnxruntime fp32")
        assert len(trt.builds) == 2
    finally:
        live.harness.close()


DEAF_BUILD = """
import sys, time
from recon3d_ros.engines import fallback
from recon3d_ros.ros.depth_node import main

def candidate(path, info, options, on_progress):
    on_progress("build", 0.1)
    time.sleep(600)  # a builder deep in native code, which hears nothing

fallback.cached_engine = lambda path, options: None
fallback.open_candidate = candidate
sys.exit(main())
"""


def test_ctrl_c_in_mid_build_ends_the_node_though_the_builder_does_not_listen(model, tmp_path):
    log = tmp_path / "node.log"
    parameters = ["-p", f"model:={model}", "-p", "backend:=tensorrt", "-p", "precision:=fp16"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", DEAF_BUILD, "--ros-args", *parameters], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 30
        while not all(words in log.read_text() for words in ("fp16: build", "configured")):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        time.sleep(1.0)  # to be active
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()
