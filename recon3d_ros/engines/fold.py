"""Batch norms folded into the convolutions before them, as every run time does when it loads a float32 graph.

A model file keeps them apart, so that it can be trained on; what rounds the weights to fewer bits must round those
that the convolution really computes with.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx


def fold_batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the graph without the BatchNormalization nodes that follow a convolution alone.

    A convolution's answer is linear in its weights, so y = (Wx + b - mean) * scale + bias becomes one convolution
    with the weights W * scale and the bias (b - mean) * scale + bias; scale is weight / sqrt(variance + epsilon).
    """
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    graph = folded.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    convolutions = {node.output[0]: node for node in graph.node if node.op_type == "Conv"}
    outputs = {value.name for value in graph.output}
    gone = []
    for node in graph.node:
        conv = convolutions.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if conv is None or readers[node.input[0]] > 1 or node.input[0] in outputs:
            continue
        names = [conv.input[1], *conv.input[2:3], *node.input[1:]]
        if not all(name in tensors for name in names if name):
            continue
        _fold(conv, node, tensors, graph)
        gone.append(node)
    for node in gone:
        graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(copies)
    return folded


def _fold(
    conv: onnx.NodeProto, norm: onnx.NodeProto, tensors: dict[str, onnx.TensorProto], graph: onnx.GraphProto
) -> None:
    """Gives the convolution weights and a bias that make the batch norm's answer."""
    weight, bias, mean, variance = (_values(tensors[name]) for name in norm.input[1:5])
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    scale = weight / np.sqrt(variance + epsilon)
    kernel = _values(tensors[conv.input[1]])
    own_bias = _values(tensors[conv.input[2]]) if len(conv.input) > 2 and conv.input[2] else 0.0
    kernel = kernel * scale.reshape(-1, *[1] * (kernel.ndim - 1))
    made = {conv.input[1]: kernel, norm.input[2]: (own_bias - mean) * scale + bias}
    names = []
    for name, values in made.items():
        names.append(f"{norm.output[0]}_{name}_folded")  # convolutions may share a kernel, not their batch norms
        graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), names[-1]))
    del conv.input[1:]
    conv.input.extend(names)
    conv.output[0] = norm.output[0]


def _values(tensor: onnx.TensorProto) -> npt.NDArray[np.float64]:
    return np.asarray(onnx.numpy_helper.to_array(tensor), np.float64)
