"""The processes that load a run's samples: one thread each, and only the training process ends them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

POLL_SECONDS = 1.0  # between two looks at whether a batch is still wanted
GRACE_SECONDS = 0.5  # for a process to end by itself


def prepare_worker(_: int, *, parent: int) -> None:
    """Makes this process a loader of samples.

    Ctrl-C in a terminal, torchrun and batch systems signal the whole group of processes. The training process then
    finishes its step and saves, and for that it needs its loaders: they leave when it says so, or when it is gone
    (the data loader looks for it every five seconds).

    Args:
        parent: Process id of the training process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # macOS lacks it: SIGTERM ends the loaders there
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_for, args=(parent,), daemon=True).start()
    # As many processes as cores, each with as many threads as cores, would only wait for each other.
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _end_for(parent: int) -> None:
    """Ends this process at a SIGTERM from the parent; one from anybody else is ignored."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Holds SIGINT and SIGTERM back, so that a worker that is being started does not die of them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Loader(Iterator[Any]):
    """The batches of a torch DataLoader whose processes can be waited for in turns, and end soon.

    With processes, `next` raises an error (`is_timeout`) each POLL_SECONDS without a batch; call it again.
    """

    def __init__(self, samples: Any, *, workers: int, **options: Any) -> None:
        """Starts the processes.

        Args:
            samples: The data set.
            workers: How many processes; 0 loads in this one.
            options: Of torch's DataLoader.
        """
        if workers:
            options["worker_init_fn"] = partial(prepare_worker, parent=os.getpid())
            options["timeout"] = POLL_SECONDS
        others = multiprocessing.active_children()
        # A forked process that sets the number of OpenCV's threads waits for ever for those that its parent had.
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        with _signals_held():
            self._batches: Iterator[Any] | None = iter(DataLoader(samples, num_workers=workers, **options))
        cv2.setNumThreads(threads)
        self._processes = [child for child in multiprocessing.active_children() if child not in others]

    def __next__(self) -> Any:
        if self._batches is None:
            raise StopIteration
        return next(self._batches)

    def close(self) -> None:
        """Ends the processes, those in the middle of a batch too."""
        # The DataLoader, which ends with its last reference, waits five seconds for each process that is busy.
        ending = threading.Timer(GRACE_SECONDS, lambda: [process.terminate() for process in self._processes])
        ending.daemon = True
        ending.start()
        self._batches = None


def is_timeout(error: RuntimeError) -> bool:
    """Says whether an error of `next` means that a batch is late, rather than that it will never come."""
    return "DataLoader timed out" in str(error)  # torch has no class for it
