"""A network traced to an ONNX graph, and a graph as the bytes of a model file."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

OPSET = 18  # the lowest that the exporter writes; TensorRT 10 and ONNX Runtime both take it


class ExportError(RuntimeError):
    """An exported model that does not say what the network says."""


def trace(
    network: nn.Module,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    *,
    dynamic: dict[str, dict[int, Any]] | None = None,
) -> onnx.ModelProto:
    """Returns a network as an ONNX graph.

    Args:
        network: Called with the inputs in their order; in evaluation mode.
        inputs: An example of each, by name; two or more where the batch is dynamic.
        outputs: Names.
        dynamic: torch.export.Dim (or a multiple of one) of the inputs' dimensions of any size, by input and
            dimension; without it the first of each input is the batch.

    Raises:
        ExportError: The exporter gives nothing.
    """
    batch = torch.export.Dim("B")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes on its own internals
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=dynamic or {name: {0: batch} for name in inputs},
            verbose=False,
        )
    if program is None:
        raise ExportError("the exporter returned nothing")
    return program.model_proto


def serialise(model: onnx.ModelProto, metadata: dict[str, str]) -> bytes:
    """Returns the file's bytes, the metadata and the graph's checksum in it.

    The tracer's notes on source lines are dropped: they name files of the machine that exported.
    """
    graph = model.graph
    for item in [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        item.doc_string = ""
        del item.metadata_props[:]
    del model.metadata_props[:]
    model.producer_name = "recon3d_ros"
    onnx.checker.check_model(model, full_check=True)
    checksum = hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
    onnx.helper.set_model_props(model, {**metadata, "sha256": checksum})
    return model.SerializeToString(deterministic=True)
