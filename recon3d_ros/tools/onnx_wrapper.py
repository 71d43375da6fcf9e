"""Puts nodes around a public depth network's graph, so that it keeps the one-file contract of core.model.

Before the network: cast, transpose, resize, normalise. After it: scale and shift, conversion to depth, focal
length, range. Needs the onnx package, which the rest of the package does not: imported only where it is used.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.compose
import onnx.version_converter
from onnx import TensorProto, helper, numpy_helper

from recon3d_ros.core.model import ModelError

MIN_OPSET = 11  # Resize and Clip as they are written here
CONVERTED_OPSET = 17
PREFIX = "network/"  # of the network's own names: it may have an "image" or a "depth" too
TINY = 1e-9  # the least inverse depth that is divided by, in the network's units


@dataclass(frozen=True)
class Network:
    """What is known of the graph to wrap.

    Attributes:
        model: with any batch; its weights are inside.
        input_name, output_name: of the image and of the depth.
        is_half: whether the image goes in as float16 rather than float32.
        layout: "NCHW" or "NHWC".
        height, width: of its input, pixels.
        output_height, output_width: of its output, pixels.
    """

    model: onnx.ModelProto
    input_name: str
    output_name: str
    is_half: bool
    layout: str
    height: int
    width: int
    output_height: int
    output_width: int


@dataclass(frozen=True)
class Conversion:
    """How the contract's image becomes the network's input, and its output depth.

    Attributes:
        height, width: of the contract's image and depth, pixels.
        mean, std: for the image in 0..1, RGB.
        kind: of the network's output: "depth", "inverse_depth" or "disparity" (pixels of the network's input).
        scale, shift: applied to the network's output first.
        canonical_focal: the focal length in pixels of the network's input at which its depth is right; None if
            its depth is right at every focal length.
        baseline: metres, of a disparity.
        min_depth, max_depth: range of the depth given out.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    kind: str
    scale: float
    shift: float
    canonical_focal: float | None
    baseline: float | None
    min_depth: float
    max_depth: float


