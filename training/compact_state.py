"""A run's state in two small files, so that a rented machine's work goes on at the next one.

For the shipped network they take 19.5 MB, a checkpoint 60: the averaged weights as a bfloat16 difference to
weights that both machines have (the `base`); the network's difference to its average and the moments of AdamW in
8 bits (training.block_codes); the rest whole. Unlike `python -m training.train --resume`, a run that goes on from
there is not bit-exact, and it begins a schedule of its own.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import torch
from torch import Tensor

from training import block_codes as blocks
from training.block_codes import Coded
from training.checkpoints import CheckpointError, config_entry
from training.config import TrainConfig
from training.distributed import Ranks
from training.state_files import Tensors, digest, read_both, write_both
from training.tasks import TASKS
from training.trainer import TrainState, prepare_state

_COUNTERS = ("step", "samples", "seconds", "best")

_log = logging.getLogger(__name__)


def weights_sha256(weights: Tensors) -> str:
    """Returns the digest of a state dict's floating-point tensors: names, shapes and float32 values.

    Counters of batch norms are left out: they change nothing that the network says, and an ONNX file has none.
    """
    return digest({name: value.float() for name, value in weights.items() if value.is_floating_point()})


def write_compact_state(
    folder: Path,
    state: TrainState,
    config: TrainConfig,
    *,
    base: Tensors,
    published: Tensors | None = None,
) -> list[Path]:
    """Writes a state as two files, both or neither.

    Args:
        folder: Is made where missing.
        state: Whose weights and moments are finite.
        config: Of the run.
        base: State dict that the reader will have, of the same network.
        published: Averaged weights that this run gives out and a later checkout may ship as its own: the state can
            then go on from these, too. Default: those of the state.

    Returns:
        The files.

    Raises:
        CheckpointError: They cannot be written, or the base is another network's; files of before are kept.
    """
    average = state.averaged.state_dict()
    _check_base(folder, base, average)
    facts = {
        "base_sha256": weights_sha256(base),
        "published_sha256": weights_sha256(average if published is None else published),
        **config_entry(config.network),
    }
    counters = {name: getattr(state, name) for name in _COUNTERS} | {"averaged": int(state.average.n_averaged)}
    facts["counters"] = json.dumps(counters)
    return write_both(folder, _coded_network(state, base), _coded_moments(state), facts)


def name_published(folder: Path, weights: Tensors) -> None:
    """Notes in a state which averaged weights its run gave out at last: see `write_compact_state`.

    Raises:
        CheckpointError: The state is missing or damaged, or cannot be written.
    """
    network, moments, facts = read_both(folder)
    write_both(folder, network, moments, {**facts, "published_sha256": weights_sha256(weights)})


def read_compact_state(
    folder: Path, *, base: Tensors, config: TrainConfig, ranks: Ranks | None = None
) -> TrainState:
    """Returns a state near the one that was written, at the start of a schedule of its own.

    It is not bit by bit the one that was written, and so is no run that goes on from it.

    Args:
        folder: With the two files.
        base: State dict that the difference was made to, or the weights that were published since.
        config: Of the run to come, of the same network.
        ranks: This process among those of the run.

    Raises:
        CheckpointError: A file is missing or damaged, the two are of different saves, or the state is of another
            network or base.
        ValueError: The device is not there.
    """
    network, moments, facts = read_both(folder)
    entry = config_entry(config.network)
    if any(facts.get(name) != value for name, value in entry.items()):
        found = {name: value for name, value in facts.items() if name.endswith("_network_config")}
        raise CheckpointError(
            f"{folder}: holds the state of a network of {found}, this run trains {entry}; name the folder of a "
            "rental of this network, or give the --config that it had"
        )
    if missing := [name for name in ("base_sha256", "published_sha256", "counters") if name not in facts]:
        raise CheckpointError(f"{folder}: lacks {missing} in its metadata; expected what this module wrote")
    sha256 = weights_sha256(base)
    if sha256 not in (facts["base_sha256"], facts["published_sha256"]):
        raise CheckpointError(
            f"{folder}: needs base weights of sha256 {facts['base_sha256']:.12} or "
            f"{facts['published_sha256']:.12}, got {sha256:.12}; use the checkout that the run was started from, "
            "or one that ships the weights it published"
        )
    state = prepare_state(TASKS[config.task].network(config.network), config, ranks)
    try:
        _take_weights(state, network, base, is_published=sha256 == facts["published_sha256"])
        _take_moments(state, moments)
        _take_counters(state, json.loads(facts["counters"]))
        _check_finite(state)
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder}: not a state of this run's network: {error}") from error
    state.first_step, state.first_seconds = state.step, state.seconds
    _log.warning("%s: resumed at step %d from rounded values: not bit-exact", folder, state.step)
    return state


def _coded_network(state: TrainState, base: Tensors) -> dict[str, Tensor]:
    """Returns the averaged weights and the network's own."""
    network, average = state.network.state_dict(), state.averaged.state_dict()
    parameters = dict(state.network.named_parameters())
    tensors = {}
    for name, value in average.items():
        if name not in parameters:
            tensors[f"average.{name}"], tensors[f"network.{name}"] = value, network[name]
            continue
        near = base[name].to(value.device)
        difference = (value - near).to(torch.bfloat16)
        tensors[f"average.{name}"] = difference
        _put(tensors, f"network.{name}", blocks.to_linear(network[name] - (near + difference.float())))
    return tensors


