"""The real thing, where a GPU is: every flavour of TensorRT that is installed builds, runs and is proved right.

`pytest -m gpu` runs this alone. Anywhere else it skips, and says what is missing.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import conv_models
import numpy as np
import onnx_models
import pytest

from recon3d_ros.core.model import read_model_info
from recon3d_ros.core.self_test import read_self_test
from recon3d_ros.engines import (
    BUILT_BACKENDS,
    EngineError,
    EngineOptions,
    default_model_path,
    load_engine,
    open_engine,
)
from recon3d_ros.engines.cache import EngineCache
from recon3d_ros.engines.check import check_engine
from recon3d_ros.engines.cuda import Cuda
from recon3d_ros.engines.tensorrt import TensorRtEngine, build_engine, cached_engine

pytestmark = pytest.mark.gpu


@pytest.fixture(params=BUILT_BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    try:
        Cuda().close()
    except EngineError as error:
        pytest.skip(f"no GPU: {error}")
    return str(request.param)


def options(backend: str, tmp_path: Path, **settings: object) -> EngineOptions:
    return EngineOptions(backend, cache_dir=str(tmp_path / "cache"), **settings)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_the_shipped_network_is_proved_right(backend, precision, tmp_path) -> None:
    asked = options(backend, tmp_path, precision=precision, max_batch=4)
    info = read_model_info(default_model_path())
    engine = TensorRtEngine(default_model_path(), info, asked, build_engine("", asked))
    test = read_self_test(default_model_path(), info)
    report = check_engine(engine, load_engine(), test.images, test.focals, precision, 4)
    assert report.is_good, "\n".join(report.lines())


def test_the_numbers_are_those_worked_out_by_hand_for_every_batch(backend, tmp_path) -> None:
    path = conv_models.write_conv_model(tmp_path / "conv.onnx")
    engine = open_engine(path, options(backend, tmp_path, max_batch=3))
    for B in (1, 3, 2, 7, 1):
        images, focals = conv_models.batch(B, seed=B)
        np.testing.assert_allclose(
            engine.infer(images, focals).depth, conv_models.expected_depth(images, focals), rtol=1e-4
        )


def test_the_confidence_is_given(backend, tmp_path) -> None:
    path = onnx_models.write_model(tmp_path / "tiny.onnx", height=24, width=40, has_confidence=True)
    images = np.random.default_rng(1).integers(0, 256, (2, 24, 40, 3), dtype=np.uint8)
    focals = np.array([90, 700], np.float32)
    prediction = open_engine(path, options(backend, tmp_path, max_batch=2)).infer(images, focals)
    np.testing.assert_allclose(prediction.confidence, images[..., 1] / np.float32(255), atol=1e-5)


def test_its_work_is_a_cuda_graph_and_a_second_start_builds_nothing(backend, tmp_path, caplog) -> None:
    path = conv_models.write_conv_model(tmp_path / "conv.onnx")
    asked = options(backend, tmp_path)
    built = build_engine(path, asked)
    assert cached_engine(path, asked) == built
    first = open_engine(path, asked)
    assert "without a CUDA graph" not in caplog.text
    images, focals = conv_models.batch(1)
    second = open_engine(path, asked)
    np.testing.assert_array_equal(first.infer(images, focals).depth, second.infer(images, focals).depth)


def test_an_engine_that_is_no_engine_is_refused_and_the_gpu_goes_on(backend, tmp_path) -> None:
    path = conv_models.write_conv_model(tmp_path / "conv.onnx")
    asked = options(backend, tmp_path)
    built = build_engine(path, asked)
    with pytest.raises(EngineError):
        TensorRtEngine(path, read_model_info(path), asked, replace(built, plan=built.plan[: len(built.plan) // 2]))
    images, focals = conv_models.batch(1)
    assert np.isfinite(open_engine(path, asked).infer(images, focals).depth).all()
    assert len(EngineCache(asked.cache_dir).entries()) == 1
