"""The engine of one network size: proved in the background, watched in service, replaced in an explicit order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.pipeline import Engine, Prediction
from recon3d_ros.engines import EngineError, EngineOptions
from recon3d_ros.engines.fallback import (
    REFERENCE,
    Progress,
    Refusal,
    close,
    fallback_order,
    first_proved,
    label,
)
from recon3d_ros.engines.watchdog import Watchdog

LOG_SECONDS = 10.0  # between two lines on a build's progress
TURN_SECONDS = 0.1  # between two looks at whether a build that waits for its turn is still wanted


class _Stopped(Exception):
    """Raised within a build that is no longer wanted."""


@dataclass(frozen=True)
class _Serving:
    """What answers now. Replaced as a whole, so that a batch sees one engine or the other, never a mixture."""

    engine: Engine
    options: EngineOptions
    watchdog: Watchdog | None


class EngineLane:
    """An engine whose inside may change between two batches.

    Where ONNX Runtime is asked for, the reference serves, and that is all. Any other engine is built (or taken
    from the cache) and proved in a thread of its own. Until it is proved the lane is not ready, or the reference
    serves.

    Args:
        name: of the lane in the log, such as "engine 640x192".
        asked: the engine that is asked for, and its size.
        reference: the model in ONNX Runtime, which is the last resort.
        prove: returns an engine of the order that was just proved right; see engines.fallback.open_proved.
        turn: held while a lane builds, so that they build one after the other.
        serve_while_building: answer with the reference until then.
        logger: of the node.
    """

    def __init__(
        self,
        name: str,
        asked: EngineOptions,
        reference: Engine,
        prove: Callable[[EngineOptions, Progress], Engine],
        *,
        turn: threading.Lock,
        serve_while_building: bool,
        logger: Any,
    ) -> None:
        self.name = name
        self.refusals: list[Refusal] = []
        self._asked, self._reference, self._prove, self._turn = asked, reference, prove, turn
        self._logger = logger
        self._preparing, self._phase, self._share = label(asked), "", 0.0
        self._since = self._last_log = time.monotonic()
        self._is_closed = threading.Event()
        self._lock = threading.Lock()  # of the change from one engine to another
        self._thread: threading.Thread | None = None
        self._as_reference = _Serving(reference, fallback_order(asked)[-1], None)
        is_built = asked.backend != REFERENCE
        self._serving = None if is_built and not serve_while_building else self._as_reference
        if is_built:
            self._start(fallback_order(asked))

    @property
    def is_ready(self) -> bool:
        """Whether there is an engine to serve with; once there is one, there always is."""
        return self._serving is not None

    @property
    def is_as_asked(self) -> bool:
        """Whether the engine that was asked for serves."""
        serving = self._serving
        return serving is not None and serving.options == self._asked

    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        """Returns the depth of a batch; see recon3d_ros.core.pipeline.Engine.

        Raises:
            EngineError: the first engine is still being built, or the reference cannot answer either.
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
        refusal = f"; {self.refusals[-1]}" if self.refusals else ""
        return f"serving with {label(serving.options)}{f' until ready: {build}' if build else ''}{refusal}"

    def values(self) -> dict[str, object]:
        """Returns the state for diagnostics, by key."""
        serving = self._serving
        watchdog = serving.watchdog if serving else None
        return {
            "serving": label(serving.options) if serving else "",
            "phase": self._phase,
            "progress": f"{self._share:.2f}" if self._phase else "",
            **{f"refused.{n}": str(refusal) for n, refusal in enumerate(self.refusals, 1)},
            "watchdog.frames": watchdog.frames if watchdog else 0,
            "watchdog.referrals": watchdog.referrals if watchdog else 0,
        }

    def stop(self) -> None:
        """Ends the build at its next progress; what it makes later is not used."""
        self._is_closed.set()

    def close(self, timeout: float) -> None:
        """Stops, waits for the builder for up to `timeout` seconds, and frees the engine; nothing may infer now.

        A builder that does not end in time is left behind: what it makes goes to the cache, and is not used.
        """
        with self._lock:
            self._is_closed.set()
            serving, self._serving = self._serving, None
        if self._thread is not None:
            self._thread.join(timeout)
        if serving is not None:
            close(serving.engine)

    def _start(self, order: tuple[EngineOptions, ...]) -> None:
        self._since = self._last_log = time.monotonic()
        self._phase, self._share = "start", 0.0
        self._thread = threading.Thread(target=self._change_to, args=(order,), name="engine", daemon=True)
        self._thread.start()

    def _change_to(self, order: tuple[EngineOptions, ...]) -> None:
        """Serves with the first engine of the order that is proved right; the last is the reference."""
        try:
            engine, options = self._first_proved(order)
        except _Stopped:
            return
        except Exception as error:  # nothing may end this thread unseen; the reference needs no proof
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
            f"{self.name}: serving with {label(options)}, {time.monotonic() - self._since:.1f} s after start"
        )

    def _first_proved(self, order: tuple[EngineOptions, ...]) -> tuple[Engine, EngineOptions]:
        while not self._turn.acquire(timeout=TURN_SECONDS):
            self._progress("waiting for another engine's build", 0.0)
        try:
            return first_proved(order, self._open, self._refuse)
        finally:
            self._turn.release()

    def _open(self, options: EngineOptions) -> Engine:
        self._preparing = label(options)
        return self._prove(options, self._progress)

    def _progress(self, phase: str, share: float) -> None:
        if self._is_closed.is_set():
            raise _Stopped
        now = time.monotonic()
        if phase != self._phase or now - self._last_log > LOG_SECONDS:
            self._last_log = now
            self._logger.info(f"{self.name}: {self._preparing}: {phase}, {share:.0%}, {now - self._since:.0f} s")
        self._phase, self._share = phase, share

    def _refuse(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)
        self._logger.warning(f"{self.name}: {refusal}")

    def _fall_back(self, serving: _Serving, reason: str) -> None:
        """Serves with the reference from the next batch on, and meanwhile prepares what follows in the order."""
        with self._lock:
            if self._serving is not serving or self._is_closed.is_set():
                return
            self._serving = self._as_reference
        self._refuse(Refusal(label(serving.options), f"in service, {reason}"))
        close(serving.engine)
        order = fallback_order(self._asked)
        self._start(order[order.index(serving.options) + 1 :])
