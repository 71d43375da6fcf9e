"""One training run: its configuration, its state, and the step that takes it forward."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from training import losses
from training.checkpoints import CheckpointError, load_network, read_checkpoint, save_checkpoint
from training.datasets import TrainingSamples
from training.models.depth_network import DepthNetwork, DepthNetworkConfig
from training.models.efficientnet_lite import EfficientNetLite, load_imagenet_weights


@dataclass(frozen=True)
class TrainConfig:
    """What a run does. It is saved as config.json beside the checkpoints.

    A run ends after `steps`, or after `minutes` where that is more than 0 (the schedule then follows time).

    Attributes:
        network: The network's configuration.
        pretrained: Start the encoder from its ImageNet weights.
        initial: Checkpoint whose weights the run starts from, instead; its network must be of the same kind.
        compile: Let torch.compile fuse the network's operations: a minute more at the start, then faster.
        freeze_stride: Encoder layers up to this stride keep those weights; 0 trains all of them. They know
            real photographs, which rendered images are not, and frozen ones cost no backward pass.
        first_height, first_width: Size of the crops at first.
        height, width: Size of the crops at the end: the network's input.
        first_part: Part of the run at the first size.
        batch_size: Samples a step at the first size; at the final one fewer, for the same number of pixels.
        learning_rate: Of the decoder, at the peak of the schedule.
        encoder_rate: The encoder's learning rate, as a part of the decoder's.
        weight_decay: Of AdamW.
        warm_up_part: Part of the run over which the learning rate rises.
        max_gradient_norm: Gradients are clipped to it.
        ema_decay: Of the moving average of the weights, which is what a checkpoint publishes.
        gradient_weight: Of the multi-scale gradient loss, beside silog and log-L1.
        error_weight: Of the likelihood that trains the confidence.
        checkpoint_minutes: Time between two checkpoints.
        validation_frames: How many frames of the validation folder are looked at with each checkpoint.
        workers: Processes that load data.
        seed: Of weights and data.
    """

    network: DepthNetworkConfig = field(default_factory=DepthNetworkConfig)
    pretrained: bool = True
    initial: str = ""
    compile: bool = False
    freeze_stride: int = 4
    first_height: int = 128
    first_width: int = 416
    height: int = 192
    width: int = 640
    first_part: float = 0.65
    batch_size: int = 4
    steps: int = 10_000
    minutes: float = 0.0
    learning_rate: float = 8e-4
    encoder_rate: float = 0.3
    weight_decay: float = 1e-2
    warm_up_part: float = 0.03
    max_gradient_norm: float = 1.0
    ema_decay: float = 0.998
    gradient_weight: float = 0.25
    error_weight: float = 0.1
    checkpoint_minutes: float = 5.0
    validation_frames: int = 50
    workers: int = 1
    seed: int = 1


@dataclass
class TrainState:
    """Everything that changes while training; what a checkpoint must hold to resume."""

    network: DepthNetwork
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    step: int = 0
    samples: int = 0
    seconds: float = 0.0

    def progress(self, config: TrainConfig) -> float:
        """Returns the part of the run that is done, 0..1."""
        done = self.seconds / (60 * config.minutes) if config.minutes > 0 else self.step / config.steps
        return min(done, 1.0)


def build_state(config: TrainConfig) -> TrainState:
    """Returns the state of a run at its first step.

    Raises:
        CheckpointError: The initial checkpoint is not readable, or of another network.
    """
    torch.manual_seed(config.seed)
    network = DepthNetwork(config.network)
    if config.initial:
        initial = load_network(Path(config.initial))
        if initial.config != config.network:
            raise CheckpointError(
                f"{config.initial}: holds a network of {initial.config}, this run trains {config.network}; "
                "give the options that made it"
            )
        network.load_state_dict(initial.state_dict())
    elif config.pretrained and isinstance(network.encoder, EfficientNetLite):
        load_imagenet_weights(network.encoder)
    for module in network.encoder.shallow_modules(config.freeze_stride):
        module.requires_grad_(False)
    network = network.to(memory_format=torch.channels_last)  # 1.4 times as fast on a CPU
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True)
    encoder = [p for p in network.encoder.parameters() if p.requires_grad]
    others = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
    optimizer = torch.optim.AdamW(
        [{"params": encoder, "rate": config.encoder_rate}, {"params": others, "rate": 1.0}],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    if config.compile:
        network.compile()  # in place: names in checkpoints stay as they are
    return TrainState(network, average, optimizer)


def set_train_mode(network: DepthNetwork, config: TrainConfig) -> None:
    """Sets training mode, but for the statistics of a pretrained encoder: they stay those of photographs."""
    network.train()
    if config.pretrained:
        for module in network.encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Returns the decoder's learning rate: a linear rise, then half a cosine down to a hundredth."""
    if progress < config.warm_up_part:
        return config.learning_rate * max(progress / config.warm_up_part, 0.01)
    fall = (progress - config.warm_up_part) / (1.0 - config.warm_up_part)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fall)))


