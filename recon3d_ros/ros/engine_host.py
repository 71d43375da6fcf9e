"""The node's engine: one model, and for each network size that its cameras need an engine of its own."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticStatus

from recon3d_ros.core.model import read_model_info
from recon3d_ros.core.pipeline import Engine, Prediction
from recon3d_ros.core.self_test import read_self_test
from recon3d_ros.engines import EngineError, EngineOptions, model_path, open_engine
from recon3d_ros.engines.fallback import REFERENCE, Progress, fallback_order, label, open_proved, require
from recon3d_ros.ros.diagnostics import key_values
from recon3d_ros.ros.engine_lane import EngineLane
from recon3d_ros.ros.log_forwarding import RosLogHandler
from recon3d_ros.ros.parameters import DepthNodeParameters

STOP_SECONDS = 2.0  # what the builds have to notice that they are not wanted; launch kills a node after 5
# Sizes that get engines; all others are left to ONNX Runtime. A CameraInfo that keeps changing must fill neither
# the GPU nor the diagnostics.
MAX_SIZES = 8
OTHERS = "others"  # what they are called in the diagnostics

Size = tuple[int, int]  # (height, width)


def engine_options(parameters: DepthNodeParameters) -> EngineOptions:
    """Returns the engine that the node's parameters ask for.

    Raises:
        EngineError: if they do not fit together.
    """
    return EngineOptions(
        backend=parameters.backend,
        threads=parameters.threads,
        precision=parameters.precision,
        gpu=parameters.gpu,
        dla_core=parameters.dla_core,
        max_batch=parameters.max_batch or len(parameters.cameras),
        calibration=parameters.calibration,
        cache_dir=parameters.engine_cache,
    )


class EngineHost:
    """An Engine for every size that its model takes, whose inside may change between two batches.

    ONNX Runtime is the reference and the last resort, takes every size, and is loaded once, at once. Engines of
    other run times are built (or taken from the cache) and proved in the background (EngineLane): `configure` does
    not wait for them, since a build takes minutes and would keep the executor, and with it every service and the
    diagnostics, from running. Of a model whose size is free each size is proved by itself: it gets a lane when
    `prepare` first asks for it. Otherwise there is one lane.

    Args:
        model: the one-file model, as recon3d_ros.engines.model_path takes it.
        options: the engine that is asked for.
        serve_while_building: answer with ONNX Runtime until then.
        logger: of the node.

    Raises:
        ModelError: the model file is missing or damaged.
        EngineError: the set-up is broken; see recon3d_ros.engines.fallback.require.
    """

    def __init__(self, model: str, options: EngineOptions, *, serve_while_building: bool, logger: Any) -> None:
        self._path = model_path(model)
        self.info = read_model_info(self._path)
        self._asked = options
        self._serve_while_building = serve_while_building
        self._logger = logger
        self._has_sizes = self.info.has_free_size and options.backend != REFERENCE
        self._lanes: dict[Size | None, EngineLane] = {}  # by size; None where one lane takes every size
        self._others: EngineLane | None = None  # of all sizes beyond MAX_SIZES
        self._is_closed = False
        self._lock = threading.Lock()  # of the lanes: the executor's thread and the inference thread ask for them
        self._turn = threading.Lock()  # to build
        self._log_handler = RosLogHandler(logger)
        self._log_handler.start()
        try:
            self._open()
        except Exception:
            self._log_handler.stop()
            raise

    def _open(self) -> None:
        self._reference = open_engine(self._path, fallback_order(self._asked)[-1])
        if self._asked.backend != REFERENCE:
            require(self._path, self._asked)
            self._test = read_self_test(self._path, self.info)
        if not self._has_sizes:
            self.prepare(self.info.size)

    def prepare(self, size: Size) -> None:
        """Begins to build the engine that images of this (height, width) need, where it is not begun yet."""
        key = size if self._has_sizes else None
        with self._lock:
            if key in self._lanes or self._is_closed:
                return
            if len(self._lanes) < MAX_SIZES:
                asked = dataclasses.replace(self._asked, size=key)
                self._lanes[key] = self._new_lane(f"engine {_text(key)}" if key else "engine", asked)
            elif self._others is None:
                self._others = self._new_lane(OTHERS, fallback_order(self._asked)[-1])
                self._logger.warning(
                    f"{MAX_SIZES} sizes have engines; {_text(size)} and all others are left to ONNX Runtime: set "
                    "network_pixels to 0 for one size"
                )

    def _new_lane(self, name: str, asked: EngineOptions) -> EngineLane:
        return EngineLane(
            name,
            asked,
            self._reference,
            self._prove,
            turn=self._turn,
            serve_while_building=self._serve_while_building,
            logger=self._logger,
        )

    def is_ready(self, size: Size) -> bool:
        """Whether images of this size are answered; once they are, they always are."""
        lane = self._lane(size)
        return lane is not None and lane.is_ready

    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        """Returns the depth of a batch; see recon3d_ros.core.pipeline.Engine.

        Raises:
            EngineError: the engine of this size is still being built, or ONNX Runtime cannot answer either.
        """
        size = images.shape[1:3]
        lane = self._lane(size)
        if lane is None:
            raise EngineError(self.message(size))
        return lane.infer(images, focals)

    def message(self, size: Size) -> str:
        """Returns what the engine of a size does now, in a sentence."""
        lane = self._lane(size)
        return f"no engine was prepared for {_text(size)}" if lane is None else lane.message()

    def report(self) -> DiagnosticStatus:
        """Returns the engines' state: OK as asked, WARN while one is built or replaced by another.

        With one lane its state stands under plain keys, such as `serving`; with more each under its size, such as
        `640x192.serving`; sizes that get no engine of their own share one, `others`.
        """
        with self._lock:
            lanes = {"" if size is None else _text(size): lane for size, lane in self._lanes.items()}
            others = self._others
        values: dict[str, object] = {"asked": label(self._asked)}
        if self._has_sizes:
            values["sizes"] = ", ".join(lanes)
        if others is not None:
            lanes[OTHERS] = others
        messages = []
        for size, lane in lanes.items():
            is_only = len(lanes) == 1
            messages.append(lane.message() if is_only else f"{size}: {lane.message()}")
            values |= {key if is_only else f"{size}.{key}": value for key, value in lane.values().items()}
        is_as_asked = others is None and all(lane.is_as_asked for lane in lanes.values())
        return DiagnosticStatus(
            level=DiagnosticStatus.OK if is_as_asked else DiagnosticStatus.WARN,
            name="recon3d_depth: engine",
            message="; ".join(messages) or "waiting for a CameraInfo, which says what size is needed",
            values=key_values(values),
        )

    def close(self) -> None:
        """Ends the builds and frees the engines; call it when nothing infers any more."""
        with self._lock:
            self._is_closed = True
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for lane in lanes:
            lane.close(max(deadline - time.monotonic(), 0.0))
        self._log_handler.stop()

    def _lane(self, size: Size) -> EngineLane | None:
        return self._lanes.get(size if self._has_sizes else None, self._others)

    def _prove(self, options: EngineOptions, on_progress: Progress) -> Engine:
        return open_proved(self._path, options, self._reference, self._test.at_size(options.size), on_progress)


def _text(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
