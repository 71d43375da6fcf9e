"""The shipped model file is the network: it can be trained on from, and nothing is lost on the way."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
onnx = pytest.importorskip("onnx", reason="needs onnx: pip install -r requirements/training.txt")
pytest.importorskip("onnxscript", reason="needs onnxscript: pip install -r requirements/training.txt")

from recon3d_ros.engines import default_model_path, load_engine  # noqa: E402
from training.checkpoints import CheckpointError, load_network  # noqa: E402
from training.export import export  # noqa: E402
from training.models.depth_network import DepthNetwork, DepthNetworkConfig  # noqa: E402
from training.models.encoders import ENCODERS  # noqa: E402
from training.torch_engine import TorchEngine  # noqa: E402

ABOUT = {"height": 64, "width": 96, "name": "net", "version": "1", "training_data": "none"}


def random_network(encoder: str) -> DepthNetwork:
    """Returns a network in which every weight and every statistic is a number of its own."""
    torch.manual_seed(3)
    network = DepthNetwork(DepthNetworkConfig(encoder=encoder, decoder_channels=(24, 16, 12, 8), max_depth=70.0))
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif name.endswith("running_mean"):
            value.normal_(0.0, 0.2)
    return network.eval()


@pytest.mark.parametrize("size", [(192, 640), (352, 640), (288, 384)])
def test_the_shipped_file_loaded_into_torch_says_what_the_run_time_says(size: tuple[int, int]) -> None:
    height, width = size
    images = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    focals = np.array([370.0], np.float32)
    shipped = load_engine().infer(images, focals)
    network = load_network(default_model_path())
    found = TorchEngine(network, height=height, width=width).infer(images, focals)
    np.testing.assert_allclose(found.depth, shipped.depth, rtol=1e-3)
    assert np.ptp(shipped.depth) > 1.0  # a constant would agree with anything


@pytest.mark.parametrize("encoder", [name for name in ENCODERS if name not in ("efficientnet_lite1", "resnet34")])
def test_a_network_becomes_a_file_and_a_network_again_bit_for_bit(encoder: str, tmp_path: Path) -> None:
    network = random_network(encoder)
    export(network, tmp_path / "net.onnx", **ABOUT)
    again = load_network(tmp_path / "net.onnx")
    assert again.config == network.config
    expected, found = network.state_dict(), again.state_dict()
    assert list(found) == list(expected)
    different = [name for name in expected if not torch.equal(found[name], expected[name])]
    assert different == []


def test_weights_rounded_to_fewer_bits_are_no_network_to_train_on(tmp_path: Path) -> None:
    export(random_network("tiny"), tmp_path / "half.onnx", **ABOUT, precision="fp16")
    with pytest.raises(CheckpointError, match=r"half\.onnx: lacks .* weights in float32.*give the fp32 one"):
        load_network(tmp_path / "half.onnx")


def test_a_model_without_a_network_s_configuration_and_a_damaged_one_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export(random_network("tiny"), path, **ABOUT)
    model = onnx.load(path)
    kept = {entry.key: entry.value for entry in model.metadata_props if "config" not in entry.key}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, kept)
    (tmp_path / "other.onnx").write_bytes(model.SerializeToString(deterministic=True))
    with pytest.raises(CheckpointError, match=r"other\.onnx: net carries no network to train on"):
        load_network(tmp_path / "other.onnx")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        load_network(path)
