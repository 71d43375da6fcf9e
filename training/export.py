"""Writes a checkpoint as a one-file ONNX model; one of depth in float32, float16 or int8.

`python -m training.export CHECKPOINT OUT.onnx [--precision fp32|fp16|int8] [--calibration SHARDS]`

The file says nothing of its precision beside the graph itself, whose types every run time follows; image, focal,
depth and confidence keep their types in each. Checkpoints of other tasks: see training.export_points.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from recon3d_ros.core.atomic_file import open_atomically
from recon3d_ros.core.self_test import drive_self_test, self_test_metadata, street_like_image
from recon3d_ros.engines import load_engine
from recon3d_ros.engines.precision import converted
from training.checkpoints import config_entry, load_network, read_checkpoint
from training.datasets import Frame, ShardFrames
from training.export_points import export_points
from training.models.depth_network import DepthNetwork
from training.models.encoder import ENCODER_STRIDE
from training.onnx_file import ExportError, serialise, trace
from training.onnx_norms import find_norms, insert_norms, without_norms
from training.torch_engine import TorchEngine

# How far the depth may be from the float32 network's, relative: at any pixel for fp32, on average for the others,
# whose rounding moves single pixels at the edges of objects.
MAX_DIFFERENCE = {"fp32": 1e-3, "fp16": 1e-2, "int8": 0.25}
CALIBRATION_FRAMES = 16


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
    precision: str = "fp32",
    calibration: Sequence[Frame] = (),
) -> float:
    """Writes the one-file model after checking it against the network.

    Args:
        network: What to export.
        path: Where to write; it is replaced only by a model that has passed the check.
        height, width: Size that the file names as its usual one, pixels, multiples of 32; it takes any.
        name, version, training_data, licence, author: What the model file says of itself.
        precision: Of weights and computation: "fp32", "fp16", or "int8" after training.
        calibration: Frames that the int8 ranges are taken from; only int8 needs them.

    Returns:
        The relative difference of depth between PyTorch in float32 and ONNX Runtime: the largest of any pixel
        for fp32, the mean for fp16 and int8.

    Raises:
        ExportError: They differ by more than the precision explains, the size is no multiple of 32, or the
            precision is unknown or lacks its calibration frames.
    """
    if precision not in MAX_DIFFERENCE:
        raise ExportError(f"precision is '{precision}', expected one of {', '.join(MAX_DIFFERENCE)}")
    if height <= 0 or width <= 0 or height % 32 or width % 32:
        raise ExportError(f"the size is {height}x{width} (height x width), expected multiples of 32")
    if precision == "int8":
        _check_calibration(calibration, height=height, width=width)
    network = network.eval()
    model = _trace(network)
    if precision != "fp32":
        model = converted(model, precision, [model_inputs(frame) for frame in calibration])
    metadata = {
        "name": name,
        "version": version,
        "is_metric": "true",
        "min_depth": str(network.config.min_depth),
        "max_depth": str(network.config.max_depth),
        "training_data": training_data,
        "licence": licence,
        "author": author,
        "size": f"{width}x{height}",
        **config_entry(network.config),
        **self_test_metadata(drive_self_test(height=height, width=width)),
    }
    content = serialise(model, metadata)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.onnx"
        trial.write_bytes(content)
        differences = relative_differences(network, trial, height=height, width=width)
    difference = float(differences.max() if precision == "fp32" else differences.mean())
    if not difference < MAX_DIFFERENCE[precision]:
        raise ExportError(
            f"PyTorch and ONNX Runtime in {precision} differ by {difference:.2e} of the depth, expected less than "
            f"{MAX_DIFFERENCE[precision]:.0e}; nothing was written"
        )
    with open_atomically(path) as file:
        file.write(content)
    return difference


def _check_calibration(frames: Sequence[Frame], *, height: int, width: int) -> None:
    if not frames:
        raise ExportError("int8 needs frames to calibrate on: give '--calibration' a folder of rendered shards")
    for frame in frames:
        if frame.image.shape[:2] != (height, width):
            found = "x".join(map(str, frame.image.shape[:2]))
            raise ExportError(
                f"a calibration frame is {found} pixels, expected {height}x{width}, the network's size"
            )


def _trace(network: DepthNetwork) -> onnx.ModelProto:
    """Returns the network as an ONNX graph of any batch, height and width.

    Its initializers are those of the network's state dict, under the same names; see training.onnx_norms.
    """
    # Any size but one stride: the tracer takes a side of 1 for a fixed one.
    image = torch.zeros((2, 2 * ENCODER_STRIDE, 3 * ENCODER_STRIDE, 3), dtype=torch.uint8)
    focal = torch.full((2,), 400.0)
    B, h, w = (torch.export.Dim(name) for name in ("B", "h", "w"))
    dynamic = {"image": {0: B, 1: ENCODER_STRIDE * h, 2: ENCODER_STRIDE * w}, "focal": {0: B}}
    bare = OneFileModel(without_norms(network))
    model = trace(bare, {"image": image, "focal": focal}, ["depth", "confidence"], dynamic=dynamic)
    graph = model.graph
    for tensor in graph.initializer:
        _rename(graph, tensor, tensor.name.removeprefix("network."))
    insert_norms(model, network, find_norms(network, image, focal))
    # The tracer calls the sides "32*h" and "32*w".
    del graph.value_info[:]
    for value in (*graph.input[:1], *graph.output):
        for axis, side in ((1, "h"), (2, "w")):
            value.type.tensor_type.shape.dim[axis].dim_param = side
    return model


def _rename(graph: onnx.GraphProto, tensor: onnx.TensorProto, name: str) -> None:
    for node in graph.node:
        for index, read in enumerate(node.input):
            if read == tensor.name:
                node.input[index] = name
    tensor.name = name


def relative_differences(
    network: DepthNetwork, model: Path, *, height: int, width: int
) -> npt.NDArray[np.float32]:
    """Returns |depth / depth of the network - 1| at all pixels of a few made images, (N,).

    Reading the file back verifies its contract and checksum too.

    Raises:
        ModelError: The file breaks the contract.
    """
    engine = load_engine(model)
    reference = TorchEngine(network, height=height, width=width)
    differences = []
    for batch_size in (1, 3):
        images = np.stack([street_like_image(seed, height=height, width=width) for seed in range(batch_size)])
        focals = np.linspace(250.0, 700.0, batch_size, dtype=np.float32)
        expected = reference.infer(images, focals).depth
        differences.append(np.abs(engine.infer(images, focals).depth / expected - 1).ravel())
    return np.concatenate(differences)


def model_inputs(frame: Frame) -> dict[str, npt.NDArray[Any]]:
    """Returns a frame as the model file's inputs, a batch of one."""
    return {"image": frame.image[None], "focal": np.array([frame.camera.fx], dtype=np.float32)}


