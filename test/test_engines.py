"""Inference run times: the right numbers, the same numbers from each, and a clear answer to what cannot run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx_models import expected_depth, write_model

from recon3d_ros.core.model import ModelError, read_model_info
from recon3d_ros.core.pipeline import Engine
from recon3d_ros.engines import BACKENDS, BUILT_BACKENDS, EngineError, EngineOptions, load_engine, model_path

# Those that build an engine run on a GPU alone: test_engines_tensorrt.py and test_engines_gpu.py.
RUNNABLE = [
    pytest.param(name, marks=pytest.mark.skipif(not importlib.util.find_spec(name), reason=f"no {name}"))
    for name in BACKENDS
    if name not in BUILT_BACKENDS
]


def batch(B: int, height: int = 32, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(B)
    images = rng.integers(0, 256, (B, height, width, 3), dtype=np.uint8)
    return images, rng.uniform(50, 900, B).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "front.onnx"


def loaded(path: Path, backend: str, **changes: object) -> Engine:
    return load_engine(write_model(path, **changes), backend, threads=1)


@pytest.mark.parametrize("backend", RUNNABLE)
def test_depth_is_that_of_the_formula_whatever_the_batch(path: Path, backend: str) -> None:
    engine = loaded(path, backend)
    for B in (1, 2, 5, 1):
        images, focals = batch(B)
        prediction = engine.infer(images, focals)
        assert (prediction.depth.shape, prediction.depth.dtype) == ((B, 32, 64), np.float32)
        np.testing.assert_allclose(prediction.depth, expected_depth(images, focals), rtol=1e-5)
        assert prediction.confidence is None


@pytest.mark.parametrize("backend", RUNNABLE)
def test_confidence_is_given_where_the_model_has_it(path: Path, backend: str) -> None:
    images, focals = batch(2, 24, 40)
    prediction = loaded(path, backend, height=24, width=40, has_confidence=True).infer(images, focals)
    np.testing.assert_allclose(prediction.confidence, images[..., 1] / np.float32(255), atol=1e-6)
    np.testing.assert_allclose(prediction.depth, expected_depth(images, focals), rtol=1e-5)


@pytest.mark.parametrize("backend", RUNNABLE)
def test_an_answer_is_not_overwritten_by_the_next_one(path: Path, backend: str) -> None:
    engine = loaded(path, backend, has_confidence=True)
    images, focals = batch(2)
    first = engine.infer(images, focals)
    engine.infer(255 - images, focals * 2)
    np.testing.assert_allclose(first.depth, expected_depth(images, focals), rtol=1e-5)
    np.testing.assert_allclose(first.confidence, images[..., 1] / np.float32(255), atol=1e-6)


@pytest.mark.parametrize("backend", RUNNABLE)
def test_a_model_of_free_size_takes_batches_of_any_size_in_turn(path: Path, backend: str) -> None:
    engine = loaded(path, backend, has_free_size=True, has_confidence=True)
    for B, height, width in ((1, 32, 64), (2, 96, 160), (1, 64, 32), (3, 32, 64)):
        images, focals = batch(B, height, width)
        prediction = engine.infer(images, focals)
        assert prediction.depth.shape == (B, height, width)
        np.testing.assert_allclose(prediction.depth, expected_depth(images, focals), rtol=1e-5)
        np.testing.assert_allclose(prediction.confidence, images[..., 1] / np.float32(255), atol=1e-6)


@pytest.mark.parametrize("backend", RUNNABLE)
@pytest.mark.parametrize("shape", [(1, 33, 64, 3), (1, 32, 60, 3), (1, 32, 64, 4), (0, 32, 64, 3)])
def test_a_model_of_free_size_takes_multiples_of_32_alone(path: Path, backend: str, shape: tuple) -> None:
    with pytest.raises(ValueError, match=r"images are uint8.*, expected uint8\[B,h,w,3\] with multiples of 32"):
        loaded(path, backend, has_free_size=True).infer(np.zeros(shape, np.uint8), np.ones(shape[0], np.float32))


@pytest.mark.parametrize("backend", RUNNABLE)
def test_the_engine_knows_its_model(path: Path, backend: str) -> None:
    info = loaded(path, backend, metadata={"name": "street"}).info
    assert (info.name, info.height, info.width, info.max_depth) == ("street", 32, 64, 80.0)


@pytest.mark.parametrize("backend", RUNNABLE)
@pytest.mark.parametrize(
    ("images", "focals", "message"),
    [
        (
            np.zeros((2, 32, 65, 3), np.uint8),
            np.ones(2, np.float32),
            r"uint8\[2, 32, 65, 3\], expected uint8\[B,32,64,3\]",
        ),
        (np.zeros((2, 32, 64, 3), np.float32), np.ones(2, np.float32), r"images are float32\[2, 32, 64, 3\]"),
        (np.zeros((32, 64, 3), np.uint8), np.ones(1, np.float32), r"images are uint8\[32, 64, 3\]"),
        (np.zeros((0, 32, 64, 3), np.uint8), np.ones(0, np.float32), r"images are uint8\[0, 32, 64, 3\]"),
        (
            np.zeros((2, 32, 64, 3), np.uint8),
            np.ones(3, np.float32),
            r"focals are float32\[3\], expected float32\[2\]",
        ),
        (np.zeros((2, 32, 64, 3), np.uint8), np.ones(2), r"focals are float64\[2\], expected float32\[2\]"),
    ],
)
def test_a_batch_of_another_shape_is_refused(
    path: Path, backend: str, images: np.ndarray, focals: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        loaded(path, backend).infer(images, focals)


@pytest.mark.parametrize("backend", RUNNABLE)
def test_a_graph_that_the_run_time_cannot_run_is_refused(path: Path, backend: str) -> None:
    write_model(path, first_operator="Teleport")
    with pytest.raises(EngineError, match=r"front.onnx: .* refuses the model: "):
        load_engine(path, backend)


def test_a_batch_that_the_graph_does_not_take_is_reported(path: Path) -> None:
    engine = loaded(path, "onnxruntime", graph_batch=1)  # OpenVINO broadcasts where ONNX Runtime refuses
    images, focals = batch(3)
    np.testing.assert_allclose(
        engine.infer(images[:1], focals[:1]).depth, expected_depth(images[:1], focals[:1]), rtol=1e-5
    )
    with pytest.raises(EngineError, match=r"tiny: .* failed on a batch of 3: "):
        engine.infer(images, focals)


def test_an_unknown_backend_is_refused_with_the_known_ones(path: Path) -> None:
    with pytest.raises(EngineError, match="backend is 'magic', expected one of onnxruntime, openvino"):
        load_engine(write_model(path), "magic")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_that_is_not_installed_says_how_to_install_it(
    path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, backend, None)  # makes its import fail
    monkeypatch.delitem(sys.modules, BACKENDS[backend][0], raising=False)
    with pytest.raises(
        EngineError, match=f"'{backend}' is not installed .*; .*pip install {backend.replace('_', '-')}"
    ):
        load_engine(write_model(path), backend)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"backend": "tensorrt", "precision": "int4"},
            "precision is 'int4', expected one of fp32, fp16, bf16, int8",
        ),
        (
            {"precision": "fp16"},
            "'fp16' with backend 'onnxruntime', which runs a graph as it is; leave precision at",
        ),
        ({"backend": "tensorrt", "max_batch": 0}, "max_batch is 0, expected 1 or more"),
        ({"backend": "tensorrt", "gpu": -1}, "gpu is -1, expected 0 or more"),
    ],
)
def test_options_that_cannot_be_met_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        EngineOptions(**settings)


def test_a_damaged_model_is_refused_before_any_run_time_sees_it(path: Path) -> None:
    path.write_bytes(write_model(path).read_bytes()[:-40])
    with pytest.raises(ModelError, match=r"front\.onnx: "):
        load_engine(path)


def test_a_model_is_a_file_or_the_name_of_one_that_ships(tmp_path: Path) -> None:
    assert model_path("").name == "street_lite0.onnx"
    assert model_path("street_lite0") == model_path("")
    assert read_model_info(model_path("street_lite0")).has_free_size
    assert model_path(tmp_path / "street_lite0") == tmp_path / "street_lite0"
    assert model_path("unknown") == Path("unknown")