def training_loss(
    log_depth: Tensor, log_error: Tensor, target: Tensor, valid_mask: Tensor, config: TrainConfig
) -> Tensor:
    """Returns the loss of a batch: silog + log-L1 + gradients for depth, likelihood for confidence alone."""
    depth = torch.exp(log_depth)
    target = losses.one_sided_target(depth, target, config.network.max_depth)
    return (
        losses.silog(depth, target, valid_mask)
        + losses.log_l1(depth, target, valid_mask)
        + config.gradient_weight * losses.gradient(depth, target, valid_mask)
        # Detached: an unsure network must not be allowed to stop learning depth where it is unsure.
        + config.error_weight * losses.laplace_nll(depth.detach(), target, valid_mask, log_error)
    )


def train_step(state: TrainState, batch: dict[str, Tensor], config: TrainConfig) -> float:
    """Takes one step of the optimiser on a batch and returns its loss."""
    rate = learning_rate(config, state.progress(config))
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["rate"]
    log_depth, log_error = state.network(batch["image"], batch["K"][:, 0, 0])
    loss = training_loss(log_depth, log_error, batch["depth"], batch["valid_mask"], config)
    state.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), config.max_gradient_norm)
    state.optimizer.step()
    state.average.update_parameters(state.network)
    state.step += 1
    state.samples += len(batch["image"])
    return loss.item()


def batches(
    folders: Sequence[Path], config: TrainConfig, state: TrainState, *, final: bool
) -> Iterator[dict[str, Tensor]]:
    """Yields batches without end from the state's next sample on, at the first or the final size."""
    height, width = (config.height, config.width) if final else (config.first_height, config.first_width)
    pixels = config.batch_size * config.first_height * config.first_width
    batch_size = max(1, round(pixels / (height * width))) if final else config.batch_size
    samples = TrainingSamples(folders, width=width, height=height, seed=config.seed)
    yield from DataLoader(
        samples,
        batch_size=batch_size,
        sampler=range(state.samples, 2**62),
        num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
    )


def save_state(path: Path, state: TrainState) -> None:
    """Writes a checkpoint with the averaged weights and all that resuming needs."""
    training = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "samples": state.samples,
        "seconds": state.seconds,
    }
    save_checkpoint(path, state.network, weights=state.average.module.state_dict(), training=training)


def load_state(path: Path, state: TrainState) -> None:
    """Sets the state to that of a checkpoint of the same run.

    Raises:
        CheckpointError: It is not readable, or holds no state of a run.
    """
    training: dict[str, Any] | None = read_checkpoint(path).get("training")
    if training is None:
        raise CheckpointError(f"{path}: holds published weights only; a run resumes from its own checkpoint")
    state.network.load_state_dict(training["network"])
    state.average.load_state_dict(training["average"])
    state.optimizer.load_state_dict(training["optimizer"])
    state.step, state.samples = training["step"], training["samples"]
    state.seconds = training["seconds"]
