"""A float32 model file in float16, bfloat16 or int8, without torch.

Only the body is converted: what lies between the first and the last of the heavy nodes. What makes float of the
image before them and metres of their answer after them spans decades, costs nothing, and stays in float32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import onnx
from onnx import TensorProto

from recon3d_ros.engines.fold import fold_batch_norms
from recon3d_ros.engines.half_graph import to_half
from recon3d_ros.engines.int8_graph import Inputs, to_int8

HEAVY = {"Conv", "ConvTranspose", "MatMul", "Gemm", "Attention", "LSTM", "GRU"}
HALF = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def in_precision(content: bytes, precision: str, inputs: Iterable[Inputs] = ()) -> bytes:
    """Returns a float32 one-file model in another precision; what it says of itself stays true.

    Args:
        content: the model file.
        precision: "fp16", "bf16" or "int8".
        inputs: int8: the model's inputs, batch 1 each, to take the ranges of values from.

    Raises:
        ValueError: the graph cannot be converted, or int8 has no inputs.
    """
    model = onnx.load_from_string(content)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    model = converted(model, precision, inputs)
    digest = hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**properties, "sha256": digest})
    return bytes(model.SerializeToString(deterministic=True))


def converted(model: onnx.ModelProto, precision: str, inputs: Iterable[Inputs] = ()) -> onnx.ModelProto:
    """Returns a float32 graph in another precision, its batch norms folded; see in_precision."""
    model = fold_batch_norms(model)
    _name_nodes(model.graph)
    _check_float32(model.graph)
    if precision == "int8":
        return to_int8(model, inputs, names_in_float(model.graph.node, keep_last=True))
    return to_half(model, HALF[precision], names_in_float(model.graph.node, keep_last=False))


def names_in_float(nodes: Sequence[onnx.NodeProto], *, keep_last: bool) -> list[str]:
    """Returns the names of the nodes before the first and after the last heavy ones.

    Args:
        nodes: in topological order, as ONNX demands, each with a name of its own.
        keep_last: whether the last heavy nodes, which give the answer, stay in float too.

    Raises:
        ValueError: there is nothing else in the graph.
    """
    after = _reached([(node.name, node.op_type, node.input, node.output) for node in nodes])
    before = _reached([(node.name, node.op_type, node.output, node.input) for node in reversed(nodes)])
    names = []
    for node in nodes:
        is_heavy = node.op_type in HEAVY
        is_body = (is_heavy or node.name in after) and (node.name in before or (is_heavy and not keep_last))
        if not is_body:
            names.append(node.name)
    if len(names) == len(nodes):
        raise ValueError(f"the graph has no body to convert: too few nodes are one of {', '.join(sorted(HEAVY))}")
    return names


def _reached(nodes: Iterable[tuple[str, str, Iterable[str], Iterable[str]]]) -> set[str]:
    """Returns the names of the nodes that read, directly or through others, what a heavy node gives out.

    The sides of a tensor, which Shape reads, say nothing of its values.

    Args:
        nodes: name, operator, tensors read and tensors written of each, in the order of the walk.
    """
    carrying: set[str] = set()
    names = set()
    for name, operator, read, written in nodes:
        is_reached = operator != "Shape" and not carrying.isdisjoint(read)
        if is_reached:
            names.add(name)
        if is_reached or operator in HEAVY:
            carrying.update(tensor for tensor in written if tensor)
    return names


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Gives every node a name of its own, and makes constants of nodes weights of the graph."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{node.op_type}_{len(nodes)}"
            nodes.append(copy)
    del graph.node[:]
    graph.node.extend(nodes)


def _check_float32(graph: onnx.GraphProto) -> None:
    found = {tensor.data_type for tensor in graph.initializer}
    if {TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT8} & found:
        raise ValueError("its weights are not in float32; give the float32 model, of which the others are made")
