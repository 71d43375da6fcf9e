"""A one-file model with convolutions, small enough to be worked out in numpy: to be converted to fp16 and int8."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx_models import METADATA

from recon3d_ros.core.self_test import SelfTest, self_test_metadata

CHANNELS = 8
HEIGHT, WIDTH = 32, 48
FREE_SIZE = (32, 64)  # the default (height, width) of the model whose size is free
_rng = np.random.default_rng(3)
MIX = _rng.normal(0, 0.4, (CHANNELS, 3)).astype(np.float32)
BIAS = _rng.normal(0, 0.2, CHANNELS).astype(np.float32)
ANSWER = np.abs(_rng.normal(0, 0.5, CHANNELS)).astype(np.float32)


def expected_depth(images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns what the model answers, (B, h, w) metres, from (B, h, w, 3) RGB and (B,) pixels."""
    colours = images.astype(np.float64) / 255
    hidden = np.maximum(colours @ MIX.T.astype(np.float64) + BIAS, 0)
    return ((hidden @ ANSWER + 1) * focals[:, None, None] / 50).astype(np.float32)


def write_conv_model(
    path: Path, *, has_images: bool = False, weight: float = 1.0, has_free_size: bool = False
) -> Path:
    """Writes the model.

    Args:
        path: of the file.
        has_images: gives it self-test images.
        weight: multiplies its first weights.
        has_free_size: makes it take any height and width, 64x32 by default.
    """
    height, width = FREE_SIZE if has_free_size else (HEIGHT, WIDTH)
    sides = ["h", "w"] if has_free_size else [height, width]
    constants = {
        "full": np.float32(255),
        "mix": (MIX * weight)[:, :, None, None],
        "bias": BIAS,
        "answer": ANSWER[None, :, None, None],
        "one": np.float32(1),
        "fifty": np.float32(50),
        "axis": np.array([1], np.int64),
        "focal_shape": np.array([-1, 1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "full"], ["colours"]),
        helper.make_node("Conv", ["colours", "mix", "bias"], ["mixed"], kernel_shape=[1, 1]),
        helper.make_node("Relu", ["mixed"], ["hidden"]),
        helper.make_node("Conv", ["hidden", "answer"], ["answered"], kernel_shape=[1, 1]),
        helper.make_node("Squeeze", ["answered", "axis"], ["flat"]),
        helper.make_node("Add", ["flat", "one"], ["offset"]),
        helper.make_node("Div", ["focal", "fifty"], ["scale"]),
        helper.make_node("Reshape", ["scale", "focal_shape"], ["scales"]),
        helper.make_node("Mul", ["offset", "scales"], ["depth"]),
    ]
    graph = helper.make_graph(
        nodes,
        "conv",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", *sides, 3]),
            helper.make_tensor_value_info("focal", TensorProto.FLOAT, ["B"]),
        ],
        [helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["B", *sides])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    metadata = {**METADATA, "name": "conv", "sha256": hashlib.sha256(graph.SerializeToString()).hexdigest()}
    if has_free_size:
        metadata["size"] = f"{width}x{height}"
    if has_images:
        test = SelfTest(*batch(4, height=height, width=width), "a random number generator")
        metadata.update(self_test_metadata(test))
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def batch(
    B: int, seed: int = 0, *, height: int = HEIGHT, width: int = WIDTH
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Returns B images, of the model's size by default, and as many focal lengths."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (B, height, width, 3), dtype=np.uint8)
    return images, rng.uniform(100, 900, B).astype(np.float32)
