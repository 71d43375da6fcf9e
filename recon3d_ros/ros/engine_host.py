"""The node's engine: built and proved in the background, watched in service, replaced in an explicit order."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticStatus

from recon3d_ros.core.model import read_model_info
from recon3d_ros.core.pipeline import Engine, Prediction
from recon3d_ros.core.self_test import read_self_test
from recon3d_ros.engines import EngineError, EngineOptions, model_path, open_engine
from recon3d_ros.engines.fallback import (
    REFERENCE,
    Refusal,
    close,
    fallback_order,
    first_proved,
    label,
    open_proved,
    require,
)
from recon3d_ros.engines.watchdog import Watchdog
from recon3d_ros.ros.diagnostics import key_values
from recon3d_ros.ros.log_forwarding import RosLogHandler
from recon3d_ros.ros.parameters import DepthNodeParameters

STOP_SECONDS = 2.0  # what a build has to notice that it is no longer wanted; launch kills a node after 5
LOG_SECONDS = 10.0  # between two lines on a build's progress


class _Stopped(Exception):
    """Raised within a build that is no longer wanted."""


@dataclass(frozen=True)
class _Serving:
    """What answers now. Replaced as a whole, so that a batch sees one engine or the other, never a mixture."""

    engine: Engine
    options: EngineOptions
    watchdog: Watchdog | None


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
    """An Engine whose inside may change between two batches.

    ONNX Runtime is the reference and the last resort, so it is loaded first, at once; with `backend: onnxruntime`
    that is all. Any other engine is built (or taken from the cache) and proved in a thread of its own: `configure`
    does not wait for it, since a build takes minutes and would keep the executor, and with it every service and
    the diagnostics, from running. Until an engine is proved the host is not ready, or ONNX Runtime serves.

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
        self._logger = logger
        self._refusals: list[Refusal] = []
        self._preparing, self._phase, self._share = label(options), "", 0.0
        self._since = self._last_log = time.monotonic()
        self._is_closed = threading.Event()
        self._lock = threading.Lock()  # of the change from one engine to another
        self._thread: threading.Thread | None = None
        self._log_handler = RosLogHandler(logger)
        self._log_handler.start()
        try:
            self._open(serve_while_building)
        except Exception:
            self._log_handler.stop()
            raise

    def _open(self, serve_while_building: bool) -> None:
        options = self._asked
        reference_options = fallback_order(options)[-1]
        self._reference = open_engine(self._path, reference_options)
        self._as_reference = _Serving(self._reference, reference_options, None)
        self._serving: _Serving | None = self._as_reference
        if options.backend == REFERENCE:
            return
        require(self._path, options)
        self._test = read_self_test(self._path, self.info)
        if not serve_while_building:
            self._serving = None
        self._start(fallback_order(options))

    @property
    def is_ready(self) -> bool:
        """Whether there is an engine to serve with; once there is one, there always is."""
        return self._serving is not None

    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        """Returns the depth of a batch; see recon3d_ros.core.pipeline.Engine.

        Raises:
            EngineError: the first engine is still being built, or ONNX Runtime cannot answer either.
        """
        serving = self._serving
        if serving is None:
            raise EngineError(self.message())
        try:
            prediction = serving.engine.infer(images, focals)
            reason = serving.watchdog.look(images, focals, prediction.depth) if serving.watchdog else ""
        except Exception as error:  # whatever a run time raises; a bad batch fails in the reference too
            if serving.watchdog is None:
                raise
            reason = f"it raises {type(error).__name__}: {error}"
        if not reason:
            return prediction
        answer = self._reference.infer(images, focals)  # where this fails too, the engine was not at fault
        self._fall_back(serving, reason)
        return answer

    def message(self) -> str:
        """Returns what the engine does now, in a sentence."""
        serving = self._serving
        build = ""
        if self._phase:
            seconds = time.monotonic() - self._since
            build = f"{self._preparing}: {self._phase}, {self._share:.0%}, {seconds:.0f} s"
        if serving is None:
            return build
        refusal = f"; {self._refusals[-1]}" if self._refusals else ""
        return f"serving with {label(serving.options)}{f' until ready: {build}' if build else ''}{refusal}"

    def report(self) -> DiagnosticStatus:
        """Returns the engine's state: OK as asked, WARN while it is built or replaced by another."""
        serving = self._serving
        is_as_asked = serving is not None and serving.options == self._asked
        watchdog = serving.watchdog if serving else None
        values = {
            "asked": label(self._asked),
            "serving": label(serving.options) if serving else "",
            "phase": self._phase,
            "progress": f"{self._share:.2f}" if self._phase else "",
            **{f"refused.{n}": str(refusal) for n, refusal in enumerate(self._refusals, 1)},
            "watchdog.frames": watchdog.frames if watchdog else 0,
            "watchdog.referrals": watchdog.referrals if watchdog else 0,
        }
        return DiagnosticStatus(
            level=DiagnosticStatus.OK if is_as_asked else DiagnosticStatus.WARN,
            name="recon3d_depth: engine",
            message=self.message(),
            values=key_values(values),
        )

    def close(self) -> None:
        """Ends a build and frees the engine; call it when nothing infers any more.

        A builder that does not stop in time is left behind: what it makes goes to the cache, and is not used.
        """
        with self._lock:
            self._is_closed.set()
            serving, self._serving = self._serving, None
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
        if serving is not None:
            close(serving.engine)
        self._log_handler.stop()

    def _start(self, order: tuple[EngineOptions, ...]) -> None:
        self._since = self._last_log = time.monotonic()
        self._phase, self._share = "start", 0.0
        self._thread = threading.Thread(target=self._change_to, args=(order,), name="engine", daemon=True)
        self._thread.start()

    def _change_to(self, order: tuple[EngineOptions, ...]) -> None:
        """Serves with the first engine of the order that is proved right; the last is ONNX Runtime."""
        try:
            engine, options = first_proved(order, self._prove, self._refuse)
        except _Stopped:
            return
        except Exception as error:  # nothing may end this thread unseen; ONNX Runtime needs no proof
            self._refuse(Refusal(label(self._asked), f"{type(error).__name__}: {error}"))
            engine, options = self._reference, self._as_reference.options
        with self._lock:
            if self._is_closed.is_set():
                close(engine)
                return
            watchdog = None if engine is self._reference else Watchdog(self._reference)
            self._serving = _Serving(engine, options, watchdog)
            self._phase = ""
        self._logger.info(
            f"engine: serving with {label(options)}, {time.monotonic() - self._since:.1f} s after start"
        )

    def _prove(self, options: EngineOptions) -> Engine:
        self._preparing = label(options)
        return open_proved(self._path, options, self._reference, self._test, self._progress)

    def _progress(self, phase: str, share: float) -> None:
        if self._is_closed.is_set():
            raise _Stopped
        now = time.monotonic()
        if phase != self._phase or now - self._last_log > LOG_SECONDS:
            self._last_log = now
            self._logger.info(f"engine: {self._preparing}: {phase}, {share:.0%}, {now - self._since:.0f} s")
        self._phase, self._share = phase, share

    def _refuse(self, refusal: Refusal) -> None:
        self._refusals.append(refusal)
        self._logger.warning(f"engine: {refusal}")

    def _fall_back(self, serving: _Serving, reason: str) -> None:
        """Serves with ONNX Runtime from the next batch on, and meanwhile prepares what follows in the order."""
        with self._lock:
            if self._serving is not serving or self._is_closed.is_set():
                return
            self._serving = self._as_reference
        self._refuse(Refusal(label(serving.options), f"in service, {reason}"))
        close(serving.engine)
        order = fallback_order(self._asked)
        self._start(order[order.index(serving.options) + 1 :])
