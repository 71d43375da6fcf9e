"""Reads a public depth network's ONNX file: what goes in, what comes out, at which size.

Needs the onnx package, which the rest of the package does not: imported only where it is used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto

from recon3d_ros.core.model import ModelError
from recon3d_ros.tools.onnx_wrapper import Network, with_any_batch

IMAGE_TYPES: dict[int, npt.DTypeLike] = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}


def read_network(path: Path, *, layout: str, size: tuple[int, int] | None, output_name: str | None) -> Network:
    """Returns a depth network's graph, made ready for any batch, with what a trial run says of it.

    Args:
        path: of the ONNX file; weights in a file beside it are taken in.
        layout: of the input, "NCHW" or "NHWC".
        size: (height, width) to run it at, where the graph leaves them free.
        output_name: of the depth; None where there is one output.

    Raises:
        ModelError: it cannot be read or run, or is not of one image in and one number a pixel out.
    """
    model = _load(path)
    value = _image_input(model)
    element_type = value.type.tensor_type.elem_type
    if element_type not in IMAGE_TYPES:
        name = TensorProto.DataType.Name(element_type).lower()
        raise ModelError(f"input '{value.name}' is {name}, expected float or float16")
    height, width = _input_size(value, layout, size)
    names = [output.name for output in model.graph.output]
    if output_name is None and len(names) != 1:
        raise ModelError(f"has the outputs {names}; choose the depth with '--output-name'")
    if output_name is not None and output_name not in names:
        raise ModelError(f"has no output '{output_name}', only {names}")
    shape = [1, height, width, 3] if layout == "NHWC" else [1, 3, height, width]
    image: npt.NDArray[np.generic] = np.full(shape, 0.5, IMAGE_TYPES[element_type])
    output_height, output_width = _map_size(_run(path, value.name, image, output_name or names[0]))
    return Network(
        model=with_any_batch(model, value.name),
        input_name=value.name,
        output_name=output_name or names[0],
        is_half=element_type == TensorProto.FLOAT16,
        layout=layout,
        height=height,
        width=width,
        output_height=output_height,
        output_width=output_width,
    )


def _load(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror or error}); give the path of an ONNX file") from error
    except Exception as error:  # the protocol buffer's decoder, whose class is not onnx's own
        raise ModelError("is not an ONNX file") from error
    if not model.graph.node:
        raise ModelError("is not an ONNX file (no graph in it)")
    try:
        onnx.load_external_data_for_model(model, str(path.resolve().parent))
    except Exception as error:  # a missing file, a path out of the folder and a bad length have no class in common
        raise ModelError(
            f"its weights are in another file, which cannot be read ({str(error).splitlines()[0]}); put it beside"
        ) from error
    return model


def _image_input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs: list[onnx.ValueInfoProto] = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        found = [f"{v.name}[{len(v.type.tensor_type.shape.dim)} dimensions]" for v in inputs]
        raise ModelError(f"has the inputs {found}, expected one image of 4 dimensions and nothing else")
    return inputs[0]


def _input_size(value: onnx.ValueInfoProto, layout: str, size: tuple[int, int] | None) -> tuple[int, int]:
    """Returns the height and width that the graph fixes, or else `size`."""
    lengths = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]  # 0 where it is free
    channels, height, width = (lengths[index] for index in ((1, 2, 3) if layout == "NCHW" else (3, 1, 2)))
    if channels not in (0, 3):
        raise ModelError(f"input '{value.name}' is {lengths}: {layout} has {channels} channels, expected 3")
    if height and width:
        return height, width
    if size is None:
        raise ModelError(f"input '{value.name}' is {lengths} (0 is free); give its size with '--size HxW'")
    if (height or size[0], width or size[1]) != size:
        raise ModelError(f"input '{value.name}' is {lengths} (0 is free), to which '--size' does not fit")
    return size


def _run(path: Path, input_name: str, image: npt.NDArray[np.generic], output_name: str) -> npt.NDArray[np.generic]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        output: npt.NDArray[np.generic] = session.run([output_name], {input_name: image})[0]
    except Exception as error:  # ONNX Runtime raises a dozen unrelated classes
        raise ModelError(f"ONNX Runtime cannot run it on one image of {list(image.shape)}: {error}") from error
    return output


def _map_size(output: npt.NDArray[np.generic]) -> tuple[int, int]:
    """Returns the height and width of (1, h, w), (1, 1, h, w) or (1, h, w, 1)."""
    shape = list(output.shape)
    if len(shape) == 4 and 1 in (shape[1], shape[3]):
        del shape[1 if shape[1] == 1 else 3]
    if len(shape) != 3 or shape[0] != 1:
        raise ModelError(f"its output is {list(output.shape)} for one image, expected one number for each pixel")
    return shape[1], shape[2]
