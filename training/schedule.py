"""The learning rate over a run, and the part of a run's time that its schedule counts."""

from __future__ import annotations

import math
import time
from typing import Protocol

import torch

from training.config import TrainConfig
from training.distributed import Ranks, mean_over_ranks


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Returns the decoder's learning rate: a linear rise, then the schedule's way down to a hundredth."""
    if progress < config.warm_up_part:
        return config.learning_rate * max(progress / config.warm_up_part, 0.01)
    if config.schedule == "flat":
        fall = max(0.0, 1.0 - (1.0 - progress) / config.decay_part)
        return config.learning_rate * (1.0 - 0.99 * fall)
    fall = (progress - config.warm_up_part) / (1.0 - config.warm_up_part)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fall)))


def decays(config: TrainConfig, progress: float) -> bool:
    """Says whether the learning rate falls from here on."""
    return progress >= (1.0 - config.decay_part if config.schedule == "flat" else config.warm_up_part)


class Timed(Protocol):
    """A state of training whose time is kept here: see training.trainer.TrainState."""

    seconds: float
    first_seconds: float


class Clock:
    """Counts the time that a run's steps take, the same on all ranks.

    Time that no step takes does not count: starting the loaders, compiling, validation, saving. So a schedule of
    minutes is one of minutes of training, whatever the machine needs before.
    """

    def __init__(self, state: Timed, config: TrainConfig, ranks: Ranks, deadline: float | None) -> None:
        """Starts paused.

        Args:
            state: Whose `seconds` to count.
            config: Of the run.
            ranks: Rank 0's clock is everybody's.
            deadline: Of time.monotonic, by which the run is to end.
        """
        self._state, self._config, self._ranks, self._deadline = state, config, ranks, deadline
        self._since: float | None = None
        self._read = 0.0

    @property
    def is_paused(self) -> bool:
        return self._since is None

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def pause(self) -> None:
        """Lets no time count until the end of the next step."""
        self._since = None

    def restart(self) -> None:
        """Lets the time since the last step not count."""
        self._since = time.monotonic()

    def count_step(self, *, stop: bool) -> tuple[bool, bool]:
        """Counts the time since the last step, and agrees with the other ranks.

        A schedule that would end after the deadline is shortened there and then, so that its fall still comes: it
        loses what it has not reached yet.

        Args:
            stop: This rank asks for the end.

        Returns:
            Whether to end here, and whether the values of the steps are to be read.
        """
        now, state, config = time.monotonic(), self._state, self._config
        elapsed = 0.0 if self._since is None else now - self._since
        too_long = 0.0
        if self._deadline is not None and config.minutes > 0:
            left = 60 * config.minutes - (state.seconds + elapsed - state.first_seconds)
            too_long = max(0.0, left - (self._deadline - now))
        read = self.is_paused or now - self._read >= config.log_seconds
        own = [elapsed, too_long, float(read)] if self._ranks.is_first else [0.0, 0.0, 0.0]
        agreed = mean_over_ranks([*own, stop or self.is_late], torch.device("cpu"), self._ranks)
        elapsed, too_long = agreed[0] * self._ranks.count, agreed[1] * self._ranks.count
        state.seconds += elapsed
        state.first_seconds -= too_long
        self._since = now
        if agreed[2] > 0:
            self._read = now
        return agreed[3] > 0, agreed[2] > 0