def calibration_frames(folder: Path) -> list[Frame]:
    """Returns frames of a folder of shards, evenly chosen."""
    frames = ShardFrames([folder])
    return [frames[int(index)] for index in np.linspace(0, len(frames) - 1, CALIBRATION_FRAMES)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path, help="the model file to write")
    parser.add_argument("--precision", choices=list(MAX_DIFFERENCE), default="fp32")
    parser.add_argument(
        "--calibration", type=Path, help="int8: folder of rendered shards of the network's size, for its ranges"
    )
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--name", help="default: the file's name")
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--training-data", default="rendered streets (training.render)")
    options = parser.parse_args(arguments)
    if (options.precision == "int8") != (options.calibration is not None):
        parser.error("'--precision int8' needs '--calibration SHARDS', and nothing else does")
    try:
        if read_checkpoint(options.checkpoint)["task"] != "depth":
            if options.precision != "fp32":
                raise ExportError(f"precision is '{options.precision}'; networks of points are written in fp32")
            network = load_network(options.checkpoint, None)
            name = options.name or options.out.stem
            difference = export_points(
                network, options.out, name=name, version=options.version, training_data=options.training_data
            )
            print(f"{options.out}: largest difference from PyTorch {difference:.1e}")
            return
        difference = export(
            load_network(options.checkpoint),
            options.out,
            height=options.height,
            width=options.width,
            name=options.name or options.out.stem,
            version=options.version,
            training_data=options.training_data,
            precision=options.precision,
            calibration=calibration_frames(options.calibration) if options.calibration else (),
        )
    except (ExportError, OSError, ValueError) as error:  # those of checkpoints, models and shards are ValueErrors
        parser.exit(1, f"{error}\n")
    size = options.out.stat().st_size / 1e6
    kind = "largest" if options.precision == "fp32" else "mean"
    print(f"{options.out}: {size:.1f} MB, {kind} difference from PyTorch in float32 {difference:.1e} of the depth")


if __name__ == "__main__":
    main()
