"""The processes that load samples: one thread each, unmoved by others' signals, and gone when no longer wanted."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import cv2
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from training.distributed import Ranks  # noqa: E402
from training.stream import load_batches  # noqa: E402


class Facts:
    """A fake data set whose samples tell of the process that loads them."""

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return {"facts": torch.tensor([number, os.getpid(), torch.get_num_threads(), cv2.getNumThreads()])}


class Slow:
    """A fake data set, each of whose samples takes so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        time.sleep(self.seconds)
        return {"number": torch.tensor(number)}


def loaded(samples: Any, **options: Any) -> Iterator[dict[str, torch.Tensor]]:
    return load_batches(
        samples, **{"first": 0, "batch_size": 2, "workers": 2, "ranks": Ranks(), "pin_memory": False, **options}
    )


def test_each_loading_process_has_one_thread() -> None:
    found = torch.cat([batch["facts"] for batch in itertools.islice(loaded(Facts()), 4)])
    assert found[:, 0].tolist() == list(range(8))
    assert len(set(found[:, 1].tolist()) - {os.getpid()}) == 2
    assert (found[:, 2:] == 1).all()


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not say who sent a signal")
def test_a_loading_process_ends_at_the_word_of_its_parent_alone() -> None:
    batches = loaded(Facts(), workers=1)
    [pid] = set(next(batches)["facts"][:, 1].tolist())
    [process] = [child for child in multiprocessing.active_children() if child.pid == pid]
    other = multiprocessing.Process(target=os.kill, args=(pid, signal.SIGTERM))
    other.start()
    other.join()
    os.kill(pid, signal.SIGINT)
    # More batches than were loaded ahead.
    assert {next(batches)["facts"][0, 1].item() for _ in range(20)} == {pid}
    process.terminate()
    process.join(timeout=10)
    assert process.exitcode == 0


def test_late_batches_are_waited_for_in_order() -> None:
    batches = loaded(Slow(0.7), workers=1)  # 1.4 s a batch: longer than between two looks at the time
    assert [next(batches)["number"].tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]


def test_a_batch_that_is_given_up_holds_nobody_up() -> None:
    before, start = multiprocessing.active_children(), time.monotonic()
    assert list(loaded(Slow(60.0), given_up=lambda: True)) == []
    assert time.monotonic() - start < 10
    assert [child for child in multiprocessing.active_children() if child not in before] == []


class SlowLater(Slow):
    """A fake data set with one fast batch."""

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return super().__getitem__(number) if number >= 2 else {"number": torch.tensor(number)}


def test_loading_processes_in_the_middle_of_a_batch_end_at_once_with_the_last_one() -> None:
    before = multiprocessing.active_children()
    batches = loaded(SlowLater(60.0))
    assert next(batches)["number"].tolist() == [0, 1]
    start = time.monotonic()
    batches.close()
    assert time.monotonic() - start < 4  # torch alone waits five seconds for each
    assert [child for child in multiprocessing.active_children() if child not in before] == []


def test_an_error_in_a_loading_process_is_the_caller_s() -> None:
    class Broken:
        def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
            raise ValueError(f"sample {number} is broken")

    with pytest.raises(ValueError, match="sample 0 is broken"):
        next(loaded(Broken(), workers=1))
