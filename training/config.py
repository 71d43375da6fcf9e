"""What a training run does: one dataclass, set by a file and by options; an unknown key is an error."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from training.models.depth_network import DepthNetworkConfig
from training.models.encoder import ENCODER_STRIDE
from training.models.image_to_points import ImageToPointsConfig
from training.render.renderers import RENDERERS
from training.tasks import TASKS, NetworkConfig

PRECISIONS = ("fp32", "bf16")
SCHEDULES = ("cosine", "flat")


class ConfigError(ValueError):
    """A configuration with an unknown key or an impossible value."""


@dataclass(frozen=True)
class TrainConfig:
    """What a run does. It is saved as config.json beside the checkpoints.

    A run ends after `steps`, or after `minutes` where that is more than 0 (the schedule then follows time).

    Attributes:
        task: What is learned: depth, points or labels; see training.tasks.
        network: The network's configuration, of the task's kind.
        pretrained: Start the encoder from its ImageNet weights.
        initial: Checkpoint whose weights the run starts from, instead; its network must be of the same kind.
        compile: Let torch.compile fuse the network's operations: a minute more at the start, then faster.
        device: cpu or cuda (each process of torchrun takes the GPU of its local rank).
        precision: fp32, or bf16: the network's convolutions in bfloat16 (a GPU is several times as fast with
            it, a CPU without bfloat16 units slower), weights and losses in float32.
        channels_last: Keep features and weights in memory as NHWC, not NCHW: 1.4 times as fast on a CPU; on a GPU
            either may be faster.
        freeze_stride: Encoder layers up to this stride keep those weights; 0 trains all of them. They know
            real photographs, which rendered images are not, and frozen ones cost no backward pass.
        freeze_norms: All batch-norm statistics stay as they are, not only those of a pretrained encoder: for
            fine-tuning on little data.
        first_height, first_width: Size of the crops at first.
        height, width: Size of the crops at the end: the network's input. A run of labels reads no image, and its
            sizes stand for nothing.
        first_part: Part of the run at the first size.
        batch_size: Samples a step and process at the first size; at the final one fewer, for the same number
            of pixels.
        steps: Steps of the run.
        minutes: Length of the run, if more than 0.
        learning_rate: Of the decoder, at the peak of the schedule.
        encoder_rate: The encoder's learning rate, as a part of the decoder's.
        weight_decay: Of AdamW.
        schedule: Of the learning rate: cosine falls from the warm-up on; flat stays until `decay_part` of the run
            is left and then falls linearly, so that a later run can go on from its flat part.
        warm_up_part: Part of the run over which the learning rate rises.
        decay_part: Part of the run over which that of a flat schedule falls.
        max_gradient_norm: Gradients are clipped to it.
        ema_decay: Of the moving average of the weights, which is what a checkpoint publishes.
        silog_weight, log_l1_weight, mae_weight, mse_weight, cosine_weight, normal_weight, gradient_weight,
        chamfer_weight, chamfer_squared_weight, cross_entropy_weight, orthogonality_weight:
            Of the losses of that name in training.losses, chamfer and models.pointnet; one of weight 0 is not
            computed. Each task knows some of them, MAE, MSE and cosine each.
        error_weight: Of the likelihood that trains the confidence.
        checkpoint_minutes: Time between two checkpoints.
        log_seconds: Time between two readings of the losses, which wait for a GPU; they are logged and checked
            then (the device itself skips a step that is not finite). 0 reads them at each step.
        validation_frames: How many frames of the validation folder are looked at with each checkpoint.
        workers: Processes that load data, for each training process.
        renderer: What draws the streets of `live`: embree casts rays on the CPU, cpu and cuda draw triangles (cuda
            on the GPU of this process, beside the network).
        seed: Of weights and data.
    """

    task: str = "depth"
    network: NetworkConfig = field(default_factory=DepthNetworkConfig)
    pretrained: bool = True
    initial: str = ""
    compile: bool = False
    device: str = "cpu"
    precision: str = "fp32"
    channels_last: bool = True
    freeze_stride: int = 4
    freeze_norms: bool = False
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
    schedule: str = "cosine"
    warm_up_part: float = 0.03
    decay_part: float = 0.2
    max_gradient_norm: float = 1.0
    ema_decay: float = 0.998
    silog_weight: float = 1.0
    log_l1_weight: float = 1.0
    mae_weight: float = 0.0
    mse_weight: float = 0.0
    cosine_weight: float = 0.0
    normal_weight: float = 0.0
    gradient_weight: float = 0.25
    error_weight: float = 0.1
    chamfer_weight: float = 0.0
    chamfer_squared_weight: float = 0.0
    cross_entropy_weight: float = 0.0
    orthogonality_weight: float = 0.0
    checkpoint_minutes: float = 5.0
    log_seconds: float = 0.5
    validation_frames: int = 50
    workers: int = 1
    renderer: str = "embree"
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("first_height", "first_width", "height", "width"):
            if getattr(self, name) <= 0 or getattr(self, name) % ENCODER_STRIDE:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected a multiple of {ENCODER_STRIDE}")
        for name in ("batch_size", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if self.workers < 0:
            raise ConfigError(f"workers is {self.workers}, expected 0 (load in the training process) or more")
        if self.task not in TASKS:
            raise ConfigError(f"task is {self.task!r}, expected one of {sorted(TASKS)}")
        if not isinstance(self.network, TASKS[self.task].config):
            raise ConfigError(
                f"task {self.task} trains a network of {TASKS[self.task].config.__name__}, and 'network' is a "
                f"{type(self.network).__name__}"
            )
        self._check_losses()
        if isinstance(self.network, ImageToPointsConfig):
            self._check_image_size(self.network.image_size)
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}, expected one of {PRECISIONS}")
        if self.renderer not in RENDERERS:
            raise ConfigError(f"renderer is {self.renderer!r}, expected one of {RENDERERS}")
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"schedule is {self.schedule!r}, expected one of {SCHEDULES}")
        if self.schedule == "flat" and not 0.0 < self.decay_part <= 1.0 - self.warm_up_part:
            raise ConfigError(
                f"decay_part is {self.decay_part}, expected more than 0 and at most "
                f"{1.0 - self.warm_up_part:g}, the part of the run that warm_up_part leaves"
            )

    def _check_losses(self) -> None:
        own = [f"{name}_weight" for name in TASKS[self.task].losses]
        for f in dataclasses.fields(self):
            if f.name.endswith("_weight") and f.name not in own and getattr(self, f.name) not in (0.0, f.default):
                raise ConfigError(f"{f.name} is {getattr(self, f.name)}, but task {self.task} knows only {own}")
        if not any(getattr(self, name) for name in own):
            raise ConfigError(f"the weight of every loss is 0: there is nothing to learn; set some of {own}")

    def _check_image_size(self, size: int) -> None:
        used = ("first_height", "first_width", *(("height", "width") if self.first_part < 1.0 else ()))
        wrong = {name: getattr(self, name) for name in used if getattr(self, name) != size}
        if wrong:
            raise ConfigError(f"{wrong} differ from the network's image_size, {size}; expected the same")


def read_config(path: Path) -> dict[str, Any]:
    """Returns the values that a JSON or YAML file sets, as a run's config.json has them.

    Raises:
        ConfigError: The file cannot be read, or holds no mapping.
    """
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise ConfigError(f"{path}: expected a .json, .yaml or .yml file")
    try:
        text = path.read_text()
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not a readable configuration ({error})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}, expected 'key: value' lines")
    return values


def make_config(values: Mapping[str, Any], *, origin: str) -> TrainConfig:
    """Returns the configuration with these values, defaults elsewhere.

    Args:
        values: By name; "network" holds a mapping of its own.
        origin: Where they come from, for messages.

    Raises:
        ConfigError: A key is unknown, or a value of the wrong type or impossible.
    """
    network = values.get("network", {})
    if not isinstance(network, Mapping):
        raise ConfigError(f"{origin}: 'network' is {network!r}, expected a mapping")
    try:
        others = _checked({k: v for k, v in values.items() if k != "network"}, TrainConfig, origin)
        task = TASKS.get(others.get("task", "depth"))
        if task is None:
            raise ConfigError(f"{origin}: task is {others['task']!r}, expected one of {sorted(TASKS)}")
        network_config = task.config(**_checked(network, task.config, f"{origin}, network"))
        return TrainConfig(network=network_config, **others)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{origin}: {error}") from error


def overridden(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values with the given ones in their place, and so within "network"."""
    network = values.get("network", {})
    if isinstance(network, Mapping):
        network = {**network, **given.get("network", {})}
    return {**values, **given, "network": network}


