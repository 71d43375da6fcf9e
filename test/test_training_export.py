"""Export: the model file says what the network says, and keeps the one-file contract."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
from toy_shards import write_toy_shards

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
onnx = pytest.importorskip("onnx", reason="needs onnx: pip install -r requirements/training.txt")
pytest.importorskip("onnxscript", reason="needs onnxscript: pip install -r requirements/training.txt")

from recon3d_ros.core.model import read_model_info  # noqa: E402
from recon3d_ros.core.self_test import read_self_test, street_like_image  # noqa: E402
from recon3d_ros.engines import default_model_path, load_engine  # noqa: E402
from training import export as export_module  # noqa: E402
from training.checkpoints import CheckpointError, load_network  # noqa: E402
from training.datasets import Frame, ShardFrames  # noqa: E402
from training.export import ExportError, export, main  # noqa: E402
from training.models.depth_network import DepthNetwork, DepthNetworkConfig  # noqa: E402
from training.torch_engine import TorchEngine  # noqa: E402

# What TensorRT 10's parser, ONNX Runtime and OpenVINO all take.
PLAIN_OPERATIONS = {
    *("Cast", "Transpose", "Conv", "Relu", "Clip", "MaxPool", "Resize", "Concat"),
    *("Add", "Sub", "Mul", "Div", "Sigmoid", "Exp", "Log", "Neg", "Gather", "Unsqueeze", "BatchNormalization"),
    *("Shape", "Squeeze", "Range", "Reshape", "Expand", "Abs"),  # each pixel's place, for any height and width
}
QUANTISING = {"QuantizeLinear", "DequantizeLinear"}
ABOUT = {"height": 64, "width": 96, "name": "tiny", "version": "1.2.3", "training_data": "none"}


@pytest.fixture(scope="module")
def network() -> DepthNetwork:
    torch.manual_seed(0)
    return DepthNetwork(DepthNetworkConfig(encoder="tiny", decoder_channels=(24, 16, 12, 8))).eval()


@pytest.fixture(scope="module")
def model_path(network: DepthNetwork, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    export(network, path, **ABOUT)
    return path


def altered(model_path, path, change) -> None:
    """Writes a model with a change, and a checksum and metadata that fit it."""
    model = onnx.load(model_path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    change(model.graph, metadata)
    graph = model.graph.SerializeToString(deterministic=True)
    onnx.helper.set_model_props(model, {**metadata, "sha256": hashlib.sha256(graph).hexdigest()})
    path.write_bytes(model.SerializeToString(deterministic=True))


def claim_a_huge_size(graph, metadata) -> None:
    graph.initializer[0].dims[:] = [10**12]


def name_twice(graph, metadata) -> None:
    graph.initializer.append(graph.initializer[0])


def hold_text(graph, metadata) -> None:
    name = graph.initializer[0].name
    graph.initializer[0].CopyFrom(onnx.helper.make_tensor(name, onnx.TensorProto.STRING, [1], [b"x"]))


def cut_the_configuration(graph, metadata) -> None:
    metadata["depth_network_config"] = "{"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (claim_a_huge_size, "not a readable checkpoint"),
        (name_twice, r"it holds .* twice"),
        (hold_text, "not a readable checkpoint"),
        (cut_the_configuration, "its metadata depth_network_config is no JSON"),
    ],
)
def test_a_model_file_that_lies_is_no_checkpoint(model_path, tmp_path, change, message: str) -> None:
    altered(model_path, tmp_path / "lie.onnx", change)
    with pytest.raises(CheckpointError, match=rf"lie\.onnx: .*{message}"):
        load_network(tmp_path / "lie.onnx")


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> list[Frame]:
    shards = ShardFrames([write_toy_shards(tmp_path_factory.mktemp("shards"), height=64, width=96)])
    return [shards[index] for index in range(len(shards))]


@pytest.fixture(scope="module")
def int8_path(network: DepthNetwork, frames: list[Frame], tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "int8.onnx"
    export(network, path, **ABOUT, precision="int8", calibration=frames)
    return path


def initializer_types(path) -> set[int]:
    """Returns the element types of the graph's larger constants: its weights."""
    constants = onnx.load(path).graph.initializer
    return {constant.data_type for constant in constants if np.prod(constant.dims) >= 100}


def test_the_model_file_describes_itself(model_path) -> None:
    info = read_model_info(model_path)
    assert (info.name, info.version, info.is_metric) == ("tiny", "1.2.3", True)
    assert (info.height, info.width, info.has_free_size) == (64, 96, True)
    assert (info.min_depth, info.max_depth) == (0.5, 100.0)
    assert info.has_confidence


def test_the_checksum_is_that_of_the_graph(model_path) -> None:
    # onnx parses and writes the graph again: a check that does not share the package's own reader.
    graph = onnx.load(model_path).graph.SerializeToString(deterministic=True)
    assert read_model_info(model_path).sha256 == hashlib.sha256(graph).hexdigest()


def test_the_first_operation_on_the_image_is_the_cast(model_path) -> None:
    users = [node.op_type for node in onnx.load(model_path).graph.node if "image" in node.input]
    assert [user for user in users if user != "Shape"] == ["Cast"]


def test_the_file_names_nothing_of_the_machine_that_wrote_it(model_path) -> None:
    assert b"/training/" not in model_path.read_bytes()
    assert b".py" not in model_path.read_bytes()


