"""Checkpoints: a network's configuration and weights in one file that rebuilds it.

A run's own file (.pt) holds {"config", "weights"}, the "task" unless that is depth, and, for resuming,
"training"; it is loaded with weights_only=True. Weights to hand on are published as .safetensors, with the
configuration as JSON in the metadata: no code can hide in such a file. A one-file ONNX model in float32, as
training.export writes it and the package ships it, is a checkpoint too.
`python -m training.checkpoints RUN/best.pt street.safetensors` makes the one from the other.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import nn

from recon3d_ros.core.atomic_file import open_atomically
from recon3d_ros.core.model import ModelError, read_metadata, read_model_info
from training.tasks import TASKS, NetworkConfig, task_of

SAFETENSORS, ONNX = ".safetensors", ".onnx"
# Of batch norms: they do not change what a network says, and an ONNX file has no place for them.
COUNTERS = "num_batches_tracked"
CONFIG_KEYS = {f"{task}_network_config": task for task in TASKS}


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another network."""


def save_checkpoint(
    path: Path,
    network: nn.Module,
    *,
    weights: dict[str, torch.Tensor],
    training: dict[str, Any] | None = None,
) -> None:
    """Writes a checkpoint, atomically.

    Args:
        path: Where to write.
        network: Gives the configuration; of any task.
        weights: The state dict to publish; often an average over steps and not the network's own.
        training: The trainer's state, for resuming: tensors, numbers, strings and containers of them.

    Raises:
        CheckpointError: It cannot be written; what was there before is still there.
    """
    content = {"config": dataclasses.asdict(network.config), "weights": weights}
    if (task := task_of(network.config)) != "depth":
        content["task"] = task
    if training is not None:
        content["training"] = training
    # In memory first: torch's own writer cannot say which error of the disk stopped it.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    _write(path, buffer.getbuffer())


def save_published(path: Path, network: nn.Module) -> None:
    """Writes a network's weights and configuration as a .safetensors file, atomically.

    Raises:
        CheckpointError: The name does not end in .safetensors, or the file cannot be written.
    """
    if path.suffix != SAFETENSORS:
        raise CheckpointError(f"{path}: published weights are {SAFETENSORS} files; give a name that ends so")
    weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    _write(path, to_safetensors(weights, config_entry(network.config)))


def config_entry(config: NetworkConfig) -> dict[str, str]:
    """Returns the entry of a published file's metadata that holds a network's configuration."""
    return {f"{task_of(config)}_network_config": json.dumps(dataclasses.asdict(config))}


def _write(path: Path, data: bytes | memoryview) -> None:
    try:
        with open_atomically(path) as file:
            file.write(data)
    except OSError as error:
        kept = "; the one written before is kept" if path.is_file() else ""
        raise CheckpointError(
            f"{path}: the checkpoint cannot be written ({error.strerror or error}){kept}; "
            "make room there or name another folder"
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Returns the content of a checkpoint: "config", "weights", "task" and, in a run's own file, "training".

    Raises:
        CheckpointError: The file is missing, cut off, or no checkpoint of this package.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; train one with 'python -m training.train'")
    readers = {SAFETENSORS: _read_safetensors, ONNX: _read_onnx}
    content = readers.get(path.suffix, _read_torch)(path)
    if not isinstance(content, dict) or not {"config", "weights"} <= content.keys():
        raise CheckpointError(f"{path}: not a checkpoint of this package: it lacks 'config' or 'weights'")
    if content.setdefault("task", "depth") not in list(TASKS):
        raise CheckpointError(f"{path}: is of task {content['task']!r}, expected one of {sorted(TASKS)}")
    return content


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: not a checkpoint: it is no file of weights, or holds Python objects that could run code "
            "when loaded, and was not loaded"
        ) from error
    except Exception as error:  # on damaged bytes torch raises a dozen unrelated classes
        raise CheckpointError(f"{path}: not a readable checkpoint ({first_line(error)})") from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            found = [(CONFIG_KEYS[k], v) for k, v in (file.metadata() or {}).items() if k in CONFIG_KEYS]
            task, config = (found[0][0], json.loads(found[0][1])) if found else ("depth", None)
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, RecursionError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from error
    return {"weights": weights} if config is None else {"config": config, "weights": weights, "task": task}


