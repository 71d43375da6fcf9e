"""A training run's state, and the step that takes it forward."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.checkpoints import CheckpointError, load_network, read_checkpoint, save_checkpoint
from training.config import ConfigError, TrainConfig
from training.distributed import Ranks, join_gradients, join_norms, mean_over_ranks, torch_device
from training.models.efficientnet_lite import EfficientNetLite, load_imagenet_weights
from training.stream import MixedSamples, Sample, Source, load_batches
from training.tasks import TASKS


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
        step: Steps taken.
        samples: Samples seen, by all ranks.
        seconds: Time spent on steps.
        best: Lowest error on the validation data so far; see training.validation.
    """

    network: nn.Module
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    device: torch.device
    ranks: Ranks
    call: nn.Module
    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    best: float = math.inf

    @property
    def averaged(self) -> nn.Module:
        """The network with averaged weights, in evaluation mode: what a checkpoint publishes."""
        return cast(nn.Module, self.average.module.eval())

    def progress(self, config: TrainConfig) -> float:
        """Returns the part of the run that is done, 0..1."""
        done = self.seconds / (60 * config.minutes) if config.minutes > 0 else self.step / config.steps
        return min(done, 1.0)


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
    return _prepare(network, config, ranks or Ranks())


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
    state = _prepare(TASKS[config.task].network(config.network), config, ranks or Ranks())
    try:
        state.network.load_state_dict(training["network"])
        state.average.load_state_dict(training["average"])
        state.optimizer.load_state_dict(training["optimizer"])
        state.step, state.samples = training["step"], training["samples"]
        state.seconds = training["seconds"]
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a state of this run's network and optimiser: {error}") from error
    state.best = training.get("best", math.inf)  # older checkpoints lack it
    return state


def _prepare(network: nn.Module, config: TrainConfig, ranks: Ranks) -> TrainState:
    """Returns the state around a network that holds the weights to start from."""
    device = torch_device(config.device, ranks)
    for module in network.encoder.shallow_modules(config.freeze_stride):
        module.requires_grad_(False)
    network = network.to(device, memory_format=torch.channels_last)  # 1.4 times as fast on a CPU
    join_norms(network, device, ranks)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True)
    encoder = [p for p in network.encoder.parameters() if p.requires_grad]
    others = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
    optimizer = torch.optim.AdamW(
        [{"params": encoder, "rate": config.encoder_rate}, {"params": others, "rate": 1.0}],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    if config.compile:
        # In place, so that names in checkpoints stay. Each size for itself: torch 2.13 fails at sizes left open.
        network.compile(dynamic=False)
    return TrainState(network, average, optimizer, device, ranks, join_gradients(network, ranks))


def save_state(path: Path, state: TrainState) -> None:
    """Writes a checkpoint with the averaged weights and all that resuming needs."""
    training = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "samples": state.samples,
        "seconds": state.seconds,
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


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Returns the decoder's learning rate: a linear rise, then half a cosine down to a hundredth."""
    if progress < config.warm_up_part:
        return config.learning_rate * max(progress / config.warm_up_part, 0.01)
    fall = (progress - config.warm_up_part) / (1.0 - config.warm_up_part)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fall)))


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


def train_step(state: TrainState, batch: Sample, config: TrainConfig) -> dict[str, float]:
    """Takes one step of the optimiser on a batch.

    Returns:
        The losses of `loss_terms` as means over the ranks, and "gradient_norm" before clipping.

    Raises:
        DivergedError: The loss or a gradient is not finite; the weights are as they were before the step.
    """
    rate = learning_rate(config, state.progress(config))
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["rate"]
    batch = {name: value.to(state.device, non_blocking=True) for name, value in batch.items()}
    with torch.autocast(state.device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16"):
        output = state.call(*TASKS[config.task].inputs(batch))
    terms = loss_terms(output, batch, config)
    state.optimizer.zero_grad()
    terms["loss"].backward()
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), config.max_gradient_norm)
    reduced = mean_over_ranks(torch.stack([*terms.values(), norm]).detach(), state.device, state.ranks)
    values = dict(zip([*terms, "gradient_norm"], reduced, strict=True))
    seen = batch_length(batch) * state.ranks.count
    if not math.isfinite(values["loss"]) or not math.isfinite(values["gradient_norm"]):
        last = state.samples + seen - 1
        raise DivergedError(
            f"step {state.step + 1}: loss is {values['loss']}, gradient norm {values['gradient_norm']}, on "
            f"samples {state.samples} to {last} of seed {config.seed}; nothing was saved since the "
            "last checkpoint; look at these samples, or lower --learning-rate and --resume"
        )
    state.optimizer.step()
    state.average.update_parameters(state.network)
    state.step += 1
    state.samples += seen
    return values


def batches(sources: Sequence[Source], config: TrainConfig, state: TrainState, *, final: bool) -> Iterator[Sample]:
    """Yields this rank's batches from the state's next sample on, at the first or the final size, without end."""
    height, width = (config.height, config.width) if final else (config.first_height, config.first_width)
    pixels = config.batch_size * config.first_height * config.first_width
    yield from load_batches(
        MixedSamples(sources, width=width, height=height, seed=config.seed),
        first=state.samples,
        batch_size=max(1, round(pixels / (height * width))) if final else config.batch_size,
        workers=config.workers,
        ranks=state.ranks,
        pin_memory=state.device.type == "cuda",
    )
