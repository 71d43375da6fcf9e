"""What a rental's training starts from, and how it runs."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recon3d_ros.engines import default_model_path
from training.checkpoints import load_network
from training.config import ConfigError, TrainConfig, make_config, overridden, read_config
from training.render.renderers import check_renderer
from training.rental.machine import SHARED_MEMORY, core_count, free_gb, memory_gb
from training.rental.plan import Plan
from training.tasks import TASKS

# The rate of the decoder for batches of 64; that of other batches follows their root, as gradients' noise does.
LEARNING_RATE, ITS_BATCH = 5e-4, 64
BYTES_A_PIXEL = 8  # of a sample: uint8 RGB, float32 depth, one mask
BATCHES_A_WORKER = 5  # four that wait, and the one in work
SHARE_OF_MEMORY = 0.7  # of /dev/shm, and of RAM, that the workers' batches may fill
SHARE_OF_GPU, GPU_GB_A_WORKER = 0.4, 1.5  # of its memory, for those that render on it: CUDA itself, and scenes


@dataclass(frozen=True)
class Start:
    """What training starts from.

    Attributes:
        config: Of the training; see training.config.TrainConfig.
        is_shipped: Whether the network is the shipped one, with its weights; another starts from scratch.
        fixed: Names of the values that the user's file sets.
    """

    config: TrainConfig
    is_shipped: bool
    fixed: frozenset[str]


def make_start(
    plan: Plan, found: Mapping[str, Any] | None = None, forced: Mapping[str, Any] | None = None
) -> Start:
    """Returns what the training starts from.

    Args:
        plan: Of the rental.
        found: Values that are better on this machine than the defaults here; a value of the user's file wins.
        forced: Values without which it fails on this machine; they win over the file.

    Raises:
        ConfigError: The user's file cannot be used.
        CheckpointError: The shipped model cannot be read.
    """
    shipped = load_network(default_model_path()).config
    given = read_config(plan.config) if plan.config is not None else {}
    if (task := given.get("task", "depth")) != "depth":
        raise ConfigError(f"{plan.config}: task is {task!r}; a rental trains networks of depth")
    usual = {**_defaults(plan.device), **(found or {}), "network": dataclasses.asdict(shipped)}
    values = {**overridden(usual, given), **(forced or {})}
    for name in ("device", "schedule"):
        if given.get(name, usual[name]) != usual[name]:
            raise ConfigError(
                f"{plan.config}: {name} is {given[name]!r}; this rental's is {usual[name]!r}: leave it out"
                f"{', or give --device' if name == 'device' else ''}"
            )
    origin = str(plan.config or "rental")
    config = make_config(values, origin=origin)
    is_shipped = config.network == shipped
    if is_shipped:
        values["initial"] = str(default_model_path())
    else:
        values |= {name: value for name, value in FROM_SCRATCH.items() if name not in given}
    if "learning_rate" not in given:
        values["learning_rate"] = LEARNING_RATE * math.sqrt(config.batch_size / ITS_BATCH)
    config = make_config(values, origin=origin)
    return Start(config, is_shipped, frozenset(given))


FROM_SCRATCH = {"pretrained": False, "freeze_stride": 0}


def _defaults(device: str) -> dict[str, Any]:
    """Returns what differs from TrainConfig's own defaults; on a CPU it is a rehearsal with small crops."""
    height, width = (TrainConfig.height, TrainConfig.width) if device == "cuda" else (128, 416)
    return {
        "device": device,
        "renderer": default_renderer(device),
        "schedule": "flat",
        "precision": "bf16" if device == "cuda" else "fp32",
        # One size: each is compiled for itself, and it is the loading of images that limits a GPU.
        "first_part": 0.0,
        "first_height": height,
        "first_width": width,
        "height": height,
        "width": width,
        "batch_size": ITS_BATCH if device == "cuda" else 4,
        "workers": max(1, core_count() - 1),
        "checkpoint_minutes": 1e6,
    }


def default_renderer(device: str) -> str:
    """Returns what renders streets for a device: the fastest that can work here."""
    for renderer in ("cuda", "embree", "cpu") if device == "cuda" else ("embree", "cpu"):
        with contextlib.suppress(ValueError):
            check_renderer(renderer)
            return renderer
    return "cpu"


def fitting_workers(config: TrainConfig) -> int:
    """Returns how many loading processes fit into /dev/shm, memory and the GPU, those asked for at most."""
    pixels = max(config.first_height * config.first_width, config.height * config.width)
    each = BATCHES_A_WORKER * config.batch_size * pixels * BYTES_A_PIXEL
    room = SHARE_OF_MEMORY * 1e9 * min(free_gb(SHARED_MEMORY), memory_gb())
    fitting = min(config.workers, int(room // each))
    if config.renderer == "cuda" and torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0).total_memory / 1e9
        fitting = min(fitting, max(1, int(SHARE_OF_GPU * gpu / GPU_GB_A_WORKER)))
    return fitting


def base_weights(start: Start) -> dict[str, Tensor]:
    """Returns the weights that the state is written as a difference to: the shipped ones, or the first ones."""
    if start.is_shipped:
        shipped: dict[str, Tensor] = load_network(default_model_path()).state_dict()
        return shipped
    torch.manual_seed(start.config.seed)
    network: nn.Module = TASKS[start.config.task].network(start.config.network)
    return network.state_dict()