def _read_onnx(path: Path) -> dict[str, Any]:
    import onnx  # a run's own checkpoints are read without it

    try:
        info, metadata = read_model_info(path), read_metadata(path)
    except ModelError as error:
        raise CheckpointError(str(error)) from error
    key = next((key for key in CONFIG_KEYS if key in metadata), None)
    if key is None:
        raise CheckpointError(
            f"{path}: {info.name} carries no network to train on; expected a model of training.export, version "
            "0.1.1 or later of ours"
        )
    try:
        config = json.loads(metadata[key])
    except (RecursionError, ValueError) as error:
        raise CheckpointError(f"{path}: its metadata {key} is no JSON ({error}); export it again") from error
    network = _network(path, config, CONFIG_KEYS[key])
    expected = {n: v for n, v in network.state_dict().items() if not n.endswith(COUNTERS)}
    weights: dict[str, torch.Tensor] = {}
    try:
        for tensor in onnx.load(path).graph.initializer:
            if tensor.name in weights:
                raise ValueError(f"it holds {tensor.name} twice")
            if tensor.name in expected:
                weights[tensor.name] = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
    except Exception as error:  # on damaged tensors onnx raises half a dozen unrelated classes
        raise CheckpointError(f"{path}: not a readable checkpoint ({first_line(error)})") from error
    if lost := sorted(n for n, v in expected.items() if n not in weights or weights[n].dtype != v.dtype):
        raise CheckpointError(
            f"{path}: lacks {len(lost)} of {len(expected)} weights in float32, {lost[0]} among them: a model in "
            "fp16 or int8 cannot be trained on; give the fp32 one that it was made of"
        )
    counters = {n: v for n, v in network.state_dict().items() if n not in expected}
    return {
        "config": config,
        "weights": {name: weights[name] for name in expected} | counters,
        "task": CONFIG_KEYS[key],
    }


def load_network(path: Path, task: str | None = "depth") -> Any:
    """Returns the network of a checkpoint, in evaluation mode.

    Args:
        path: Of the checkpoint.
        task: The task that it must be of; None takes any.

    Raises:
        CheckpointError: The file is missing or damaged, of another task, or its weights are not those of its
            configuration.
    """
    content = read_checkpoint(path)
    if task is not None and content["task"] != task:
        raise CheckpointError(f"{path}: holds a network of task {content['task']}, expected one of task {task}")
    network = _network(path, content["config"], content["task"])
    try:
        network.load_state_dict(content["weights"], strict=True)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"{path}: its weights do not fit its own 'config': {error}") from error
    return network.eval()


def _network(path: Path, config: object, task: str) -> nn.Module:
    """Returns the network of a configuration, with the weights that it starts from."""
    network_config = _network_config(path, config, task)
    try:
        network: nn.Module = TASKS[task].network(network_config)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: holds a network that this version cannot build: {first_line(error)}"
        ) from error
    return network


def first_line(error: Exception) -> str:
    """Returns the first line of an error's text, or its class where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _network_config(path: Path, config: object, task: str) -> NetworkConfig:
    known = {field.name for field in dataclasses.fields(TASKS[task].config)}
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: 'config' is a {type(config).__name__}, expected the keys {sorted(known)}")
    unknown = sorted(config.keys() - known)
    if unknown:
        raise CheckpointError(f"{path}: unknown keys {unknown} in 'config', expected {sorted(known)}")
    try:
        return TASKS[task].config(**config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: holds a network that this version cannot build: {error}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Publishes a checkpoint's weights as a .safetensors file.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path, help="file to write, NAME.safetensors")
    options = parser.parse_args(arguments)
    try:
        save_published(options.out, load_network(options.checkpoint, None))
    except CheckpointError as error:
        parser.exit(1, f"{error}\n")
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
