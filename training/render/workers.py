"""Worker processes that end with the command that started them, even where it is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_workers(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int, tidy: Callable[[], None]
) -> Iterator[Result]:
    """Yields work(item) for each item in order, done in spawned processes.

    The workers are stopped where the iteration ends early (an error, Ctrl-C), and stop by themselves where this
    process is gone. To be called from the main thread.

    Args:
        tidy: called in a worker that is stopped, whatever it was doing.

    Raises:
        BrokenProcessPool: A worker died, for instance for lack of memory.
    """
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (tidy,))
    # Workers inherit that they ignore Ctrl-C, which the terminal sends to them too.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        results = pool.map(work, items)
    finally:
        signal.signal(signal.SIGINT, previous)
    try:
        yield from results
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(tidy: Callable[[], None]) -> None:
    """Makes a new worker stop when it is told to, and when its parent is gone."""

    def stop(*_: object) -> None:
        tidy()
        # The pool catches SystemExit and would give this process the next item.
        os._exit(1)

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_stop_without_parent, daemon=True).start()


def _stop_without_parent() -> None:
    """Waits for the end of the parent process and then stops this one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