def _take_weights(state: TrainState, tensors: Tensors, base: Tensors, *, is_published: bool) -> None:
    """Sets the averaged weights, to the base itself where that was published, and the network's own."""
    parameters = dict(state.network.named_parameters())
    average, network = {}, {}
    for name, value in state.network.state_dict().items():
        own = tensors[f"average.{name}"]
        if name not in parameters:
            average[name] = base[name] if is_published and value.is_floating_point() else own
            network[name] = tensors[f"network.{name}"]
            continue
        average[name] = base[name] if is_published else base[name].cpu() + own.float()
        network[name] = average[name].cpu() + blocks.from_linear(_get(tensors, f"network.{name}"), value.shape)
    state.averaged.load_state_dict(average)
    state.network.load_state_dict(network)


def _coded_moments(state: TrainState) -> dict[str, Tensor]:
    """Returns the moments of the parameters that have been trained."""
    tensors = {}
    for name, parameter in state.network.named_parameters():
        if moments := state.optimizer.state.get(parameter):
            tensors[f"step.{name}"] = moments["step"].float()
            _put(tensors, f"exp_avg.{name}", blocks.to_signed_logarithms(moments["exp_avg"]))
            _put(tensors, f"exp_avg_sq.{name}", blocks.to_logarithms(moments["exp_avg_sq"].sqrt()))
    return tensors


def _take_moments(state: TrainState, tensors: Tensors) -> None:
    """Sets the moments of the parameters that are trained now and were then; others start without."""
    for name, parameter in state.network.named_parameters():
        if not parameter.requires_grad or f"step.{name}" not in tensors:
            continue
        mean = blocks.from_signed_logarithms(_get(tensors, f"exp_avg.{name}"), parameter.shape)
        root = blocks.from_logarithms(_get(tensors, f"exp_avg_sq.{name}"), parameter.shape)
        state.optimizer.state[parameter] = {
            "step": tensors[f"step.{name}"].view(()).clamp(min=0.0).to(parameter.device),
            # As the weights lie in memory: see training.updates.
            "exp_avg": torch.empty_like(parameter, requires_grad=False).copy_(mean),
            "exp_avg_sq": torch.empty_like(parameter, requires_grad=False).copy_(root**2),
        }


def _take_counters(state: TrainState, counters: dict[str, float]) -> None:
    """Sets what was counted.

    Raises:
        ValueError: A number is none of its kind, or negative.
    """
    for name in ("step", "samples", "averaged"):
        if type(counters[name]) is not int or not 0 <= counters[name] < 2**63:
            raise ValueError(f"{name} is {counters[name]!r}, expected a whole number from 0 on")
    seconds, best = float(counters["seconds"]), float(counters["best"])
    if not (math.isfinite(seconds) and seconds >= 0) or math.isnan(best):
        raise ValueError(f"seconds are {seconds}, the best error is {best}, expected numbers from 0 on")
    state.average.n_averaged.fill_(counters["averaged"])
    state.step, state.samples = counters["step"], counters["samples"]
    state.seconds, state.best = seconds, best


def _check_finite(state: TrainState) -> None:
    """Makes sure that a training can go on.

    Raises:
        ValueError: A weight or a moment is not finite.
    """
    moments = {
        f"{key} of {name}": value
        for name, parameter in state.network.named_parameters()
        for key, value in state.optimizer.state.get(parameter, {}).items()
    }
    for part in (state.network.state_dict(), state.averaged.state_dict(), moments):
        for name, value in part.items():
            if value.is_floating_point() and not value.isfinite().all():
                raise ValueError(f"{name} holds numbers that are not finite")


def _put(tensors: dict[str, Tensor], name: str, coded: Coded) -> None:
    tensors[f"{name}.codes"], tensors[f"{name}.scales"] = coded.codes, coded.scales


def _get(tensors: Tensors, name: str) -> Coded:
    return Coded(tensors[f"{name}.codes"], tensors[f"{name}.scales"])


def _check_base(folder: Path, base: Tensors, own: Tensors) -> None:
    shapes = {name: tuple(value.shape) for name, value in own.items() if value.is_floating_point()}
    wrong = sorted(name for name in shapes if name not in base or tuple(base[name].shape) != shapes[name])
    if wrong:
        raise CheckpointError(
            f"{folder}: the base lacks {len(wrong)} of {len(shapes)} weights of this network, {wrong[0]} among "
            "them; give weights of the same configuration"
        )
