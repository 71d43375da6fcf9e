"""A float32 model in fp16, bf16 and int8: the numbers, the types, and what is left in float32."""

from __future__ import annotations

from pathlib import Path

import conv_models
import numpy as np
import onnx
import onnx.reference
import onnx_models
import pytest

from recon3d_ros.core.model import read_metadata, read_model_info
from recon3d_ros.core.self_test import METADATA_KEY, read_self_test
from recon3d_ros.engines import EngineError, default_model_path, load_engine
from recon3d_ros.engines.convert import convert_model

HALF, BFLOAT = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return conv_models.write_conv_model(tmp_path / "conv.onnx", has_images=True)


def convert(path: Path, precision: str, calibration: str = "") -> Path:
    out = path.with_name(f"{precision}.onnx")
    out.write_bytes(convert_model(path, read_model_info(path), precision, calibration))
    return out


def relative_error(path: Path, images: np.ndarray, focals: np.ndarray) -> np.ndarray:
    return np.abs(load_engine(path).infer(images, focals).depth / conv_models.expected_depth(images, focals) - 1)


@pytest.mark.parametrize(("precision", "error"), [("fp16", 1e-3), ("int8", 3e-2)])
@pytest.mark.parametrize("B", [1, 3])
def test_the_depth_stays_that_of_the_model(model, precision, error, B) -> None:
    images, focals = conv_models.batch(B, seed=9)
    found = relative_error(convert(model, precision), images, focals)
    assert found.mean() < error
    assert found.max() > 1e-6  # it was converted at all


def test_bfloat16_is_the_nearest_to_each_weight(model) -> None:
    # ONNX Runtime has no bfloat16 convolution on a CPU, so the weights are read back by onnx itself.
    graph = onnx.load(convert(model, "bf16")).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    mix = weights["mix_half"]
    assert mix.data_type == BFLOAT
    found = onnx.numpy_helper.to_array(mix).astype(np.float64)[:, :, 0, 0]
    exact = conv_models.MIX.astype(np.float64)
    step = 2.0 ** (np.floor(np.log2(np.abs(exact))) - 7)  # bfloat16 has 7 bits of fraction
    assert (np.abs(found - exact) <= step / 2 * (1 + 1e-9)).all()
    assert not np.array_equal(found, exact)


def test_the_depth_in_bfloat16_is_near_by_the_onnx_projects_own_evaluator(model) -> None:
    images, focals = conv_models.batch(2, seed=9)
    evaluator = onnx.reference.ReferenceEvaluator(onnx.load(convert(model, "bf16")))
    [depth] = evaluator.run(None, {"image": images, "focal": focals})
    error = np.abs(depth / conv_models.expected_depth(images, focals) - 1)
    assert 1e-5 < error.mean() < 2.0**-8  # a bfloat16's rounding, and no more


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", HALF), ("bf16", BFLOAT)])
def test_only_the_body_is_converted_with_one_cast_at_each_end(model, precision, dtype) -> None:
    graph = onnx.load(convert(model, precision)).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert {name for name, found in types.items() if found == dtype} == {"mix_half", "bias_half", "answer_half"}
    assert types["full"] == types["one"] == types["fifty"] == onnx.TensorProto.FLOAT
    casts = [node for node in graph.node if node.op_type == "Cast"]
    assert [(node.input[0], node.attribute[0].i) for node in casts] == [
        ("image", onnx.TensorProto.FLOAT),
        ("colours", dtype),
        ("answered", onnx.TensorProto.FLOAT),
    ]


def test_the_file_keeps_its_contract_its_words_and_its_images(model) -> None:
    for precision in ("fp16", "bf16", "int8"):
        out = convert(model, precision)
        info = read_model_info(out)  # which verifies the graph's sha256
        assert (info.name, info.max_depth, info.inputs) == ("conv", 80.0, read_model_info(model).inputs)
        assert read_metadata(out)[METADATA_KEY] == read_metadata(model)[METADATA_KEY]


def test_int8_has_the_form_that_tensorrt_parses(model) -> None:
    graph = onnx.load(convert(model, "int8")).graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    zero_points = [values[n.input[2]] for n in graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert zero_points
    assert all(point.dtype == np.int8 and not point.any() for point in zero_points)
    assert values["bias"].dtype == values["answer"].dtype == np.float32  # bias, and the last convolution


def test_int8_ranges_come_from_the_folder_that_is_given(tmp_path) -> None:
    import cv2

    model = conv_models.write_conv_model(tmp_path / "conv.onnx")
    folder = tmp_path / "images" / "front"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(3):
        image = rng.integers(0, 256, (50, 100, 3), dtype=np.uint8)  # of another size than the network
        cv2.imwrite(str(folder / f"{index}.png"), image)
    images, focals = conv_models.batch(2)
    assert relative_error(convert(model, "int8", str(folder.parent)), images, focals).mean() < 3e-2
    dark = tmp_path / "dark"
    dark.mkdir()
    cv2.imwrite(str(dark / "night.png"), np.full((50, 100, 3), 9, np.uint8))
    assert (
        relative_error(convert(model, "int8", str(dark)), images, focals).mean() > 0.1
    )  # clipped at night's range


@pytest.mark.parametrize(
    ("precision", "changes", "message"),
    [
        (
            "fp16",
            {"weight": 3e5},
            r"cannot be converted to fp16: weight 'mix' reaches .*, float16 65504; ask for bf16",
        ),
        ("int8", {}, "int8 needs images to take its ranges from, and the model carries none; give calibration"),
    ],
)
def test_what_cannot_be_converted_is_refused(tmp_path, precision, changes, message) -> None:
    path = conv_models.write_conv_model(tmp_path / "conv.onnx", **changes)
    with pytest.raises(EngineError, match=message):
        convert(path, precision)


def test_a_graph_without_a_body_and_one_that_was_converted_already_are_refused(model, tmp_path) -> None:
    with pytest.raises(EngineError, match="the graph has no body to convert"):
        convert(onnx_models.write_model(tmp_path / "tiny.onnx"), "fp16")
    with pytest.raises(EngineError, match="its weights are not in float32"):
        convert(convert(model, "fp16"), "bf16")


@pytest.mark.parametrize(
    ("files", "message"),
    [({}, "holds no image"), ({"a.png": b"no picture"}, "a.png: is no image that can be read")],
)
def test_a_calibration_folder_without_images_is_refused(model, tmp_path, files, message) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(EngineError, match=message):
        convert(model, "int8", str(folder))


def test_where_onnx_is_absent_the_way_out_is_named(model, monkeypatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "recon3d_ros.engines.precision", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        EngineError, match=r"needs more than is installed .*: pip install onnx, or give a model that"
    ):
        convert_model(model, read_model_info(model), "fp16")


def test_the_shipped_network_keeps_its_depth_in_float16(tmp_path) -> None:
    info = read_model_info(default_model_path())
    out = tmp_path / "half.onnx"
    out.write_bytes(convert_model(default_model_path(), info, "fp16"))
    test = read_self_test(default_model_path(), info)
    expected = load_engine().infer(test.images[:2], test.focals[:2]).depth
    found = load_engine(out).infer(test.images[:2], test.focals[:2]).depth
    assert np.abs(found / expected - 1).mean() < 1e-3
    assert out.stat().st_size < 0.6 * default_model_path().stat().st_size
