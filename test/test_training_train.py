"""The training loop: it resumes exactly, stops cleanly, and keeps what is good."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_shards import write_toy_shards

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from toy_runs import TINY, a_batch, losses_of, toy_source  # noqa: E402

from training.checkpoints import CheckpointError, load_network, read_checkpoint  # noqa: E402
from training.config import TrainConfig  # noqa: E402
from training.models.depth_network import DepthNetworkConfig  # noqa: E402
from training.stream import Source, shard_source  # noqa: E402
from training.train import main, train  # noqa: E402
from training.trainer import DivergedError  # noqa: E402
from training.validation import VALIDATIONS  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


def test_a_resumed_run_has_the_loss_curve_of_an_uninterrupted_one(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "data")
    train(TINY, [shard_source(folder)], tmp_path / "whole")
    calls = iter(range(100))
    train(TINY, [shard_source(folder)], tmp_path / "parts", stopped=lambda: next(calls) >= 3)
    assert 0 < len(losses_of(tmp_path / "parts")) < TINY.steps
    train(TINY, [shard_source(folder)], tmp_path / "parts", resume=True)
    assert losses_of(tmp_path / "parts") == losses_of(tmp_path / "whole")
    whole, parts = (load_network(tmp_path / run / "last.pt").state_dict() for run in ("whole", "parts"))
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_a_killed_run_goes_on_from_its_checkpoint_with_one_line_a_step(tmp_path) -> None:
    sources = toy_source(tmp_path)
    train(TINY, sources, tmp_path / "whole")
    calls = iter(range(100))
    train(TINY, sources, tmp_path / "killed", stopped=lambda: next(calls) >= 3)
    log = tmp_path / "killed" / "log.csv"
    log.write_text(log.read_text() + "4,16,9.9,7.000000\n5,20,9.9,7.000000\n")  # logged, and lost with the process
    train(TINY, sources, tmp_path / "killed", resume=True)
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")


def test_a_resumed_run_with_workers_and_two_sources_is_the_uninterrupted_one(tmp_path) -> None:
    config = dataclasses.replace(TINY, workers=2, steps=6)
    sources = [*toy_source(tmp_path), shard_source(write_toy_shards(tmp_path / "more", frames=7), 2)]
    train(config, sources, tmp_path / "whole")
    calls = iter(range(100))
    train(config, sources, tmp_path / "parts", stopped=lambda: next(calls) >= 2)
    train(config, sources, tmp_path / "parts", resume=True)
    assert losses_of(tmp_path / "parts") == losses_of(tmp_path / "whole")


def test_a_run_keeps_its_config_beside_its_checkpoint(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "data")
    arguments = f"{folder} --out {tmp_path / 'run'} --encoder tiny --no-pretrained --steps 1 --batch-size 2"
    main([*arguments.split(), "--workers", "0", "--first-height", "32", "--first-width", "64"])
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["network"]["encoder"] == "tiny"
    assert config["steps"] == 1
    assert (tmp_path / "run" / "last.pt").is_file()


def test_a_run_cannot_resume_from_published_weights(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "data")
    checkpoint = train(dataclasses.replace(TINY, steps=1), [shard_source(folder)], tmp_path / "run")
    content = torch.load(checkpoint, weights_only=True)
    del content["training"]
    torch.save(content, checkpoint)
    with pytest.raises(CheckpointError, match="published weights only"):
        train(TINY, [shard_source(folder)], tmp_path / "run", resume=True)


def test_a_checkpoint_of_another_network_is_not_resumed_from(tmp_path) -> None:
    sources = toy_source(tmp_path)
    train(dataclasses.replace(TINY, steps=1), sources, tmp_path / "run")
    other = dataclasses.replace(TINY, network=DepthNetworkConfig(encoder="tiny", decoder_channels=(16, 12, 8, 8)))
    with pytest.raises(CheckpointError, match="not a state of this run's network"):
        train(other, sources, tmp_path / "run", resume=True)


def test_a_run_is_not_written_over(tmp_path, capsys) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.pt").write_bytes(b"hours of work")
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), "--out", str(run)])
    assert ended.value.code == 1
    assert "go on with --resume" in capsys.readouterr().err
    assert (run / "last.pt").read_bytes() == b"hours of work"


def test_a_run_s_folder_that_cannot_be_written_is_named_before_training(tmp_path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(CheckpointError, match="run: the run's folder cannot be written"):
        train(TINY, toy_source(tmp_path), tmp_path / "run")


def test_resuming_on_a_full_disk_loses_neither_configuration_nor_log(tmp_path, monkeypatch) -> None:
    sources, run = toy_source(tmp_path), tmp_path / "run"
    train(dataclasses.replace(TINY, steps=2), sources, run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match=r"run: the run's folder cannot be written .*No space left"):
        train(TINY, sources, run, resume=True)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_the_best_network_on_the_validation_frames_is_kept(tmp_path, monkeypatch) -> None:
    errors = iter([0.5, 0.3, 0.4, 0.35])
    judged = dataclasses.replace(VALIDATIONS["depth"], evaluate=lambda *_, **__: {"abs_rel": next(errors)})
    monkeypatch.setitem(VALIDATIONS, "depth", judged)
    config = dataclasses.replace(TINY, steps=2, checkpoint_minutes=0.0)
    sources, run = toy_source(tmp_path), tmp_path / "run"
    train(config, sources, run, validation=tmp_path / "data")  # 0.5 after step 1, 0.3 after step 2
    best = (run / "best.pt").read_bytes()
    assert best != (run / "last.pt").read_bytes()
    assert read_checkpoint(run / "last.pt")["training"]["best"] == 0.3
    train(dataclasses.replace(config, steps=4), sources, run, validation=tmp_path / "data", resume=True)
    assert (run / "best.pt").read_bytes() == best
    assert read_checkpoint(run / "last.pt")["training"]["best"] == 0.3
    assert load_network(run / "best.pt").config == TINY.network


@contextlib.contextmanager
def running(folder: Path, run: Path) -> Iterator[subprocess.Popen[str]]:
    """A training process with two loading ones, in a group of its own, once it has taken a step."""
    options = "--encoder tiny --no-pretrained --freeze-stride 0 --first-height 32 --first-width 96 --no-board"
    command = [sys.executable, "-m", "training.train", str(folder), "--out", str(run), *options.split()]
    process = subprocess.Popen(
        [*command, "--workers", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        log, deadline = run / "log.csv", time.monotonic() + 60
        while not (log.is_file() and log.stat().st_size > 0) and time.monotonic() < deadline:
            time.sleep(0.1)
            assert process.poll() is None, process.communicate()[0]
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_its_processes_ends_a_run_with_a_checkpoint(tmp_path, number: signal.Signals) -> None:
    run = tmp_path / "run"
    with running(write_toy_shards(tmp_path / "data"), run) as process:
        os.killpg(process.pid, number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert f"stopped: {run / 'last.pt'}" in output
    assert "Traceback" not in output
    assert read_checkpoint(run / "last.pt")["training"]["step"] == len(losses_of(run)) < TrainConfig().steps


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc to find a process's children in")
def test_loading_processes_do_not_outlive_a_killed_run(tmp_path) -> None:
    with running(write_toy_shards(tmp_path / "data"), tmp_path / "run") as process:
        loading = children(process.pid)
        assert len(loading) >= 2
        os.kill(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while any(map(is_alive, loading)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not any(map(is_alive, loading))


def is_alive(pid: int) -> bool:
    """Says whether a process still runs; one that only waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class SpoiledSamples:
    """A fake source: samples whose camera is unknown from number 8 on."""

    def __init__(self, **_: int) -> None:
        self.sample = {name: values[0] for name, values in a_batch().items()}

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return {**self.sample, "K": self.sample["K"] * (torch.nan if number >= 8 else 1.0)}


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(tmp_path) -> None:
    sources, run = [Source(SpoiledSamples)], tmp_path / "run"
    train(dataclasses.replace(TINY, steps=2), sources, run)
    good = (run / "last.pt").read_bytes()
    with pytest.raises(DivergedError, match=r"step 3: loss is nan.* on samples 8 to 11"):
        train(dataclasses.replace(TINY, steps=9), sources, run, resume=True)
    assert (run / "last.pt").read_bytes() == good
    assert len(losses_of(run)) == 2
