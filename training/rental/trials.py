"""A few seconds' trials of training steps, so that the training runs in the way that is fastest here."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training.config import TrainConfig
from training.rental.plan import Plan
from training.rental.processes import Note
from training.rental.settings import make_start
from training.stream import Sample
from training.trainer import TrainState, batch_length, build_state, set_train_mode, take_step

BATCHES = {"cuda": (64, 128, 256, 32), "cpu": (4, 2)}
SECONDS_A_TRIAL = {"cuda": 1.5, "cpu": 1.0}
COMPILE_SECONDS = 30.0  # with fewer left, compiling is not tried
# A smaller batch takes more steps: a larger one must be so much faster to be taken.
GAIN = 1.05


@dataclass(frozen=True)
class Trial:
    """A way to run the training's steps, and how fast it was.

    Attributes:
        batch_size: Images.
        channels_last: NHWC in memory, instead of NCHW.
        compile: By torch.compile, instead of eager.
        precision: Of the network's convolutions.
        images_per_second: None where it did not run.
        first_step_seconds: Of the first step, compilation included.
        memory_gb: The most that was in use on the GPU.
        fault: Why it did not run.
    """

    batch_size: int
    channels_last: bool
    compile: bool
    precision: str
    images_per_second: float | None = None
    first_step_seconds: float = 0.0
    memory_gb: float = 0.0
    fault: str = ""

    def settings(self) -> dict[str, Any]:
        """Returns the values of TrainConfig that make this trial."""
        names = ("batch_size", "channels_last", "compile", "precision")
        return {name: getattr(self, name) for name in names}


def run_trials(note: Note, plan: Plan, seconds: float) -> None:
    """Tries one way after another, from eager NHWC on, and keeps what is better; notes "trials".

    Args:
        seconds: In which all trials are to be done; a compiled one may outlast them.
    """
    start = make_start(plan)
    deadline = time.monotonic() + seconds
    done: list[Trial] = []
    note(trials=done)

    longest = 0.0  # of the eager trials

    def measure(trial: Trial) -> Trial:
        nonlocal longest
        note(trials=done, trying=trial)
        print(trial, flush=True)
        begun = time.monotonic()
        done.append(measured(trial, start.config, SECONDS_A_TRIAL[plan.device]))
        note(trials=done, trying=None)
        if not trial.compile:
            longest = max(longest, time.monotonic() - begun)
        return done[-1]

    def seconds_left() -> float:
        return deadline - time.monotonic() - longest

    search(measure, start.config, start.fixed, seconds_left)


def search(
    measure: Callable[[Trial], Trial],
    config: TrainConfig,
    fixed: frozenset[str],
    seconds_left: Callable[[], float],
) -> None:
    """Measures the ways that a machine has time for: one choice after another, the best kept each time.

    Args:
        measure: Runs a trial.
        config: What is not tried.
        fixed: Names of values that are not to be tried but taken as in the config.
        seconds_left: Until no further trial may begin.
    """
    best = measure(Trial(config.batch_size, config.channels_last, config.compile, config.precision))
    for name, values in _choices(config.device):
        for value in values:
            trial = dataclasses.replace(_way(best), **{name: value})
            needed = COMPILE_SECONDS if trial.compile else 0.0
            if name in fixed or _way(best) == trial or seconds_left() <= needed:
                continue
            best = better(best, measure(trial))


def _choices(device: str) -> Iterator[tuple[str, Sequence[Any]]]:
    yield "channels_last", (False,)
    yield "batch_size", BATCHES[device]
    if device == "cuda":
        yield "compile", (True,)
        yield "precision", ("fp32",)


def _way(trial: Trial) -> Trial:
    return Trial(**trial.settings())


def better(one: Trial, other: Trial) -> Trial:
    """Returns the faster of two; a larger batch, or a compiled one, must be faster by more than 5 %."""
    if not other.images_per_second:
        return one
    if not one.images_per_second:
        return other
    needed = 1.0
    if (other.batch_size, other.compile) > (one.batch_size, one.compile):
        needed = GAIN
    elif (other.batch_size, other.compile) < (one.batch_size, one.compile):
        needed = 1 / GAIN
    return other if other.images_per_second > needed * one.images_per_second else one


def fastest(trials: Sequence[Trial]) -> Trial | None:
    """Returns the best of the trials, in the order in which they ran; None where none ran."""
    best: Trial | None = None
    for trial in trials:
        if trial.images_per_second:
            best = trial if best is None else better(best, trial)
    return best


def measured(trial: Trial, config: TrainConfig, seconds: float) -> Trial:
    """Returns a trial with its figures, or with what stopped it."""
    config = dataclasses.replace(
        config, **trial.settings(), initial="", pretrained=False, minutes=0.0, steps=10**9
    )
    on_gpu = config.device == "cuda"
    if on_gpu:
        gc.collect()  # what a trial that failed has left
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        state = build_state(config)
        set_train_mode(state.network, config)
        rate, first = _images_per_second(state, config, seconds)
    except torch.OutOfMemoryError:
        return dataclasses.replace(trial, fault="out of memory")
    except RuntimeError as error:
        return dataclasses.replace(trial, fault=str(error).splitlines()[0][:300])
    memory = torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0
    return dataclasses.replace(trial, images_per_second=rate, first_step_seconds=first, memory_gb=round(memory, 2))


def _images_per_second(state: TrainState, config: TrainConfig, seconds: float) -> tuple[float, float]:
    """Returns the images a second of training steps on one batch, and the seconds of the first step.

    Steps follow each other as in a training, which waits for the device only now and then: here after the last.
    """
    batch = random_batch(config, state.device)

    def wait() -> float:
        if state.device.type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic()

    start = wait()
    take_step(state, batch, config)
    first = wait() - start
    if config.device == "cuda":  # cuDNN and the allocator settle
        take_step(state, batch, config)
        take_step(state, batch, config)
    start, steps = wait(), 0
    while time.monotonic() - start < seconds or steps == 0:
        take_step(state, batch, config)
        steps += 1
    return steps * batch_length(batch) / (wait() - start), first


def random_batch(config: TrainConfig, device: torch.device) -> Sample:
    """Returns a batch of noise in the shape of samples of depth."""
    size = (config.batch_size, config.height, config.width)
    depth = torch.rand(size, device=device) * 78 + 2
    K = torch.tensor([[400.0, 0, config.width / 2], [0, 400.0, config.height / 2], [0, 0, 1]], device=device)
    return {
        "image": torch.randint(0, 256, (*size, 3), dtype=torch.uint8, device=device),
        "depth": depth,
        "valid_mask": depth > 0,
        "K": K.repeat(config.batch_size, 1, 1),
    }
