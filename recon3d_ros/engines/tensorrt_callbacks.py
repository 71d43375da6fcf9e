"""What TensorRT, of either flavour, calls while it works: a logger that keeps its errors, a progress monitor."""

from __future__ import annotations

import functools
import logging
from collections import deque
from collections.abc import Callable
from types import ModuleType
from typing import Any

Progress = Callable[[str, float], None]  # the phase's name, and how much of it is done, 0 to 1


@functools.cache
def log_of(trt: ModuleType) -> Any:
    """Returns the package's logger, of which a process has one: TensorRT keeps the first that it was given."""

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=10)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))
            elif severity == trt.ILogger.WARNING:  # of the rest a build says a hundred thousand lines
                logging.getLogger(__name__).debug(message)

        def reason(self) -> str:
            return "; ".join(self.errors) or "it gives no reason"

    return Log()


def monitor_of(trt: ModuleType, on_progress: Progress) -> Any:
    """Returns a progress monitor; TensorRT calls it from its own threads, through which no exception may pass."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.error: BaseException | None = None
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            self._tell(phase_name, 0.0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, (step + 1) / max(self._steps.get(phase_name, 1), 1))
            return self.error is None

        def phase_finish(self, phase_name: str) -> None:
            self._tell(phase_name, 1.0)

        def _tell(self, phase_name: str, share: float) -> None:
            if self.error is None:
                try:
                    on_progress(phase_name, min(share, 1.0))
                except BaseException as error:
                    self.error = error

    return Monitor()
