"""The weights as a one-file model: by new weights in a model file that is there, which takes a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import onnx
from torch import Tensor

from recon3d_ros.core.model import read_metadata
from recon3d_ros.engines import default_model_path
from training.checkpoints import COUNTERS, load_network
from training.export import MAX_DIFFERENCE, export, relative_differences
from training.onnx_file import ExportError, serialise
from training.rental.folder import PLAIN_WEIGHTS, WEIGHTS, join_line, write_parts
from training.rental.origin import data_text
from training.rental.plan import Plan
from training.rental.processes import Note
from training.rental.settings import Start, make_start
from training.trainer import build_state

CHECKED_SIZE = {"height": 64, "width": 96}  # of images; every weight has its part in any


def template_of(plan: Plan, start: Start) -> Path:
    """Returns the model file of the same network, whether or not it exists yet."""
    return default_model_path() if start.is_shipped else plan.work / "template.onnx"


def make_template(note: Note, plan: Plan) -> None:
    """Exports a network that is not the shipped one, untrained, for its weights to be replaced later."""
    start = make_start(plan)
    export(
        build_state(dataclasses.replace(start.config, device="cpu")).averaged,
        template_of(plan, start),
        height=start.config.height,
        width=start.config.width,
        name="street_lite0",
        version="0.0.0",
        training_data="none before",
    )


def publish(plan: Plan, weights: Path, template: Path, *, samples: int) -> list[str]:
    """Writes the weights to the output folder, as a model file where there is a template.

    Args:
        weights: .safetensors.
        template: Model file of the same network.
        samples: That it was trained on.

    Returns:
        The names of the files; a model file takes the place of plain weights and the other way round.

    Raises:
        ExportError, CheckpointError, OSError: They cannot be written; what was there is still there.
    """
    if template.is_file():
        content = renewed(template, load_network(weights).state_dict(), description(plan, template, samples))
        names = write_parts(plan.out / WEIGHTS, content)
        for old in plan.out.glob(f"{PLAIN_WEIGHTS}*"):
            old.unlink()
        return names
    names = write_parts(plan.out / PLAIN_WEIGHTS, weights.read_bytes())
    for old in plan.out.glob(f"{WEIGHTS}*"):
        old.unlink()
    return names


def description(plan: Plan, template: Path, samples: int) -> dict[str, str]:
    """Returns the version and the training data that a model file says of itself."""
    before = read_metadata(template)
    return {
        "version": f"{before['version']}+rented",
        "training_data": f"{before['training_data']}; then {samples} samples of: {data_text(plan.data)}",
    }


def renewed(template: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Returns a model file with other weights.

    Args:
        template: As training.export writes it, in float32: its initializers have the names of the state dict.
        weights: A state dict of the same network.
        metadata: Entries that replace those of the template.

    Raises:
        ExportError: The template lacks one of the weights, or has it in another shape.
    """
    model = onnx.load(template)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, values in weights.items():
        if name.endswith(COUNTERS):
            continue
        tensor = tensors.get(name)
        if tensor is None or list(tensor.dims) != list(values.shape):
            found = "missing" if tensor is None else f"{list(tensor.dims)}"
            raise ExportError(
                f"{template}: {name} is {found}, expected {list(values.shape)}; it is a file of another network"
            )
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.detach().cpu().contiguous().numpy(), name))
    kept = {entry.key: entry.value for entry in model.metadata_props}
    return serialise(model, {**kept, **metadata})


def finish_weights(note: Note, plan: Plan, weights: Path, samples: int) -> None:
    """Writes the final weights and checks the model file against PyTorch; notes "files", "join" and "difference".

    Raises:
        ExportError, CheckpointError, OSError: They cannot be written, or the two differ.
    """
    start = make_start(plan)
    names = publish(plan, weights, template_of(plan, start), samples=samples)
    note(files=names, join=join_line(names))
    if names != [WEIGHTS]:
        return  # there is no model file yet, or one that only the reader puts together
    difference = float(relative_differences(load_network(weights), plan.out / WEIGHTS, **CHECKED_SIZE).max())
    note(difference=difference, version=read_metadata(plan.out / WEIGHTS)["version"])
    if not difference < MAX_DIFFERENCE["fp32"]:
        raise ExportError(f"PyTorch and ONNX Runtime differ by {difference:.2e} of the depth in {WEIGHTS}")