def _checked(values: Mapping[str, Any], config: type[Any], origin: str) -> dict[str, Any]:
    fields = {f.name: f for f in dataclasses.fields(config)}
    unknown = sorted(str(name) for name in values.keys() - fields.keys())
    if unknown:
        own = sorted(_network_names() & set(unknown)) if config is TrainConfig else []
        hint = f"; {own} stand under 'network:'" if own else ""
        raise ConfigError(f"{origin}: unknown keys {unknown}, expected some of {sorted(fields)}{hint}")
    checked = dict(values)
    for name, value in values.items():
        default = fields[name].default
        if isinstance(default, float) and _is_number(value):
            checked[name] = float(value)
        elif isinstance(default, bool | int | float | str) and type(value) is not type(default):
            raise ConfigError(f"{origin}: {name} is {value!r}, expected {type(default).__name__}")
    return checked


def _network_names() -> set[str]:
    """Returns the names of all fields of the networks' configurations."""
    return {f.name for task in TASKS.values() for f in dataclasses.fields(task.config)}


def _is_number(value: object) -> bool:
    """Says whether a value is a number where one is expected; YAML 1.1 reads 5e-4, without a point, as text."""
    try:
        return type(value) in (int, float, str) and math.isfinite(float(value))  # type: ignore[arg-type]
    except ValueError:
        return False


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds an option for each field of the configurations that holds one number, name or switch.

    An option that is not given leaves no trace in the parsed options, so that a file's value stands. Networks of
    several tasks may share one.
    """
    configs = (*(task.config for task in TASKS.values()), TrainConfig)
    by_name = {f.name: f for config in reversed(configs) for f in dataclasses.fields(config)}
    for f in by_name.values():
        option = "--" + f.name.replace("_", "-")
        if isinstance(f.default, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS)
        elif isinstance(f.default, int | float | str):
            parser.add_argument(
                option, type=type(f.default), default=argparse.SUPPRESS, help=f"default: {f.default}"
            )


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a configuration that were given as options; the inverse of the arguments above."""
    network = {name: options[name] for name in _network_names() if name in options}
    values = {f.name: options[f.name] for f in dataclasses.fields(TrainConfig) if f.name in options}
    return {**values, "network": network}
