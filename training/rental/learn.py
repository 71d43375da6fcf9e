"""Training as a stage of a rental: it saves each minute, and ends by itself before its deadline."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from training.checkpoints import save_published
from training.compact_state import name_published, read_compact_state, write_compact_state
from training.config import TrainConfig
from training.rental.plan import Plan
from training.rental.processes import Note
from training.rental.settings import Start, base_weights, fitting_workers, make_start
from training.rental.weights import publish, template_of
from training.run_folder import LOG_NAME
from training.stream import SOURCES, Source, parse_source
from training.train import train
from training.trainer import TrainState, build_state

# From the deadline of the steps to that of the stage: to save and to end the loaders.
LEAVING_SECONDS = {"cpu": 2.0, "cuda": 5.0}


def learn(
    note: Note,
    plan: Plan,
    found: Mapping[str, Any],
    forced: Mapping[str, Any],
    seconds: float,
    resume: Path | None,
) -> None:
    """Trains for so many seconds and leaves state and weights.

    Notes "config", the counts of Saver, "losses" (of log.csv), "was_stopped", and where that stopped it
    "out_of_memory", the size of the batch.

    Args:
        found, forced: What is better, and needed, on this machine; see settings.make_start.
        seconds: Until the process must have ended.
        resume: Folder with a state to go on from.
    """
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stops.append(number))
    deadline = time.monotonic() + seconds - LEAVING_SECONDS[plan.device]
    start = make_start(plan, found, forced)
    config = dataclasses.replace(
        start.config, minutes=(deadline - time.monotonic()) / 60, workers=fitting_workers(start.config)
    )
    note(config=dataclasses.asdict(config), is_shipped=start.is_shipped, workers_wanted=start.config.workers)
    sources = open_sources(plan, config)
    base = base_weights(start)
    if resume is None:
        state = build_state(config)
    else:
        state = read_compact_state(resume, base=base, config=config)
    saver = Saver(note, plan, start, config, base, first_samples=state.samples)
    saver(state)  # a full disk shows now, and not after the first minute
    run = plan.work / "run"
    try:
        train(
            config,
            sources,
            run,
            state=state,
            stopped=lambda: bool(stops),
            deadline=deadline,
            on_save=saver,
            save_seconds=plan.save_seconds,
        )
    except torch.OutOfMemoryError as error:
        note(out_of_memory=config.batch_size, is_in_worker="DataLoader worker" in str(error))
        raise
    finally:
        note(losses=read_losses(run / LOG_NAME), was_stopped=bool(stops))


def open_sources(plan: Plan, config: TrainConfig) -> list[Source]:
    """Returns what to train on.

    Raises:
        ValueError: A weight is 0.
    """
    return [parse_source(text, SOURCES[config.task](config)) for text in plan.data]


class Saver:
    """Writes what a rental leaves, while it trains: state in the flat part of the schedule, weights always."""

    def __init__(
        self,
        note: Note,
        plan: Plan,
        start: Start,
        config: TrainConfig,
        base: Mapping[str, torch.Tensor],
        *,
        first_samples: int,
    ) -> None:
        self._note, self._plan, self._start, self._config, self._base = note, plan, start, config, base
        self._first_samples = first_samples
        self._faults: list[str] = []

    def __call__(self, state: TrainState) -> None:
        """Saves; a disk that is full now may have room in a minute, so that training goes on."""
        is_decaying = state.is_decaying(self._config)
        seconds, seen = state.seconds - state.first_seconds, state.samples - self._first_samples
        self._note(
            step=state.step,
            samples=state.samples,
            new_samples=seen,
            train_seconds=round(seconds, 1),
            images_per_second=seen / seconds if seconds > 0 else 0.0,
            decaying=is_decaying,
        )
        try:
            weights = weights_path(self._plan)
            save_published(weights, state.averaged)
            if not is_decaying:
                write_compact_state(self._plan.out, state, self._config, base=self._base)
                self._note(state_step=state.step)
            else:
                name_published(self._plan.out, state.averaged.state_dict())
            publish(self._plan, weights, template_of(self._plan, self._start), samples=state.samples)
            self._note(is_saved=True)
        except (OSError, ValueError, RuntimeError) as error:
            self._faults.append(f"step {state.step}: {error}")
            print(self._faults[-1], flush=True)
            self._note(is_saved=False, save_faults=self._faults)


def weights_path(plan: Plan) -> Path:
    """Returns the file of the averaged weights that later stages judge and publish."""
    return plan.work / "weights.safetensors"


def read_losses(log: Path) -> list[tuple[int, float]]:
    """Returns step and mean loss of up to ten parts of a run's log.csv."""
    try:
        rows = [line.split(",") for line in log.read_text().splitlines()]
        values = [(int(row[0]), float(row[3])) for row in rows]
    except (OSError, ValueError, IndexError):
        return []
    size = max(1, -(-len(values) // 10))
    parts = [values[first : first + size] for first in range(0, len(values), size)]
    return [(part[-1][0], round(sum(loss for _, loss in part) / len(part), 4)) for part in parts]
