"""The learning rate over a run, which time counts, and when a run ends and hands out its state."""

from __future__ import annotations

import dataclasses
import time
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from toy_runs import TINY, a_batch, losses_of, toy_source  # noqa: E402

from training.checkpoints import read_checkpoint  # noqa: E402
from training.config import ConfigError, TrainConfig  # noqa: E402
from training.distributed import Ranks  # noqa: E402
from training.schedule import Clock, decays, learning_rate  # noqa: E402
from training.stream import Source  # noqa: E402
from training.train import train  # noqa: E402
from training.trainer import TrainState  # noqa: E402

FLAT = dataclasses.replace(TINY, schedule="flat", decay_part=0.3, warm_up_part=0.1, steps=10, first_part=1.0)


def test_a_flat_schedule_rises_stays_and_falls_to_a_hundredth() -> None:
    rates = [learning_rate(FLAT, progress) / FLAT.learning_rate for progress in (0.05, 0.1, 0.5, 0.7, 0.85, 1.0)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 1.0, 0.505, 0.01])
    assert [decays(FLAT, progress) for progress in (0.05, 0.69, 0.71)] == [False, False, True]


@pytest.mark.parametrize("part", [0.0, 0.95, -1.0])
def test_a_decay_that_does_not_fit_is_refused(part: float) -> None:
    with pytest.raises(ConfigError, match=rf"decay_part is {part}, expected more than 0 and at most 0\.9"):
        dataclasses.replace(FLAT, decay_part=part)
    with pytest.raises(ConfigError, match="schedule is 'steps'"):
        TrainConfig(schedule="steps")


class Time:
    """A fake clock of the module that a test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("training.schedule.time", SimpleNamespace(monotonic=lambda: self.now))


def make_clock(config: TrainConfig, deadline: float | None = None) -> tuple[SimpleNamespace, Clock]:
    state = SimpleNamespace(seconds=5.0, first_seconds=0.0)
    return state, Clock(state, config, Ranks(), deadline)


def test_neither_the_first_step_after_a_pause_nor_what_lies_between_steps_counts(monkeypatch) -> None:
    clock_time = Time(monkeypatch)
    state, clock = make_clock(dataclasses.replace(TINY, minutes=1.0))
    clock_time.now += 70.0  # workers start, a compiler compiles
    clock.count_step(stop=False)
    assert state.seconds == 5.0
    clock_time.now += 0.5
    clock.count_step(stop=False)
    assert state.seconds == 5.5
    clock_time.now += 30.0  # validation
    clock.restart()
    clock_time.now += 0.25
    clock.count_step(stop=False)
    assert state.seconds == 5.75
    clock.pause()
    clock_time.now += 40.0
    clock.count_step(stop=False)
    assert state.seconds == 5.75


def test_losses_are_read_after_a_pause_and_then_at_times(monkeypatch) -> None:
    clock_time = Time(monkeypatch)
    _, clock = make_clock(dataclasses.replace(TINY, log_seconds=1.0))
    reads = []
    for _ in range(7):
        clock_time.now += 0.4
        reads.append(clock.count_step(stop=False)[1])
    assert reads == [True, False, False, True, False, False, True]


def test_a_schedule_that_would_outlast_the_deadline_is_shortened_at_once(monkeypatch) -> None:
    clock_time = Time(monkeypatch)
    config = dataclasses.replace(FLAT, minutes=1.0)  # 60 s, of which 18 decay
    state, clock = make_clock(config, deadline=1100.0)
    state.first_seconds = 5.0
    clock_time.now = 1052.0  # lost before the first step: 48 s are left, so 12 s of the schedule go
    assert clock.count_step(stop=False) == (False, True)
    assert state.seconds - state.first_seconds == pytest.approx(12.0)
    clock_time.now = 1099.9
    assert clock.count_step(stop=False)[0] is False
    assert (state.seconds - state.first_seconds) / 60 == pytest.approx(1.0, abs=0.01)
    clock_time.now = 1100.0
    assert clock.count_step(stop=False)[0] is True


class Timed:
    """A fake source whose samples take 0.1 s of a fake clock, and the first at each size 100 s."""

    clock: Time

    def __init__(self, *, width: int, height: int, seed: int) -> None:
        self.sample = {name: values[0] for name, values in a_batch().items()}
        self.seconds = 100.0

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        self.clock.now += self.seconds
        self.seconds = 0.1
        return self.sample


def test_minutes_of_training_do_not_start_before_the_steps(tmp_path, monkeypatch) -> None:
    Timed.clock = Time(monkeypatch)
    # Two samples a step, and one at the final size.
    config = dataclasses.replace(TINY, minutes=1.86 / 60, first_part=0.5, batch_size=2)
    train(config, [Source(Timed)], tmp_path / "run")
    seconds = [float(line.split(",")[2]) for line in (tmp_path / "run" / "log.csv").read_text().splitlines()]
    first, final = [0.2 * i for i in range(6)], [1.0 + 0.1 * i for i in range(10)]
    assert seconds == pytest.approx([*first, *final], abs=0.06)


def test_a_deadline_leaves_time_for_the_decay(tmp_path, monkeypatch) -> None:
    Timed.clock = Time(monkeypatch)
    config = dataclasses.replace(FLAT, minutes=12.0 / 60, batch_size=5)  # half a second a step
    states: list[tuple[float, bool]] = []

    def note(state: TrainState) -> None:
        states.append((state.seconds, state.is_decaying(config)))

    # Of the 12 s some 3.6 decay. After the first step there are 6 left, so that 2.4 stay flat.
    train(config, [Source(Timed)], tmp_path / "run", deadline=1000.0 + 100.4 + 6.0, on_save=note)
    assert states == [(pytest.approx(2.5, abs=0.51), False), (pytest.approx(6.0, abs=0.51), True)]


class Never:
    """A fake source that no sample comes from in time."""

    def __init__(self, *, width: int, height: int, seed: int) -> None:
        pass

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        time.sleep(60.0)
        return {}


@pytest.mark.parametrize("config", [TINY, dataclasses.replace(TINY, minutes=600.0)])
def test_a_deadline_ends_a_run_that_waits_for_samples(tmp_path, config: TrainConfig) -> None:
    start, states = time.monotonic(), []
    config = dataclasses.replace(config, workers=1)
    train(config, [Source(Never)], tmp_path / "run", deadline=start + 1.5, on_save=states.append)
    assert 1.5 <= time.monotonic() - start < 15
    assert read_checkpoint(tmp_path / "run" / "last.pt")["training"]["step"] == 0
    assert len(states) == 1


def saves(config: TrainConfig, tmp_path, **options) -> list[tuple[int, bool]]:
    found: list[tuple[int, bool]] = []
    train(
        config,
        toy_source(tmp_path),
        tmp_path / "run",
        on_save=lambda state: found.append((state.step, state.is_decaying(config))),
        **options,
    )
    return found


def test_a_state_is_handed_out_at_the_end_of_the_flat_part_and_of_the_run(tmp_path) -> None:
    assert saves(FLAT, tmp_path) == [(7, False), (10, True)]


def test_a_state_is_handed_out_at_each_so_many_seconds(tmp_path) -> None:
    found = saves(FLAT, tmp_path, save_seconds=0.0)
    assert found == [(step, step > 7) for step in range(1, 11)] + [(10, True)]


def test_a_stopped_run_hands_its_state_out(tmp_path) -> None:
    calls = iter(range(100))
    assert saves(FLAT, tmp_path, stopped=lambda: next(calls) >= 3) == [(3, False)]
    assert len(losses_of(tmp_path / "run")) == 3
