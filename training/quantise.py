"""INT8 by post-training quantisation: an exported float32 graph, calibrated on frames."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from recon3d_ros.engines.precision import converted
from training.datasets import Frame


def quantise(model: onnx.ModelProto, frames: Iterable[Frame]) -> onnx.ModelProto:
    """Returns the graph in int8 as recon3d_ros.engines.int8_graph makes it.

    Args:
        model: A float32 graph as training.export traces it.
        frames: At the network's size; the ranges of the activations are taken from them. 16 do.

    Raises:
        ValueError: There is no frame.
    """
    inputs = [
        {"image": frame.image[None], "focal": np.array([frame.camera.fx], dtype=np.float32)} for frame in frames
    ]
    return converted(model, "int8", inputs)
