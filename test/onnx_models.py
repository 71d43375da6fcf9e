"""Small one-file models whose depth is a known function of the image and the focal length."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

METRES_PER_FOCAL_PX = 0.05
METRES_PER_GREY = 0.02
METADATA = {
    "name": "tiny",
    "version": "1.0",
    "is_metric": "true",
    "min_depth": "0.1",
    "max_depth": "80.0",
    "training_data": "none: its depth is a formula",
    "licence": "Apache-2.0",
    "author": "recon3d_ros tests",
}


def expected_depth(images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns what the model of write_model answers.

    Args:
        images: (B, h, w, 3) uint8 RGB.
        focals: (B,) float32 pixels.

    Returns:
        (B, h, w) float32 metres: a constant of the focal length plus the mean of the pixel's three colours.
    """
    grey = images.astype(np.float32).mean(axis=3)
    return grey * np.float32(METRES_PER_GREY) + focals[:, None, None] * np.float32(METRES_PER_FOCAL_PX)


def write_model(
    path: Path | str,
    *,
    height: int = 32,
    width: int = 64,
    has_free_size: bool = False,
    metadata: dict[str, str | None] | None = None,
    has_confidence: bool = False,
    image_name: str = "image",
    image_dtype: int = TensorProto.UINT8,
    image_shape: Sequence[int | str] | None = None,
    depth_shape: Sequence[int | str] | None = None,
    depth_dtype: int = TensorProto.FLOAT,
    first_operator: str = "Cast",
    graph_batch: int = -1,
) -> Path:
    """Writes a model that keeps the one-file contract, unless an argument says otherwise; returns its path.

    Args:
        path: of the file.
        height, width: of the network's input, pixels.
        has_free_size: whether they are only the default size of a graph that takes any.
        metadata: values that replace those of METADATA or the sha256; None removes one.
        has_confidence: whether there is a second output: the green channel from 0 to 1.
        image_name, image_dtype, image_shape: of the first input.
        depth_shape, depth_dtype: of the first output.
        graph_batch: the one batch size that the graph can really run; -1 for any.
        first_operator: what the first node calls itself; any other name makes a graph that nothing can run.
    """
    sides: list[int | str] = ["h", "w"] if has_free_size else [height, width]
    shape = ["B", *sides, 3] if image_shape is None else list(image_shape)
    inputs = [
        helper.make_tensor_value_info(image_name, image_dtype, shape),
        helper.make_tensor_value_info("focal", TensorProto.FLOAT, ["B"]),
    ]
    outputs = [helper.make_tensor_value_info("depth", depth_dtype, list(depth_shape or ["B", *sides]))]
    constants = {
        "metres_per_grey": np.float32(METRES_PER_GREY),
        "metres_per_focal": np.float32(METRES_PER_FOCAL_PX),
        "focal_shape": np.array([graph_batch, 1, 1], dtype=np.int64),
    }
    nodes = [
        helper.make_node(first_operator, [image_name], ["colour"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["colour"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("Mul", ["grey", "metres_per_grey"], ["from_grey"]),
        helper.make_node("Mul", ["focal", "metres_per_focal"], ["from_focal"]),
        helper.make_node("Reshape", ["from_focal", "focal_shape"], ["offset"]),
        helper.make_node("Add", ["from_grey", "offset"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["depth"], to=depth_dtype),
    ]
    if has_confidence:
        outputs.append(helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["B", *sides]))
        constants["green"] = np.array(1, dtype=np.int64)
        constants["full_scale"] = np.float32(255)
        nodes.append(helper.make_node("Gather", ["colour", "green"], ["green_value"], axis=3))
        nodes.append(helper.make_node("Div", ["green_value", "full_scale"], ["confidence"]))
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    # ONNX Runtime refuses files newer than itself, so the versions stay behind what onnx writes by default.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    sha256 = hashlib.sha256(model.graph.SerializeToString()).hexdigest()
    size = {"size": f"{width}x{height}"} if has_free_size else {}
    values = {**METADATA, "sha256": sha256, **size, **(metadata or {})}
    helper.set_model_props(model, {key: value for key, value in values.items() if value is not None})
    onnx.save(model, str(path))
    return Path(path)
