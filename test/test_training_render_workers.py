"""Worker processes of the shards' command: none outlives it, and what they had begun is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from training.render.workers import map_in_workers

# Each worker says that it works by a file of its process number, which it removes when it is stopped.
SCRIPT = """
import os, signal, sys, time
from functools import partial
from pathlib import Path
from training.render.workers import map_in_workers

def work(folder, item):
    (folder / str(os.getpid())).touch()
    time.sleep(60)

def tidy(folder):
    (folder / str(os.getpid())).unlink()

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(sys.argv[1])
    list(map_in_workers(partial(work, folder), range(4), workers=2, tidy=partial(tidy, folder)))
"""


def wait_until(condition):
    """Returns whether the condition comes true within 20 s."""
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def is_running(process_id):
    """Returns whether there is a process of this number that is not just waiting to be reaped."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def negative(item):
    return -item


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc to see processes in")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_command_and_tidy_up(tmp_path, number):
    script, folder = tmp_path / "command.py", tmp_path / "work"
    script.write_text(SCRIPT)
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = subprocess.Popen([sys.executable, script, folder], env=environment, stderr=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: len(list(folder.iterdir())) == 2)
        workers = [int(path.name) for path in folder.iterdir()]
        command.send_signal(number)
        assert command.wait(20) != 0
        assert wait_until(lambda: not any(map(is_running, workers)))
        assert list(folder.iterdir()) == []
    finally:
        command.kill()


def test_results_come_in_the_order_of_the_items():
    assert list(map_in_workers(negative, range(5), workers=2, tidy=dict)) == [0, -1, -2, -3, -4]


def test_a_worker_that_is_killed_is_told_and_not_waited_for():
    with pytest.raises(BrokenProcessPool):
        list(map_in_workers(die, range(3), workers=1, tidy=dict))
