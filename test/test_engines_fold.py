"""Batch norms folded into convolutions: the same answers from a graph that no longer has them."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install onnx")

import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from recon3d_ros.engines.fold import fold_batch_norms  # noqa: E402

H, W = 5, 7


def graph(*, bias: bool, groups: int = 1, branch: bool = False) -> onnx.ModelProto:
    """Returns a convolution with a batch norm behind it; with `branch` its own output is read as well."""
    rng = np.random.default_rng(4)
    weights = {
        "kernel": rng.normal(size=(4, 2 // groups, 3, 3)),
        "scale": rng.uniform(0.5, 2, 4),
        "shift": rng.normal(size=4),
        "mean": rng.normal(size=4),
        "variance": rng.uniform(0.1, 3, 4),
        **({"bias": rng.normal(size=4)} if bias else {}),
    }
    conv = ["x", "kernel", *(["bias"] if bias else [])]
    nodes = [
        helper.make_node("Conv", conv, ["c"], pads=[1, 1, 1, 1], group=groups),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["y"], epsilon=1e-3),
    ]
    if branch:
        nodes.append(helper.make_node("Add", ["c", "y"], ["z"]))
    shape = [1, 2, H, W]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("z" if branch else "y", TensorProto.FLOAT, [1, 4, H, W])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def answer(model: onnx.ModelProto) -> np.ndarray:
    x = np.random.default_rng(5).normal(size=(1, 2, H, W)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it would fold too
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_folded_convolution_gives_the_same_answer(bias: bool, groups: int) -> None:
    model = graph(bias=bias, groups=groups)
    folded = fold_batch_norms(model)
    assert [node.op_type for node in folded.graph.node] == ["Conv"]
    assert len(folded.graph.initializer) == 2
    np.testing.assert_allclose(answer(folded), answer(model), rtol=1e-4, atol=1e-5)
    assert [node.op_type for node in model.graph.node] == ["Conv", "BatchNormalization"]


def test_convolutions_that_share_a_kernel_but_no_batch_norm_keep_their_own_answers() -> None:
    model = graph(bias=True)
    rng = np.random.default_rng(6)
    other = {"scale2": rng.uniform(0.5, 2, 4), "shift2": rng.normal(size=4), "variance2": rng.uniform(0.1, 3, 4)}
    model.graph.initializer.extend(
        numpy_helper.from_array(value.astype(np.float32), name) for name, value in other.items()
    )
    model.graph.node[1].output[0] = "y1"
    model.graph.node.extend(
        [
            helper.make_node("Conv", ["x", "kernel", "bias"], ["c2"], pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", ["c2", "scale2", "shift2", "mean", "variance2"], ["y2"]),
            helper.make_node("Sub", ["y1", "y2"], ["y"]),
        ]
    )
    folded = fold_batch_norms(model)
    assert [node.op_type for node in folded.graph.node] == ["Conv", "Conv", "Sub"]
    np.testing.assert_allclose(answer(folded), answer(model), rtol=1e-4, atol=1e-5)


def test_a_convolution_that_something_else_reads_too_stays_as_it_is() -> None:
    model = graph(bias=True, branch=True)
    folded = fold_batch_norms(model)
    assert [node.op_type for node in folded.graph.node] == ["Conv", "BatchNormalization", "Add"]
    np.testing.assert_array_equal(answer(folded), answer(model))
