"""The published weights are those of the shipped model."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
pytest.importorskip("safetensors", reason="needs safetensors: pip install -r requirements/training.txt")

from recon3d_ros.engines import load_engine
from training.adapt import SHIPPED_WEIGHTS
from training.checkpoints import load_network
from training.torch_engine import TorchEngine


@pytest.mark.parametrize(("name", "height"), [("street_lite0", 192), ("street_lite0_640x352", 352)])
def test_the_published_weights_say_what_the_shipped_models_say(name: str, height: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, height, 640, 3), dtype=np.uint8)
    focals = np.array([370.0], np.float32)
    shipped = load_engine(name).infer(images, focals)
    published = TorchEngine(load_network(SHIPPED_WEIGHTS), height=height, width=640).infer(images, focals)
    np.testing.assert_allclose(published.depth, shipped.depth, rtol=1e-3)
    assert np.ptp(shipped.depth) > 1.0  # a constant would agree with anything
