"""Checkpoints: a network's configuration and weights in one file that rebuilds it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from training.models.depth_network import DepthNetwork, DepthNetworkConfig


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another network."""


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that takes its name only once it is whole and on the disk.

    A reader, a crash or a full disk leaves the old file or the new one, never a part of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_checkpoint(
    path: Path,
    network: DepthNetwork,
    *,
    weights: dict[str, torch.Tensor],
    training: dict[str, Any] | None = None,
) -> None:
    """Writes a checkpoint, atomically.

    Args:
        path: Where to write.
        network: Gives the configuration.
        weights: The state dict to publish; often an average over steps and not the network's own.
        training: The trainer's state, for resuming: tensors, numbers, strings and containers of them.
    """
    content = {"config": dataclasses.asdict(network.config), "weights": weights}
    if training is not None:
        content["training"] = training
    with open_atomically(path) as file:
        torch.save(content, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Returns the content of a checkpoint: "config", "weights" and, in a run's own file, "training".

    Raises:
        CheckpointError: The file is missing, cut off, or no checkpoint of this package.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; train one with 'python -m training.train'")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: not a readable checkpoint ({reason})") from error
    if not isinstance(content, dict) or not {"config", "weights"} <= content.keys():
        raise CheckpointError(f"{path}: not a checkpoint of this package: it lacks 'config' or 'weights'")
    return content


def load_network(path: Path) -> DepthNetwork:
    """Returns the network of a checkpoint, in evaluation mode.

    Raises:
        CheckpointError: The file is missing or damaged, or its weights are not those of its configuration.
    """
    content = read_checkpoint(path)
    known = {field.name for field in dataclasses.fields(DepthNetworkConfig)}
    unknown = sorted(content["config"].keys() - known)
    if unknown:
        raise CheckpointError(f"{path}: unknown keys {unknown} in 'config', expected {sorted(known)}")
    network = DepthNetwork(DepthNetworkConfig(**content["config"]))
    try:
        network.load_state_dict(content["weights"], strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its weights do not fit its own 'config': {error}") from error
    return network.eval()
