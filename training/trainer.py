"""A training run's state, and the step that takes it forward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

from training.checkpoints import CheckpointError, load_network, read_checkpoint, save_checkpoint
from training.config import ConfigError, TrainConfig
from training.distributed import Ranks, join_gradients, join_norms, tensor_mean_over_ranks, torch_device
from training.models.efficientnet_lite import EfficientNetLite, load_imagenet_weights
from training.schedule import decays, learning_rate
from training.stream import MixedSamples, Sample, Source, load_batches
from training.tasks import TASKS
from training.updates import Updates, load_optimizer, make_optimizer


class DivergedError(RuntimeError):
    """A loss or a gradient that is not finite."""


@dataclass
class TrainState:
    """Everything that changes while training; what a checkpoint must hold to resume, and where it runs.

    Attributes:
        network: The network in training.
        average: The moving average of its weights.
        optimizer: AdamW, with its moments.
        device: Where they are.
        ranks: This process among those of the run.
        call: What a step calls: the network, or what joins its gradients over the ranks.
        updates: What changes the weights.
        step: Steps taken.
        samples: Samples seen, by all ranks.
        seconds: Time spent on steps.
        first_step, first_seconds: Where the schedule began: 0, unless a run under a new schedule goes on from the
            state of another (training.compact_state).
        last_progress: Progress of the run when the last step was begun, 0..1.
        best: Lowest error on the validation data so far; see training.validation.
    """

    network: nn.Module
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    device: torch.device
    ranks: Ranks
    call: nn.Module
    updates: Updates
    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    first_step: int = 0
    first_seconds: float = 0.0
    last_progress: float = 0.0
    best: float = math.inf

    @property
    def averaged(self) -> nn.Module:
        """The network with averaged weights, in evaluation mode: what a checkpoint publishes."""
        return cast(nn.Module, self.average.module.eval())

    def progress(self, config: TrainConfig) -> float:
        """Returns the part of the run that is done, 0..1."""
        if config.minutes > 0:
            done = (self.seconds - self.first_seconds) / (60 * config.minutes)
        else:
            done = (self.step - self.first_step) / config.steps
        return min(done, 1.0)

    def is_decaying(self, config: TrainConfig) -> bool:
        """Says whether the last step was one at a falling learning rate: a later run goes on from before."""
        return decays(config, self.last_progress)


def build_state(config: TrainConfig, ranks: Ranks | None = None) -> TrainState:
    """Returns the state of a run at its first step.

    Raises:
        CheckpointError: The initial checkpoint is not readable, or of another network.
        ConfigError: The encoder has no ImageNet weights to start from.
        ValueError: The device is not there.
    """
    torch.manual_seed(config.seed)
    network = TASKS[config.task].network(config.network)
    if config.initial:
        initial = load_network(Path(config.initial), config.task)
        if initial.config != config.network:
            raise CheckpointError(
                f"{config.initial}: holds a network of {initial.config}, this run trains {config.network}; "
                "give the options that made it"
            )
        network.load_state_dict(initial.state_dict())
    elif config.pretrained:
        if not isinstance(network.encoder, EfficientNetLite):
            raise ConfigError(
                f"{type(network.encoder).__name__} has no ImageNet weights here; train all of it from scratch "
                "with --no-pretrained --freeze-stride 0"
            )
        load_imagenet_weights(network.encoder)
    return prepare_state(network, config, ranks)


def resume_state(path: Path, config: TrainConfig, ranks: Ranks | None = None) -> TrainState:
    """Returns the state that a checkpoint of the same run holds.

    Raises:
        CheckpointError: It is not readable, or holds no state of such a run.
        ValueError: The device is not there.
    """
    training = read_checkpoint(path).get("training")
    if training is None:
        raise CheckpointError(f"{path}: holds published weights only; a run resumes from its own checkpoint")
    torch.manual_seed(config.seed)
    state = prepare_state(TASKS[config.task].network(config.network), config, ranks)
    try:
        state.network.load_state_dict(training["network"])
        state.average.load_state_dict(training["average"])
        load_optimizer(state.optimizer, training["optimizer"])
        state.step, state.samples = training["step"], training["samples"]
        state.seconds = training["seconds"]
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a state of this run's network and optimiser: {error}") from error
    # Older checkpoints lack these.
    state.best = training.get("best", math.inf)
    state.first_step, state.first_seconds = training.get("first_step", 0), training.get("first_seconds", 0.0)
    state.last_progress = state.progress(config)
    return state


def prepare_state(network: nn.Module, config: TrainConfig, ranks: Ranks | None = None) -> TrainState:
    """Returns the state around a network that holds the weights to start from.

    Raises:
        ValueError: The device is not there.
    """
    ranks = ranks or Ranks()
    device = torch_device(config.device, ranks)
    for module in network.encoder.shallow_modules(config.freeze_stride):
        module.requires_grad_(False)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    network = network.to(device, memory_format=layout)
    join_norms(network, device, ranks)
    average = AveragedModel(network, use_buffers=True)
    optimizer = make_optimizer(network, config)
    updates = Updates(network, average, optimizer, ema_decay=config.ema_decay)
    if config.compile:
        # In place, so that names in checkpoints stay. Each size for itself: torch 2.13 fails at sizes left open.
        network.compile(dynamic=False)
    return TrainState(network, average, optimizer, device, ranks, join_gradients(network, ranks), updates)


def save_state(path: Path, state: TrainState) -> None:
    """Writes a checkpoint with the averaged weights and all that resuming needs."""
    training = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "samples": state.samples,
        "seconds": state.seconds,
        "first_step": state.first_step,
        "first_seconds": state.first_seconds,
        "best": state.best,
    }
    save_checkpoint(path, state.network, weights=state.averaged.state_dict(), training=training)


def set_train_mode(network: nn.Module, config: TrainConfig) -> None:
    """Sets training mode, but for the statistics of a pretrained encoder: they stay those of photographs."""
    network.train()
    frozen = network if config.freeze_norms else network.encoder
    if config.freeze_norms or config.pretrained:
        for module in frozen.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def loss_terms(output: Any, batch: Sample, config: TrainConfig) -> dict[str, Tensor]:
    """Returns the losses of a batch by name: "loss", their weighted sum, and each without its weight.

    Args:
        output: What the network gave; see the task's terms in training.tasks.
        batch: What it was given, and the truth.
        config: Gives the weights.
    """
    weights = {name: getattr(config, f"{name}_weight") for name in TASKS[config.task].losses}
    terms = TASKS[config.task].terms(output, batch, config.network)
    values = {name: terms[name]() for name, weight in weights.items() if weight != 0}
    return {"loss": sum(weights[name] * value for name, value in values.items()), **values}


def batch_length(batch: Sample) -> int:
    """Returns how many samples a batch holds."""
    return len(next(iter(batch.values())))


@dataclass(frozen=True)
class Step:
    """A step that was taken, whose values the device may still be computing.

    Attributes:
        number: Of the step, from 1.
        first_sample, samples: Number of its first sample, and how many it saw.
        seconds: Time spent on this step and all before.
        rate: Learning rate of the decoder.
        names: Of the losses of `loss_terms`, and "gradient_norm" before clipping.
        values: Theirs, as means over the ranks; on the device.
        seed: Of the run.
    """

    number: int
    first_sample: int
    samples: int
    seconds: float
    rate: float
    names: tuple[str, ...]
    values: Tensor
    seed: int


def take_step(state: TrainState, batch: Sample, config: TrainConfig) -> Step:
    """Takes one step of the optimiser on a batch, without waiting for the device.

    Where the loss or a gradient is not finite, weights, moments and statistics stay as they are; `read_steps` says
    so later.
    """
    progress = state.progress(config)
    rate = learning_rate(config, progress)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["rate"]
    batch = {name: value.to(state.device, non_blocking=True) for name, value in batch.items()}
    statistics = state.updates.statistics()
    with torch.autocast(state.device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16"):
        output = state.call(*TASKS[config.task].inputs(batch))
    terms = loss_terms(output, batch, config)
    state.optimizer.zero_grad()
    terms["loss"].backward()
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), config.max_gradient_norm)
    names = (*terms, "gradient_norm")
    values = tensor_mean_over_ranks(torch.stack([*terms.values(), norm]).detach(), state.ranks)
    state.updates.apply(values[0].isfinite() & values[-1].isfinite(), statistics)
    seen = batch_length(batch) * state.ranks.count
    step = Step(state.step + 1, state.samples, seen, state.seconds, rate, names, values, config.seed)
    state.step, state.samples, state.last_progress = state.step + 1, state.samples + seen, progress
    return step


def read_steps(steps: Sequence[Step]) -> Iterator[tuple[Step, dict[str, float]]]:
    """Yields steps with their values by name, once the device has computed all of them.

    Raises:
        DivergedError: A loss or a gradient was not finite; that step changed nothing.
    """
    if not steps:
        return
    for step, row in zip(steps, torch.stack([step.values for step in steps]).tolist(), strict=True):
        values = dict(zip(step.names, row, strict=True))
        if not math.isfinite(values["loss"]) or not math.isfinite(values["gradient_norm"]):
            last = step.first_sample + step.samples - 1
            raise DivergedError(
                f"step {step.number}: loss is {values['loss']}, gradient norm {values['gradient_norm']}, on "
                f"samples {step.first_sample} to {last} of seed {step.seed}; nothing was saved since the "
                "last checkpoint; look at these samples, or lower --learning-rate and --resume"
            )
        yield step, values


def train_step(state: TrainState, batch: Sample, config: TrainConfig) -> dict[str, float]:
    """Takes one step of the optimiser on a batch, and waits for it.

    Returns:
        The losses of `loss_terms` as means over the ranks, and "gradient_norm" before clipping.

    Raises:
        DivergedError: The loss or a gradient is not finite; the weights are as they were before the step.
    """
    [(_, values)] = read_steps([take_step(state, batch, config)])
    return values


def batches(
    sources: Sequence[Source],
    config: TrainConfig,
    state: TrainState,
    *,
    final: bool,
    given_up: Callable[[], bool] = lambda: False,
) -> Iterator[Sample]:
    """Yields this rank's batches from the state's next sample on, at the first or the final size.

    They end only where `given_up` says so while a batch is waited for.
    """
    height, width = (config.height, config.width) if final else (config.first_height, config.first_width)
    pixels = config.batch_size * config.first_height * config.first_width
    yield from load_batches(
        MixedSamples(sources, width=width, height=height, seed=config.seed),
        first=state.samples,
        batch_size=max(1, round(pixels / (height * width))) if final else config.batch_size,
        workers=config.workers,
        ranks=state.ranks,
        pin_memory=state.device.type == "cuda",
        given_up=given_up,
    )
