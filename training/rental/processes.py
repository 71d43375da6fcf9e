"""Stages as processes: one that fails, hangs or crashes ends alone, at its deadline at the latest.

A stage is forked from a process that has imported torch and never used it, so that it starts in milliseconds and
finds a device that nothing has touched. It leads a process group of its own, of which nothing survives it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recon3d_ros.core.atomic_file import write_json

POLL_SECONDS = 0.1
# A stage that was asked to end is killed after so many seconds.
PATIENCE_SECONDS = 15.0

Note = Callable[..., None]


@dataclass(frozen=True)
class Outcome:
    """What became of a stage.

    Attributes:
        name: Of the stage.
        outcome: "done", "failed", "crashed", "timed out", "skipped" or "stopped".
        seconds: That it took.
        reason: Why it is not done; empty where it is.
        result: What it noted, until its end.
    """

    name: str
    outcome: str
    seconds: float = 0.0
    reason: str = ""
    result: dict[str, Any] = field(default_factory=dict)


class StopRequest:
    """Whether this process was asked to end: SIGTERM, or Ctrl-C."""

    def __init__(self) -> None:
        self.is_set = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)

    def _set(self, number: int, frame: object) -> None:
        self.is_set = True


class RunningStage:
    """A stage that has been started."""

    def __init__(self, name: str, work: Callable[..., None], *args: Any, logs: Path) -> None:
        """Starts it.

        Args:
            name: Its output goes to LOGS/NAME.log, and what it notes to LOGS/NAME.json.
            work: Called with a function that notes results (by keyword; each call is on the disk when it
                returns) and with the args.
        """
        logs.mkdir(parents=True, exist_ok=True)
        self.name, self._notes, self._start = name, logs / f"{name}.json", time.monotonic()
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_work, args=(work, args, self._notes, logs / f"{name}.log"))
        self._process.start()

    def wait(self, seconds: float, stop: StopRequest) -> Outcome:
        """Returns what became of it, after `seconds` at the latest; a stop is passed on to it.

        Args:
            seconds: From now on.
        """
        deadline, asked = time.monotonic() + seconds, False
        is_late = False
        while self._process.is_alive() and not is_late:
            self._process.join(POLL_SECONDS)
            if stop.is_set and not asked:
                asked, deadline = True, min(deadline, time.monotonic() + PATIENCE_SECONDS)
                self._signal(signal.SIGTERM)
            is_late = time.monotonic() > deadline and self._process.is_alive()
        self.end()
        status = self._process.exitcode
        result = self._noted()
        error = str(result.pop("error", ""))
        took = time.monotonic() - self._start
        if is_late:
            return Outcome(self.name, "timed out", took, f"was ended after its {seconds:.0f} s", result)
        if asked and status != 0:
            return Outcome(self.name, "stopped", took, "the rental was asked to stop", result)
        if status is not None and status < 0:
            what = f"ended by {signal.Signals(-status).name}; see {self.name}.log in the logs"
            return Outcome(self.name, "crashed", took, what, result)
        if status != 0:
            return Outcome(self.name, "failed", took, error or f"exit status {status}", result)
        return Outcome(self.name, "done", took, result=result)

    def end(self) -> None:
        """Ends what is left of it and of the processes that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # type: ignore[arg-type]
        self._process.kill()  # one that has not come to lead its group yet
        self._process.join()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)  # type: ignore[arg-type]

    def _noted(self) -> dict[str, Any]:
        try:
            noted: dict[str, Any] = json.loads(self._notes.read_text())
        except FileNotFoundError:
            return {}
        return noted


def _work(work: Callable[..., None], args: tuple[Any, ...], notes: Path, log: Path) -> None:
    """Runs a stage in its process."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
    faulthandler.enable()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    noted: dict[str, Any] = {}

    def note(**values: Any) -> None:
        noted.update(values)
        write_json(notes, noted)

    try:
        work(note, *args)
    except Exception as error:
        traceback.print_exc()
        note(error=error_text(error))
        sys.exit(1)


def error_text(error: Exception) -> str:
    """Returns an error in one line; that of a loading process has its own last, after the traceback."""
    lines = f"{type(error).__name__}: {error}".strip().splitlines()
    is_of_worker = len(lines) > 1 and "Caught " in lines[0] and " in DataLoader worker" in lines[0]
    return lines[-1] if is_of_worker else lines[0]


def _end_with_parent() -> None:
    """Ends this process and those that it started once the process that forked it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)
