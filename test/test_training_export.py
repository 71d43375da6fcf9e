"""Export: the model file says what the network says, and keeps the one-file contract."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
onnx = pytest.importorskip("onnx", reason="needs onnx: pip install -r requirements/training.txt")
pytest.importorskip("onnxscript", reason="needs onnxscript: pip install -r requirements/training.txt")

from recon3d_ros.core.model import read_model_info  # noqa: E402
from recon3d_ros.engines import load_engine  # noqa: E402
from training import export as export_module  # noqa: E402
from training.export import ExportError, export, street_like_image  # noqa: E402
from training.models.depth_network import DepthNetwork, DepthNetworkConfig  # noqa: E402
from training.torch_engine import TorchEngine  # noqa: E402


@pytest.fixture(scope="module")
def network() -> DepthNetwork:
    torch.manual_seed(0)
    return DepthNetwork(DepthNetworkConfig(encoder="tiny", decoder_channels=(24, 16, 12, 8))).eval()


@pytest.fixture(scope="module")
def model_path(network: DepthNetwork, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    export(network, path, height=64, width=96, name="tiny", version="1.2.3", training_data="none")
    return path


def test_the_model_file_describes_itself(model_path) -> None:
    info = read_model_info(model_path)
    assert (info.name, info.version, info.is_metric) == ("tiny", "1.2.3", True)
    assert (info.height, info.width) == (64, 96)
    assert (info.min_depth, info.max_depth) == (0.5, 100.0)
    assert info.has_confidence


def test_the_checksum_is_that_of_the_graph(model_path) -> None:
    # onnx parses and writes the graph again: a check that does not share the package's own reader.
    graph = onnx.load(model_path).graph.SerializeToString(deterministic=True)
    assert read_model_info(model_path).sha256 == hashlib.sha256(graph).hexdigest()


def test_the_first_operation_on_the_image_is_the_cast(model_path) -> None:
    users = [node.op_type for node in onnx.load(model_path).graph.node if "image" in node.input]
    assert users == ["Cast"]


def test_the_file_names_nothing_of_the_machine_that_wrote_it(model_path) -> None:
    assert b"/training/" not in model_path.read_bytes()
    assert b".py" not in model_path.read_bytes()


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_onnx_runtime_agrees_with_torch(network: DepthNetwork, model_path, batch_size: int) -> None:
    images = np.stack([street_like_image(9 + i, height=64, width=96) for i in range(batch_size)])
    focals = np.linspace(80, 300, batch_size, dtype=np.float32)
    expected = TorchEngine(network, height=64, width=96).infer(images, focals)
    found = load_engine(model_path).infer(images, focals)
    np.testing.assert_allclose(found.depth, expected.depth, rtol=1e-3)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-3)


def test_an_export_that_differs_from_the_network_is_refused(network, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(export_module, "MAX_RELATIVE_DIFFERENCE", 0.0)
    with pytest.raises(ExportError, match="nothing was written"):
        export(network, tmp_path / "a.onnx", height=64, width=96, name="a", version="1", training_data="none")
    assert list(tmp_path.iterdir()) == []
