"""What the fuzz tests share: how many inputs, what an input may cost, and bytes with damage in them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

INPUTS = int(os.environ.get("FUZZ_INPUTS", "500"))  # each test tries a share of this; 'make soak' says 20,000
MAX_CPU_SECONDS = 1.0
MAX_GROWTH_MB = 512


def inputs(share: float) -> Callable[[Any], Any]:
    """Returns the decorator that gives a test its share of the inputs.

    A short run always tries the same inputs, a long one new ones each time.
    """
    return settings(
        max_examples=max(round(INPUTS * share), 1),
        derandomize=INPUTS <= 500,
        deadline=None,  # CPU time is what `bounded` limits; the wall's depends on what else runs
        database=None,
        suppress_health_check=list(HealthCheck),
    )


class InputTooExpensive(BaseException):
    """Raised within an input that takes more CPU time than any may; no `except Exception` on the way hides it."""


@contextmanager
def bounded() -> Iterator[None]:
    """Fails where the block takes more than MAX_CPU_SECONDS of CPU time or MAX_GROWTH_MB of memory."""

    def too_long(_number: int, _frame: object) -> None:
        raise InputTooExpensive(f"took more than {MAX_CPU_SECONDS} s of CPU time")

    previous = signal.signal(signal.SIGPROF, too_long)
    before = _reset_peak_mb()
    signal.setitimer(signal.ITIMER_PROF, MAX_CPU_SECONDS)
    try:
        yield
    except InputTooExpensive as error:  # hypothesis shrinks and shows what raises an Exception
        raise AssertionError(str(error)) from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
    growth = _status_mb("VmHWM") - before
    if growth > MAX_GROWTH_MB:
        raise AssertionError(f"took {growth:.0f} MB, expected at most {MAX_GROWTH_MB}")


def _reset_peak_mb() -> float:
    """Sets the process's peak memory to what it uses now, and returns that."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status_mb("VmRSS")


def _status_mb(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(key)


@st.composite
def damaged(draw: st.DrawFn, contents: list[bytes]) -> bytes:
    """Returns one of the contents with up to six pieces changed, removed, doubled or put in, or its end cut."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.sampled_from((1, 1, 2, 4, 8, 64)))
        kind = draw(st.sampled_from(("change", "change", "insert", "remove", "double", "extreme", "cut")))
        if kind == "change":
            content[place : place + length] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "extreme":
            content[place : place + length] = draw(st.sampled_from((b"\xff", b"\x00", b"\x7f", b"\x80"))) * length
        elif kind == "insert":
            content[place:place] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "remove":
            del content[place : place + length]
        elif kind == "double":
            content[place:place] = content[place : place + length]
        else:
            del content[place:]
    return bytes(content)