class _Nodes:
    """A growing chain of nodes and the constants they read."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, *inputs: str | npt.ArrayLike, output: str = "", **attributes: Any) -> str:
        """Adds a node, arrays among its inputs as constants; returns the name of its output."""
        names = [item if isinstance(item, str) else self._constant(np.asarray(item)) for item in inputs]
        output = output or f"{self.prefix}/{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [output], name=output, **attributes))
        return output

    def _constant(self, value: npt.NDArray[np.generic]) -> str:
        name = f"{self.prefix}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def with_any_batch(model: onnx.ModelProto, input_name: str) -> onnx.ModelProto:
    """Returns the model with its first dimension free, of an opset that the added nodes can be written in.

    Raises:
        ModelError: onnx cannot convert its opset.
    """
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if opset < MIN_OPSET:
        try:
            model = onnx.version_converter.convert_version(model, CONVERTED_OPSET)
        except Exception as error:  # the converter raises whatever its C++ does
            raise ModelError(
                f"its opset is {opset}, expected at least {MIN_OPSET}, and onnx cannot convert it ({error}); "
                f"export it again with opset {CONVERTED_OPSET}"
            ) from error
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:], graph.value_info[:]
    graph.input.extend(inputs)
    for value in (*(item for item in inputs if item.name == input_name), *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if dimensions:
            dimensions[0].dim_param = "B"
    copy.ir_version = max(copy.ir_version, 8)
    return copy


def wrap(network: Network, conversion: Conversion) -> onnx.GraphProto:
    """Returns the graph: image and focal in, depth out, the network between."""
    model = onnx.compose.add_prefix(network.model, PREFIX)
    before, after = _Nodes("before"), _Nodes("after")
    _add_input(before, network, conversion, output=PREFIX + network.input_name)
    _add_output(after, network, conversion, source=PREFIX + network.output_name)
    size = [conversion.height, conversion.width]
    graph = onnx.GraphProto()
    graph.CopyFrom(model.graph)
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*before.nodes, *model.graph.node, *after.nodes])
    graph.initializer.extend([*before.constants, *after.constants])
    graph.input.extend(
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", *size, 3]),
            helper.make_tensor_value_info("focal", TensorProto.FLOAT, ["B"]),
        ]
    )
    graph.output.append(helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["B", *size]))
    return graph


def _add_input(nodes: _Nodes, network: Network, conversion: Conversion, *, output: str) -> None:
    # The cast comes first: TensorRT refuses to transpose uint8.
    x = nodes.add("Cast", "image", to=TensorProto.FLOAT)
    is_resized = (network.height, network.width) != (conversion.height, conversion.width)
    has_channels_first = is_resized or network.layout == "NCHW"
    if has_channels_first:
        x = nodes.add("Transpose", x, perm=[0, 3, 1, 2])
    if is_resized:
        x = _add_resize(nodes, x, (conversion.height, conversion.width), (network.height, network.width))
    shape = (1, 3, 1, 1) if has_channels_first else (1, 1, 1, 3)
    x = nodes.add("Sub", x, np.float32(255.0) * np.array(conversion.mean, np.float32).reshape(shape))
    x = nodes.add("Div", x, np.float32(255.0) * np.array(conversion.std, np.float32).reshape(shape))
    if has_channels_first and network.layout == "NHWC":
        x = nodes.add("Transpose", x, perm=[0, 2, 3, 1])
    nodes.add("Cast", x, to=TensorProto.FLOAT16 if network.is_half else TensorProto.FLOAT, output=output)


def _add_output(nodes: _Nodes, network: Network, conversion: Conversion, *, source: str) -> None:
    size, output_size = (conversion.height, conversion.width), (network.output_height, network.output_width)
    x = nodes.add("Cast", source, to=TensorProto.FLOAT)
    if output_size != size:
        x = nodes.add("Reshape", x, np.array([-1, 1, *output_size], np.int64))
        x = _add_resize(nodes, x, output_size, size)
    x = nodes.add("Reshape", x, np.array([-1, *size], np.int64))
    x = nodes.add("Mul", x, np.float32(conversion.scale))
    x = nodes.add("Add", x, np.float32(conversion.shift))
    if conversion.kind != "depth":
        # Zero and below is at infinity: the range's far end.
        x = nodes.add("Reciprocal", nodes.add("Max", x, np.float32(TINY)))
    factor = _focal_factor(network, conversion)
    if factor is not None:
        focal = nodes.add("Reshape", nodes.add("Mul", "focal", np.float32(factor)), np.array([-1, 1, 1], np.int64))
        x = nodes.add("Mul", x, focal)
    nodes.add("Clip", x, np.float32(conversion.min_depth), np.float32(conversion.max_depth), output="depth")


def _focal_factor(network: Network, conversion: Conversion) -> float | None:
    """Returns by what the depth is multiplied for each pixel of focal length, or None where it is not."""
    resized = network.width / conversion.width  # `focal` is in pixels of the contract's image
    if conversion.kind == "disparity":
        return None if conversion.baseline is None else conversion.baseline * resized
    return None if conversion.canonical_focal is None else resized / conversion.canonical_focal


def _add_resize(nodes: _Nodes, x: str, size: tuple[int, int], to_size: tuple[int, int]) -> str:
    """Adds a bilinear resize of (B, C, *size). Scales and not sizes: a size would have to name the batch."""
    # The output's length is floor(length * scale): rounded up, the scale cannot lose a pixel.
    scales = [
        np.nextafter(np.float32(new / old), np.float32(np.inf)) for old, new in zip(size, to_size, strict=True)
    ]
    return nodes.add(
        "Resize", x, "", np.array([1, 1, *scales], np.float32), mode="linear",
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip


def write_bytes(graph: onnx.GraphProto, network: onnx.ModelProto, metadata: dict[str, str]) -> bytes:
    """Returns the file's bytes, the metadata and the graph's checksum in it.

    Raises:
        ModelError: it is no valid graph, or larger than a protocol buffer can be.
    """
    model = helper.make_model(
        graph, opset_imports=network.opset_import, functions=network.functions, ir_version=network.ir_version
    )
    model.producer_name = "recon3d_ros"
    try:
        onnx.checker.check_model(model)
        sha256 = hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
        helper.set_model_props(model, {**metadata, "sha256": sha256})
        data: bytes = model.SerializeToString(deterministic=True)
    except Exception as error:  # the checker and the protocol buffer's encoder have no class in common
        raise ModelError(f"the wrapped graph cannot be written ({str(error).splitlines()[0]})") from error
    return data
