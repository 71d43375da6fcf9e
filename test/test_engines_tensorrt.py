"""Building and running an engine on a fake GPU: numbers, buffers, graphs, and all that can be missing."""

from __future__ import annotations

import gc
import logging
import sys
from pathlib import Path

import conv_models
import numpy as np
import onnx_models
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import EngineValidity, FakeTensorRt

from recon3d_ros.core.model import ModelError
from recon3d_ros.engines import EngineError, EngineOptions, open_engine
from recon3d_ros.engines.cache import Proof
from recon3d_ros.engines.engine_key import GpuFacts
from recon3d_ros.engines.tensorrt import build_engine, cached_engine, record_proof

VERSIONS = {"tensorrt": "10.3.0", "tensorrt_rtx": "1.7.1.116"}


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return FakeCuda().install(monkeypatch)


@pytest.fixture(params=VERSIONS)
def trt(request: pytest.FixtureRequest, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
    return FakeTensorRt(cuda, request.param, VERSIONS[request.param]).install(monkeypatch)


@pytest.fixture
def plain(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
    return FakeTensorRt(cuda, "tensorrt", VERSIONS["tensorrt"]).install(monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return conv_models.write_conv_model(tmp_path / "conv.onnx", has_images=True)


def options(trt: FakeTensorRt, tmp_path: Path, **settings: object) -> EngineOptions:
    backend = "tensorrt_rtx" if trt.is_rtx else "tensorrt"
    return EngineOptions(backend, cache_dir=str(tmp_path / "cache"), **settings)


def test_the_depth_is_right_for_every_batch_also_beyond_the_greatest(trt, model, tmp_path) -> None:
    engine = open_engine(model, options(trt, tmp_path, max_batch=3))
    for B in (1, 3, 2, 7, 1):
        images, focals = conv_models.batch(B, seed=B)
        prediction = engine.infer(images, focals)
        assert (prediction.depth.shape, prediction.depth.dtype) == ((B, 32, 48), np.float32)
        np.testing.assert_allclose(prediction.depth, conv_models.expected_depth(images, focals), rtol=1e-4)
        assert prediction.confidence is None


def test_a_model_of_free_size_is_an_engine_of_the_size_asked_for_and_of_no_other(trt, tmp_path) -> None:
    free = conv_models.write_conv_model(tmp_path / "free.onnx", has_free_size=True)
    keys = set()
    for size, asked in (((32, 64), None), ((96, 64), (96, 64)), ((64, 160), (64, 160))):
        engine = open_engine(free, options(trt, tmp_path, max_batch=2, size=asked))
        assert (engine.info.size, engine.info.has_free_size) == (size, False)
        assert trt.builds[-1].profile.shapes["image"] == ((1, *size, 3), (2, *size, 3), (2, *size, 3))
        height, width = size
        images, focals = conv_models.batch(3, height=height, width=width)
        depth = engine.infer(images, focals).depth
        np.testing.assert_allclose(depth, conv_models.expected_depth(images, focals), rtol=1e-4)
        with pytest.raises(ValueError, match=rf"expected uint8\[B,{height},{width},3\]"):
            engine.infer(*conv_models.batch(1, height=32, width=32))
        keys.add(cached_engine(free, options(trt, tmp_path, max_batch=2, size=asked)).key.stem)
    assert len(keys) == len(trt.builds) == 3
    # None is the default size itself: it is not built twice.
    assert cached_engine(free, options(trt, tmp_path, max_batch=2, size=(32, 64))) is not None


@pytest.mark.parametrize(
    ("has_free_size", "message"),
    [
        (True, r"conv: the size is 100x32 \(width x height\), expected multiples of 32"),
        (False, r"conv: the size is 100x32 \(width x height\), expected 48x32"),
    ],
)
def test_a_size_that_the_model_does_not_take_is_refused_before_anything_is_built(
    plain, tmp_path, has_free_size, message
) -> None:
    path = conv_models.write_conv_model(tmp_path / "conv.onnx", has_free_size=has_free_size)
    with pytest.raises(ModelError, match=message):
        open_engine(path, options(plain, tmp_path, size=(32, 100)))
    assert plain.builds == []


def test_int8_ranges_are_taken_at_the_size_of_the_engine(plain, tmp_path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        "recon3d_ros.engines.precision.in_precision",
        lambda content, precision, inputs: seen.extend(i["image"].shape for i in inputs) or content,
    )
    free = conv_models.write_conv_model(tmp_path / "free.onnx", has_images=True, has_free_size=True)
    build_engine(free, options(plain, tmp_path, precision="int8", size=(96, 64)))
    assert seen == [(1, 96, 64, 3)] * 4


def test_the_confidence_is_given_where_the_model_has_it(trt, tmp_path) -> None:
    path = onnx_models.write_model(tmp_path / "tiny.onnx", height=24, width=40, has_confidence=True)
    rng = np.random.default_rng(1)
    images, focals = rng.integers(0, 256, (2, 24, 40, 3), dtype=np.uint8), np.array([90, 700], np.float32)
    prediction = open_engine(path, options(trt, tmp_path, max_batch=2)).infer(images, focals)
    np.testing.assert_allclose(prediction.depth, onnx_models.expected_depth(images, focals), rtol=1e-5)
    np.testing.assert_allclose(prediction.confidence, images[..., 1] / np.float32(255), atol=1e-6)


def test_an_answer_is_not_overwritten_by_the_next_one(trt, model, tmp_path) -> None:
    engine = open_engine(model, options(trt, tmp_path))
    images, focals = conv_models.batch(1)
    first = engine.infer(images, focals)
    engine.infer(255 - images, focals * 2)
    np.testing.assert_allclose(first.depth, conv_models.expected_depth(images, focals), rtol=1e-4)


def test_a_frame_is_one_launch_and_one_wait_and_allocates_nothing(trt, model, tmp_path, cuda) -> None:
    engine = open_engine(model, options(trt, tmp_path, max_batch=2))
    for B in (1, 2):
        cuda.calls.clear()
        engine.infer(*conv_models.batch(B))
        assert cuda.calls == ["cudaSetDevice", "cudaGraphLaunch", "cudaStreamSynchronize"]


def test_what_cannot_be_captured_runs_without_a_graph_and_says_so(trt, model, tmp_path, cuda, caplog) -> None:
    trt.is_capturable = False
    with caplog.at_level(logging.WARNING):
        engine = open_engine(model, options(trt, tmp_path))
    assert "batch 1 is run without a CUDA graph" in caplog.text
    images, focals = conv_models.batch(1)
    np.testing.assert_allclose(
        engine.infer(images, focals).depth, conv_models.expected_depth(images, focals), rtol=1e-4
    )
    assert "cudaGraphLaunch" not in cuda.calls


def test_closing_or_dropping_an_engine_frees_all_that_it_held(trt, model, tmp_path, cuda) -> None:
    free = cuda.free_bytes
    engine = open_engine(model, options(trt, tmp_path, max_batch=3))
    assert cuda.free_bytes < free
    engine.close()
    with pytest.raises(EngineError, match="conv: the engine was closed"):
        engine.infer(*conv_models.batch(1))
    other = open_engine(model, options(trt, tmp_path))
    del other
    gc.collect()
    assert (cuda.free_bytes, cuda.device, cuda.host, cuda.live_handles) == (free, {}, {}, set())


def test_a_second_start_takes_the_engine_from_the_cache(trt, model, tmp_path) -> None:
    asked = options(trt, tmp_path, max_batch=2)
    assert cached_engine(model, asked) is None
    built = build_engine(model, asked)
    assert cached_engine(model, asked) == built
    open_engine(model, asked)
    assert len(trt.builds) == 1


@pytest.mark.parametrize(
    ("settings", "backend_version"),
    [({"max_batch": 3}, None), ({"precision": "fp16"}, None), ({"workspace_mb": 64}, None), ({}, "10.7.0")],
)
def test_an_engine_of_other_settings_or_another_version_is_not_taken(
    plain, model, tmp_path, settings, backend_version, caplog
) -> None:
    build_engine(model, options(plain, tmp_path, max_batch=2))
    plain.__version__ = backend_version or plain.__version__
    with caplog.at_level(logging.INFO):
        assert cached_engine(model, options(plain, tmp_path, **{"max_batch": 2, **settings})) is None
    [line] = [record.message for record in caplog.records if record.name.startswith("recon3d_ros.engines")]
    assert line.startswith("engine cache: the engine of conv in the cache is of ")
    assert ", expected " in line


def test_another_driver_or_another_model_file_means_another_engine(plain, model, tmp_path, cuda) -> None:
    asked = options(plain, tmp_path)
    build_engine(model, asked)
    cuda.driver = 13020
    assert cached_engine(model, asked) is None
    cuda.driver = 13000
    assert cached_engine(model, asked) is not None
    conv_models.write_conv_model(model, weight=1.5)
    assert cached_engine(model, asked) is None


def test_a_model_that_is_exchanged_under_way_is_not_built_under_the_old_ones_name(plain, model, tmp_path) -> None:
    def exchange(phase: str, share: float) -> None:
        conv_models.write_conv_model(model, weight=2.0)

    with pytest.raises(EngineError, match="was changed while its engine was made"):
        build_engine(model, options(plain, tmp_path), exchange)
    assert plain.builds == []


def test_the_builder_is_told_all_that_the_key_says(trt, model, tmp_path, cuda) -> None:
    key = build_engine(model, options(trt, tmp_path, max_batch=3, workspace_mb=256)).key
    [config] = trt.builds
    assert config.workspace == 256 << 20
    assert config.profile.shapes == {
        "image": ((1, 32, 48, 3), (3, 32, 48, 3), (3, 32, 48, 3)),
        "focal": ((1,), (3,), (3,)),
    }
    # TensorRT for RTX captures no graph of an engine that allocates for itself (release notes of 1.2).
    assert config.flags == ({"REQUIRE_USER_ALLOCATION"} if trt.is_rtx else set())
    assert config.targets == ([trt.ComputeCapability.SM87] if trt.is_rtx else [])
    assert key.gpu == GpuFacts("Fake Orin", "8.7", "13.0")
    assert (key.precision, key.version) == ("fp32", trt.__version__)


def test_a_timing_cache_is_kept_from_build_to_build(plain, model, tmp_path) -> None:
    build_engine(model, options(plain, tmp_path, max_batch=1))
    build_engine(model, options(plain, tmp_path, max_batch=2))
    assert [config.timing for config in plain.builds] == [b"", b" timed"]


def test_kernels_compiled_on_the_device_are_kept_from_start_to_start(cuda, model, tmp_path, monkeypatch) -> None:
    rtx = FakeTensorRt(cuda, "tensorrt_rtx", "1.7.1").install(monkeypatch)
    open_engine(model, options(rtx, tmp_path))
    open_engine(model, options(rtx, tmp_path))
    assert rtx.compiled == [b"kernels of this device"]


def test_a_proof_is_remembered_with_the_engine(plain, model, tmp_path) -> None:
    asked = options(plain, tmp_path)
    built = build_engine(model, asked)
    assert built.proof is None
    proof = Proof(False, ("fp32: NOT to be used", "FAILED mean relative error"))
    assert record_proof(built, proof).proof == proof
    assert cached_engine(model, asked).proof == proof
    assert build_engine(model, asked).proof is None  # a new one has to be proved anew


def test_progress_is_told_and_its_exception_stops_the_build(trt, model, tmp_path) -> None:
    told: list[tuple[str, float]] = []
    build_engine(model, options(trt, tmp_path), lambda phase, share: told.append((phase, share)))
    assert told[0] == ("converting the graph", 0.0)
    assert told[-1] == ("Building", 1.0)
    assert [round(share, 2) for phase, share in told if phase == "Building"] == [0.0, 0.33, 0.67, 1.0, 1.0]

    def stop(phase: str, share: float) -> None:
        if phase == "Building" and share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(model, options(trt, tmp_path, max_batch=2), stop)
    assert cached_engine(model, options(trt, tmp_path, max_batch=2)) is None


def test_out_of_memory_is_tried_once_more_with_less_workspace(plain, model, tmp_path, caplog) -> None:
    plain.failures = ["[defaultAllocator.cpp] Error Code 1: Cuda Runtime (out of memory)"]
    with caplog.at_level(logging.WARNING):
        built = build_engine(model, options(plain, tmp_path, workspace_mb=512))
    assert [config.workspace >> 20 for config in plain.builds] == [512, 128]
    assert "building once more with a workspace of 128 MiB" in caplog.text
    assert cached_engine(model, options(plain, tmp_path, workspace_mb=512)) == built


def test_out_of_memory_twice_is_a_clear_failure(plain, model, tmp_path) -> None:
    plain.failures = ["OutOfMemory: requested 4 GiB"] * 3
    with pytest.raises(
        EngineError, match=r"out of memory with a workspace of 512 MiB and of 128 MiB; close other .* requested 4"
    ):
        build_engine(model, options(plain, tmp_path, workspace_mb=512))
    assert len(plain.builds) == 2


def test_another_failure_is_told_in_tensorrts_words_and_not_tried_again(plain, model, tmp_path) -> None:
    plain.failures = ["Could not find any implementation for node Conv_3"]
    with pytest.raises(
        EngineError, match=r"conv: TensorRT 10.3.0 cannot build the engine: .*implementation for node Conv_3"
    ):
        build_engine(model, options(plain, tmp_path))
    assert len(plain.builds) == 1


def test_too_little_memory_for_the_buffers_is_told(plain, model, tmp_path, cuda) -> None:
    built = build_engine(model, options(plain, tmp_path, max_batch=4))
    cuda.free_bytes = 20_000
    with pytest.raises(EngineError, match="out of GPU memory: 0 MiB on the GPU could not be had"):
        open_engine(model, options(plain, tmp_path, max_batch=4))
    assert built.path.is_file()
    gc.collect()
    assert cuda.free_bytes == 20_000


@pytest.mark.parametrize("backend", VERSIONS)
def test_tensorrt_that_is_absent_is_named_with_the_way_to_get_it(model, backend, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(EngineError, match=f"backend '{backend}' is not installed .*; .*pip install tensorrt"):
        open_engine(model, EngineOptions(backend, cache_dir=str(tmp_path / "cache")))
    assert not (tmp_path / "cache").exists()


def test_a_tensorrt_that_is_too_old_is_refused(plain, model, tmp_path) -> None:
    plain.__version__ = "8.6.1"
    with pytest.raises(EngineError, match=r"TensorRT is 8.6.1, expected 10.3 or later"):
        open_engine(model, options(plain, tmp_path))


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        ({"driver": 0}, "no NVIDIA driver is loaded"),
        ({"driver": 12020}, r"driver is too old: it runs CUDA 12.2, .* 13.0 or later; .*'cuda-bindings==12\.\*'"),
        ({"gpus": 0}, r"gpu is 0, but the driver shows 0 GPU\(s\)"),
    ],
)
def test_a_machine_that_cannot_run_it_is_told_before_tensorrt_is_asked(
    model, tmp_path, monkeypatch, machine, message
) -> None:
    cuda = FakeCuda(**machine).install(monkeypatch)
    trt = FakeTensorRt(cuda, "tensorrt", "10.3.0").install(monkeypatch)
    with pytest.raises(EngineError, match=message):
        open_engine(model, options(trt, tmp_path))
    assert trt.builds == []


def test_cuda_python_that_is_absent_is_named(plain, model, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(EngineError, match=r"cuda-python is not installed .*; pip install cuda-bindings"):
        open_engine(model, options(plain, tmp_path))


def test_an_engine_that_does_not_fit_the_device_is_refused(cuda, model, tmp_path, monkeypatch) -> None:
    rtx = FakeTensorRt(cuda, "tensorrt_rtx", "1.7.1").install(monkeypatch)
    rtx.validity = EngineValidity.INVALID
    with pytest.raises(EngineError, match=r"TensorRT for RTX 1.7.1 says that this engine does not fit"):
        open_engine(model, options(rtx, tmp_path))


def test_a_model_that_is_damaged_is_refused_before_anything_is_built(plain, model, tmp_path) -> None:
    content = bytearray(model.read_bytes())
    content[content.index(b"answered")] ^= 1  # the graph is no longer what its sha256 says
    model.write_bytes(content)
    with pytest.raises(ModelError, match="the graph's sha256 is"):
        open_engine(model, options(plain, tmp_path))
    assert plain.builds == []


class TestDla:
    @pytest.fixture
    def trt(self, plain: FakeTensorRt) -> FakeTensorRt:
        plain.dla_cores = 2
        return plain

    def test_it_takes_the_layers_that_it_can_at_one_batch_size(self, trt, model, tmp_path) -> None:
        asked = options(trt, tmp_path, precision="fp16", dla_core=1, max_batch=3)
        engine = open_engine(model, asked)
        [config] = trt.builds
        assert (config.default_device_type, config.DLA_core) == ("DLA", 1)
        assert "GPU_FALLBACK" in config.flags
        assert config.profile.shapes["focal"] == ((3,), (3,), (3,))
        for B in (1, 3, 4):
            images, focals = conv_models.batch(B)
            np.testing.assert_allclose(
                engine.infer(images, focals).depth, conv_models.expected_depth(images, focals), rtol=2e-2
            )

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"dla_core": 0}, "precision is 'fp32', but a DLA takes fp16 or int8 alone"),
            ({"dla_core": 2, "precision": "fp16"}, "dla_core is 2, but this machine has 2 of them"),
        ],
    )
    def test_what_it_cannot_do_is_refused(self, trt, model, tmp_path, settings, message) -> None:
        with pytest.raises(EngineError, match=message):
            open_engine(model, options(trt, tmp_path, **settings))

    def test_tensorrt_for_rtx_knows_none(self, cuda, model, tmp_path, monkeypatch) -> None:
        rtx = FakeTensorRt(cuda, "tensorrt_rtx", "1.7.1").install(monkeypatch)
        with pytest.raises(EngineError, match="dla_core is 0, but TensorRT for RTX knows no DLA"):
            open_engine(model, options(rtx, tmp_path, dla_core=0, precision="fp16"))
