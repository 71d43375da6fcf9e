"""Two files of tensors that are believed together or not at all; see training.compact_state for what they hold."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from recon3d_ros.core.atomic_file import naming_errors
from training.checkpoints import CheckpointError

NETWORK_NAME, MOMENTS_NAME = "state_network.safetensors", "state_moments.safetensors"
NAMES = (NETWORK_NAME, MOMENTS_NAME)
FORMAT = "1"
Tensors = Mapping[str, Tensor]


def digest(tensors: Tensors) -> str:
    """Returns the sha256 of tensors: of their names, types, shapes and values."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def write_both(folder: Path, network: Tensors, moments: Tensors, facts: Mapping[str, str]) -> list[Path]:
    """Writes both files; each has the facts, and the digests of both.

    Raises:
        CheckpointError: They cannot be written; what was there before is still there.
    """
    whole = [{name: value.detach().cpu().contiguous() for name, value in t.items()} for t in (network, moments)]
    facts = {
        **facts,
        "format": FORMAT,
        **{name: digest(tensors) for name, tensors in zip(NAMES, whole, strict=True)},
    }
    paths = [folder / name for name in NAMES]
    partial = [_waiting(path) for path in paths]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, tensors in zip(partial, whole, strict=True):
            with naming_errors(path), open(path, "wb") as file:
                file.write(to_safetensors(tensors, facts))
                file.flush()
                os.fsync(file.fileno())
        # Killed between the two, the second still waits under its other name: read_both knows it.
        for waiting, path in zip(partial, paths, strict=True):
            os.replace(waiting, path)
    except OSError as error:
        for path in partial:
            path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{folder}: the state cannot be written ({error.strerror or error}); one written before is kept; "
            "make room there or name another folder"
        ) from error
    return paths


def read_both(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, str]]:
    """Returns the tensors of both files, and the facts.

    Raises:
        CheckpointError: One is missing, damaged or of another program, or the two are of different saves.
    """
    for name in NAMES:
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder / name}: no such file; a state is the two files {NAMES[0]} and {NAMES[1]}"
            )
    network, facts = _read(folder / NETWORK_NAME)
    for path in (folder / MOMENTS_NAME, _waiting(folder / MOMENTS_NAME)):
        if not path.is_file():
            continue
        moments, other = _read(path)
        if other == facts:
            return network, moments, facts
    raise CheckpointError(
        f"{folder}: {NETWORK_NAME} and {MOMENTS_NAME} are of two different saves; copy both from the same folder"
    )


def tidy(folder: Path) -> None:
    """Ends a save that was killed: gives it the last of its names where only that is missing, or removes it."""
    network, moments = (folder / name for name in NAMES)
    _waiting(network).unlink(missing_ok=True)
    waiting = _waiting(moments)
    if waiting.is_file():
        facts = _facts(waiting)
        if facts is not None and facts == _facts(network):
            os.replace(waiting, moments)
        else:
            waiting.unlink()


def _facts(path: Path) -> dict[str, str] | None:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError):
        return None


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged, or no state at all ({error})") from error
    if facts.get("format") != FORMAT or not set(NAMES) <= facts.keys():
        raise CheckpointError(
            f"{path}: is of format {facts.get('format')!r}, expected {FORMAT!r} as this version of "
            "training.compact_state writes it; use the checkout that wrote it"
        )
    name = path.name if path.name in NAMES else MOMENTS_NAME
    if digest(tensors) != facts[name]:
        raise CheckpointError(f"{path}: damaged: its content is not what was written; copy it again")
    return tensors, facts


def _waiting(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