@pytest.mark.parametrize(("batch_size", "height", "width"), [(1, 64, 96), (2, 64, 96), (5, 96, 32), (1, 32, 160)])
def test_onnx_runtime_agrees_with_torch_at_any_batch_and_size(
    network: DepthNetwork, model_path, batch_size: int, height: int, width: int
) -> None:
    images = np.stack([street_like_image(9 + i, height=height, width=width) for i in range(batch_size)])
    focals = np.linspace(80, 300, batch_size, dtype=np.float32)
    expected = TorchEngine(network, height=height, width=width).infer(images, focals)
    found = load_engine(model_path).infer(images, focals)
    np.testing.assert_allclose(found.depth, expected.depth, rtol=1e-3)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-3)


def test_a_graph_that_differs_from_the_network_is_refused(model_path, tmp_path, monkeypatch) -> None:
    torch.manual_seed(1)
    other = DepthNetwork(DepthNetworkConfig(encoder="tiny", decoder_channels=(24, 16, 12, 8)))
    monkeypatch.setattr(export_module, "_trace", lambda *_, **__: onnx.load(model_path))
    with pytest.raises(ExportError, match="nothing was written"):
        export(other, tmp_path / "a.onnx", **ABOUT)
    assert list(tmp_path.iterdir()) == []


def test_the_graph_is_made_of_plain_operations_alone(model_path) -> None:
    assert {node.op_type for node in onnx.load(model_path).graph.node} <= PLAIN_OPERATIONS
    assert {(opset.domain, opset.version) for opset in onnx.load(model_path).opset_import} == {("", 18)}


def test_the_shipped_graph_is_made_of_plain_operations_alone_and_is_small() -> None:
    path = default_model_path()
    assert {node.op_type for node in onnx.load(path).graph.node} <= PLAIN_OPERATIONS
    assert path.stat().st_size < 25_000_000


def test_fp16_halves_the_weights_and_keeps_the_contract_the_depth_and_the_network(
    network, frames, tmp_path
) -> None:
    path = tmp_path / "half.onnx"
    export(network, path, **ABOUT, precision="fp16")
    assert initializer_types(path) == {onnx.TensorProto.FLOAT16}
    read_model_info(path)
    assert_depth_is_close(network, path, frames, tolerance=0.01)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_int8_quantises_the_weights_and_keeps_the_contract_and_the_depth(network, frames, int8_path) -> None:
    model = onnx.load(int8_path)
    assert {node.op_type for node in model.graph.node} <= PLAIN_OPERATIONS | QUANTISING
    weights = {name for node in model.graph.node if node.op_type == "Conv" for name in node.input[1:2]}
    dequantised = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    assert weights - dequantised == {"head.weight"}
    read_model_info(int8_path)
    assert_depth_is_close(network, int8_path, frames, tolerance=0.1)


def test_int8_has_the_form_that_tensorrt_parses(int8_path) -> None:
    # Zero points of 0, and no quantised constant but the weights, each straight before its DequantizeLinear.
    model = onnx.load(int8_path)
    constants = {constant.name: onnx.numpy_helper.to_array(constant) for constant in model.graph.initializer}
    zero_points = [constants[n.input[2]] for n in model.graph.node if n.op_type in QUANTISING]
    assert zero_points
    assert all(point.dtype == np.int8 and not point.any() for point in zero_points)
    quantised = {name for name, value in constants.items() if value.dtype == np.int8 and value.any()}
    for node in model.graph.node:
        assert node.op_type == "DequantizeLinear" or not quantised.intersection(node.input)


def test_int8_without_frames_or_with_frames_of_another_size_is_refused(network, frames, tmp_path) -> None:
    path = tmp_path / "a.onnx"
    with pytest.raises(ExportError, match="--calibration"):
        export(network, path, **ABOUT, precision="int8")
    with pytest.raises(ExportError, match="64x96 pixels, expected 32x96"):
        export(network, path, **{**ABOUT, "height": 32}, precision="int8", calibration=frames)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_precision_is_refused_with_the_known_ones(network, tmp_path) -> None:
    with pytest.raises(ExportError, match="fp32, fp16, int8"):
        export(network, tmp_path / "a.onnx", **ABOUT, precision="int4")


def test_a_size_that_the_encoder_cannot_halve_five_times_is_refused(network, tmp_path) -> None:
    with pytest.raises(ExportError, match="64x100"):
        export(network, tmp_path / "a.onnx", **{**ABOUT, "width": 100})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), r"none\.pt: no such checkpoint"),
        (("--precision", "int8"), "needs '--calibration SHARDS'"),
        (("--calibration", "shards"), "needs '--calibration SHARDS'"),
    ],
)
def test_the_command_says_what_is_missing(tmp_path, capsys, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "none.pt"), str(tmp_path / "a.onnx"), *options])
    assert re.search(message, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def assert_depth_is_close(network: DepthNetwork, path, frames: list[Frame], *, tolerance: float) -> None:
    images = np.stack([frame.image for frame in frames])
    focals = np.array([frame.camera.fx for frame in frames], dtype=np.float32)
    expected = TorchEngine(network, height=64, width=96).infer(images, focals).depth
    found = load_engine(path).infer(images, focals).depth
    assert np.abs(found / expected - 1).mean() < tolerance
    assert not np.array_equal(found, expected)


def test_an_exported_model_carries_self_test_images_at_its_size(model_path) -> None:
    test = read_self_test(model_path, read_model_info(model_path))
    assert test.source == "the bundled drive"
    assert test.images.shape[1:] == (64, 96, 3)
