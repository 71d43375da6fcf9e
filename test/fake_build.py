"""A live node whose TensorRT is a fake, and the cameras in front of it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fake_engine import FakeEngine
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from onnx_models import expected_depth
from ros_harness import RosHarness
from sensor_msgs.msg import CameraInfo, Image

from recon3d_ros.core.pipeline import Prediction
from recon3d_ros.engines import EngineError, fallback
from recon3d_ros.ros.messages import depth_from_msg

WIDTH, HEIGHT = 64, 32
FOCAL = 150.0
TRUE_DEPTH = 100 * 0.02 + FOCAL * 0.05  # what the model answers to a grey of 100, metres
MARKED = 1.001  # the fakes' factor on the model's depth: within every limit, and can be told


class FakeBuild:
    """Stands in for TensorRT: what it builds, how long that takes, and what each engine answers."""

    def __init__(self) -> None:
        self.may_finish = threading.Event()
        self.may_finish.set()
        self.scale = {"fp32": MARKED, "fp16": MARKED, "bf16": MARKED, "int8": MARKED}
        self.nan_share = 0.0
        self.error = ""
        self.error_size: tuple[int, int] | None = None  # of the engine that raises; None: of all
        self.build_error: dict[str | tuple[int, int], str] = {}  # by precision or (height, width)
        self.built: list[str] = []
        self.sizes: list[tuple[int, int] | None] = []
        self.building = self.most_at_once = 0
        self.engines: list[FakeEngine] = []
        self.was_stopped = False
        self.tells_progress = True
        self.may_answer = threading.Event()
        self.may_answer.set()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeBuild:
        monkeypatch.setattr(fallback, "open_candidate", self.candidate)
        monkeypatch.setattr(fallback, "cached_engine", lambda path, options: None)
        return self

    def candidate(self, path, info, options, on_progress):
        self.built.append(options.precision)
        self.sizes.append(options.size)
        self.building += 1
        self.most_at_once = max(self.most_at_once, self.building)
        try:
            return self._built(info, options, on_progress), None
        finally:
            self.building -= 1

    def _built(self, info, options, on_progress) -> FakeEngine:
        while not self.may_finish.wait(0.02):
            if not self.tells_progress:
                continue
            try:
                on_progress("build", 0.4)
            except BaseException:
                self.was_stopped = True
                raise
        on_progress("build", 1.0)
        for what in (options.precision, options.size):
            if what in self.build_error:
                raise EngineError(self.build_error[what])

        def answer(images, focals) -> Prediction:
            self.may_answer.wait()
            if self.error and self.error_size in (None, options.size):
                raise EngineError(self.error)
            depth = expected_depth(images, focals) * np.float32(self.scale[options.precision])
            depth[:, : round(self.nan_share * depth.shape[1])] = np.nan
            return Prediction(depth)

        height, width = options.size or info.size
        self.engines.append(FakeEngine(answer, height=height, width=width, max_depth=80.0))
        return self.engines[-1]


class Drive:
    """Cameras in front of a live node with a fake TensorRT.

    Args:
        model: of the node.
        sizes: (width, height) of each camera's images; WIDTH x HEIGHT where it is not given.
        parameters: of the node.
    """

    def __init__(self, model: Path, sizes: dict[str, tuple[int, int]] | None = None, **parameters) -> None:
        values = {"backend": "tensorrt", "precision": "fp16", "cameras": ["front"], "diagnostics_period": 0.05}
        self.harness = RosHarness(**{"model": str(model), "threads": 1, **values, **parameters})
        self.node = self.harness.node
        self.cameras = list(self.node.parameters.cameras)
        self.sizes = {name: (WIDTH, HEIGHT) for name in self.cameras} | (sizes or {})
        self.images = {name: self.harness.publisher(f"/{name}/image_raw", Image) for name in self.cameras}
        self.infos = {name: self.harness.publisher(f"/{name}/camera_info", CameraInfo) for name in self.cameras}
        self.depths = {name: self.harness.collect(f"/{name}/depth/image_rect", Image) for name in self.cameras}
        self.diagnostics = self.harness.collect("/diagnostics", DiagnosticArray)

    def start(self) -> None:
        assert self.node.start()
        self.connect()

    def connect(self) -> None:
        """Waits until every topic of the active node is connected, then publishes each camera's CameraInfo."""
        topics = [f"/{name}/depth/image_rect" for name in self.cameras]
        self.harness.wait_until_connected([*self.images.values(), *self.infos.values()], topics)
        for name, size in self.sizes.items():
            self.send_info(name, *size)

    def send_info(self, name: str, width: int, height: int) -> None:
        """Publishes a camera's CameraInfo, from which on its images are of this size."""
        self.sizes[name] = width, height
        message = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
        message.header.frame_id = name
        message.k = [FOCAL, 0.0, width / 2 - 1, 0.0, FOCAL, height / 2 - 1, 0.0, 0.0, 1.0]
        self.infos[name].publish(message)

        def is_known() -> bool:
            known = self.node._ports[name]._calibration
            return known is not None and (known.camera.width, known.camera.height) == (width, height)

        self.harness.wait_for(is_known, "the CameraInfo")

    def change(self, *transitions: int) -> None:
        """Asks for transitions as a supervisor does, so that the node's own thread removes what it waits on."""
        client = self.harness.tester.create_client(ChangeState, "/recon3d_depth/change_state")
        assert client.wait_for_service(10)
        for transition in transitions:
            future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
            self.harness.wait_for(future.done, f"transition {transition}")
            assert future.result().success

    def send(self, *cameras: str) -> None:
        """Publishes a frame of each of the cameras; of all where none is named."""
        for name in cameras or self.cameras:
            width, height = self.sizes[name]
            message = Image(width=width, height=height, encoding="rgb8", step=width * 3)
            message.header.frame_id = name
            message.data = bytes([100]) * (height * width * 3)
            self.images[name].publish(message)

    def depth(self, camera: str = "") -> float:
        """Sends a frame of every camera, or of one; returns the median depth of the first or that one, metres."""
        depths = self.depths[camera or self.cameras[0]]
        count = len(depths)
        self.send(*([camera] if camera else []))
        self.harness.wait_for(lambda: len(depths) > count, "a depth image")
        return float(np.nanmedian(depth_from_msg(depths[-1])))

    def statuses(self) -> dict[str, DiagnosticStatus]:
        """The newest diagnostics by name."""
        found = self.diagnostics[-1].status if self.diagnostics else []
        return {status.name.removeprefix("recon3d_depth: "): status for status in found}

    def values(self, name: str = "engine") -> dict[str, str]:
        status = self.statuses().get(name)
        return {item.key: item.value for item in status.values} if status else {}

    def wait_for_value(self, key: str, words: str, name: str = "engine") -> None:
        self.harness.wait_for(
            lambda: words in self.values(name).get(key, ""),
            f"{name}'s {key} to say '{words}': {self.values(name)}",
        )

    def wait_for_message(self, words: str, level: bytes) -> None:
        def is_said() -> bool:
            status = self.statuses().get("engine")
            return status is not None and words in status.message and status.level == level

        self.harness.wait_for(is_said, f"'{words}'; it says {self.statuses()}")

    def wait_for_serving(self, engine: str) -> None:
        def is_serving() -> bool:
            said = self.values()
            return (said.get("serving"), said.get("phase")) == (engine, "")

        self.harness.wait_for(is_serving, f"{engine} to serve; it says {self.values()}")
