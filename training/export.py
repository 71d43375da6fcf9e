"""Writes a checkpoint as the one-file ONNX model: `python -m training.export CHECKPOINT OUT.onnx`."""

from __future__ import annotations

import argparse
import hashlib
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from recon3d_ros.core.model import read_model_info
from recon3d_ros.engines import load_engine
from training.checkpoints import load_network, open_atomically
from training.models.depth_network import DepthNetwork
from training.torch_engine import TorchEngine

OPSET = 18  # the lowest that the exporter writes; TensorRT 10 and ONNX Runtime both take it
MAX_RELATIVE_DIFFERENCE = 1e-3
MAX_BYTES = 25_000_000


class ExportError(RuntimeError):
    """An exported model that does not say what the network says, or is too large to ship."""


class OneFileModel(nn.Module):
    """The network with the one-file contract's inputs and outputs."""

    def __init__(self, network: DepthNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, focal: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.infer(image, focal)


def export(
    network: DepthNetwork,
    path: Path,
    *,
    height: int,
    width: int,
    name: str,
    version: str,
    training_data: str,
    licence: str = "Apache-2.0",
    author: str = "recon3d_ros authors",
) -> float:
    """Writes the one-file model after checking it against the network.

    Args:
        network: What to export.
        path: Where to write; it is replaced only by a model that has passed the check.
        height, width: Input size, pixels, multiples of 32.
        name, version, training_data, licence, author: What the model file says of itself.

    Returns:
        The largest relative difference of depth between PyTorch and ONNX Runtime.

    Raises:
        ExportError: They differ by 1e-3 or more, or the file is larger than 25 MB.
    """
    model = _trace(network.eval(), height=height, width=width)
    metadata = {
        "name": name,
        "version": version,
        "is_metric": "true",
        "min_depth": str(network.config.min_depth),
        "max_depth": str(network.config.max_depth),
        "training_data": training_data,
        "licence": licence,
        "author": author,
    }
    content = _serialise(model, metadata)
    if len(content) >= MAX_BYTES:
        raise ExportError(f"the model has {len(content):,} bytes, expected fewer than {MAX_BYTES:,}")
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.onnx"
        trial.write_bytes(content)
        difference = largest_difference(network, trial, height=height, width=width)
    if not difference < MAX_RELATIVE_DIFFERENCE:
        raise ExportError(
            f"PyTorch and ONNX Runtime differ by {difference:.2e} of the depth, expected less than "
            f"{MAX_RELATIVE_DIFFERENCE:.0e}; nothing was written"
        )
    with open_atomically(path) as file:
        file.write(content)
    return difference


def _trace(network: DepthNetwork, *, height: int, width: int) -> onnx.ModelProto:
    """Returns the network as an ONNX graph with a dynamic batch and a fixed size."""
    image = torch.zeros((2, height, width, 3), dtype=torch.uint8)
    focal = torch.full((2,), 400.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes on its own internals
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            OneFileModel(network),
            (image, focal),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image", "focal"],
            output_names=["depth", "confidence"],
            dynamic_shapes={"image": {0: torch.export.Dim("B")}, "focal": {0: torch.export.Dim("B")}},
            verbose=False,
        )
    if program is None:
        raise ExportError("the exporter returned nothing")
    return program.model_proto


def _serialise(model: onnx.ModelProto, metadata: dict[str, str]) -> bytes:
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


def largest_difference(network: DepthNetwork, model: Path, *, height: int, width: int) -> float:
    """Returns the largest relative difference of depth between a network and its model file.

    Reading the file back verifies its contract and checksum too.

    Raises:
        ModelError: The file breaks the contract.
    """
    read_model_info(model)
    engine = load_engine(model)
    reference = TorchEngine(network, height=height, width=width)
    largest = 0.0
    for batch_size in (1, 3):
        images = np.stack([street_like_image(seed, height=height, width=width) for seed in range(batch_size)])
        focals = np.linspace(250.0, 700.0, batch_size, dtype=np.float32)
        expected = reference.infer(images, focals).depth
        difference = np.abs(engine.infer(images, focals).depth - expected) / expected
        largest = max(largest, float(difference.max()))
    return largest


def street_like_image(seed: int, *, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Returns a (height, width, 3) image with a photograph's spectrum: light above, detail at all scales."""
    rng = np.random.default_rng(seed)
    image = np.linspace(220, 90, height, dtype=np.float32)[:, None, None].repeat(width, 1).repeat(3, 2)
    for cells in (4, 8, 16, 32, 64, 128):
        noise = rng.normal(0, 160 / cells**0.5, size=(cells, 3 * cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(image, 0, 255).astype(np.uint8)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path, help="the model file to write")
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--name", help="default: the file's name")
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--training-data", default="rendered streets (training.render)")
    options = parser.parse_args(arguments)
    difference = export(
        load_network(options.checkpoint),
        options.out,
        height=options.height,
        width=options.width,
        name=options.name or options.out.stem,
        version=options.version,
        training_data=options.training_data,
    )
    size = options.out.stat().st_size / 1e6
    print(f"{options.out}: {size:.1f} MB, largest difference from PyTorch {difference:.1e} of the depth")


if __name__ == "__main__":
    main()
