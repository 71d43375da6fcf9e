"""Writes networks that give points, or read them, as ONNX files.

- task points: image uint8 [B, size, size, 3] RGB in, points float32 [B, N, 3] out; see models.image_to_points.
- task labels: points float32 [B, N, 3] in, of any N; scores float32 [B, C] or [B, N, C] out, which add up to 1.

The metadata say what the files of depth say of themselves, with the task, and the labels' names in their order.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from recon3d_ros.core.atomic_file import open_atomically
from recon3d_ros.core.self_test import street_like_image
from training.models.image_to_points import ImageToPoints
from training.models.pointnet import PointNet
from training.onnx_file import ExportError, serialise, trace
from training.tasks import task_of

MAX_DIFFERENCE = 1e-4  # of a point, in sizes of the object, or of a score


class LabelScores(nn.Module):
    """PointNet without what only training needs."""

    def __init__(self, network: PointNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, points: Tensor) -> Tensor:
        return self.network(points)[0].softmax(dim=-1)


def export_points(
    network: ImageToPoints | PointNet,
    path: Path,
    *,
    name: str,
    version: str,
    training_data: str,
    licence: str = "Apache-2.0",
    author: str = "recon3d_ros authors",
) -> float:
    """Writes a network after checking its file against it.

    Args:
        network: What to export.
        path: Where to write; it is replaced only by a file that has passed the check.
        name, version, training_data, licence, author: What the file says of itself.

    Returns:
        The largest difference between PyTorch and ONNX Runtime.

    Raises:
        ExportError: They differ by more than rounding explains.
    """
    metadata = {"name": name, "version": version, "task": task_of(network.config)}
    metadata |= {"training_data": training_data, "licence": licence, "author": author}
    if isinstance(network, PointNet):
        metadata["labels"] = json.dumps(network.config.labels)
        module, given, result = LabelScores(network), "points", "scores"
        dynamic = {"points": {0: torch.export.Dim("B"), 1: torch.export.Dim("N")}}
        rng = np.random.default_rng(0)
        examples = [torch.from_numpy(rng.normal(size=(b, n, 3)).astype(np.float32)) for b, n in ((2, 64), (3, 50))]
    else:
        module, given, result, size = network, "image", "points", network.config.image_size
        dynamic = None
        images = [street_like_image(seed, height=size, width=size) for seed in range(5)]
        examples = [torch.from_numpy(np.stack(images[:2])), torch.from_numpy(np.stack(images[2:]))]
    module = module.eval()
    content = serialise(trace(module, {given: examples[0]}, [result], dynamic=dynamic), metadata)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    difference = 0.0
    for example in examples:
        with torch.inference_mode():
            expected = module(example).numpy()
        (found,) = session.run([result], {given: example.numpy()})
        difference = max(difference, float(np.abs(found - expected).max()))
    if not difference < MAX_DIFFERENCE:
        raise ExportError(
            f"PyTorch and ONNX Runtime differ by {difference:.2e}, expected less than {MAX_DIFFERENCE:.0e}; "
            "nothing was written"
        )
    with open_atomically(path) as file:
        file.write(content)
    return difference
