"""Real engines, built by TensorRT for RTX without a GPU; and the fakes' calls held against the real modules."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import conv_models
import fake_cuda
import fake_tensorrt
import onnx_models
import pytest

from recon3d_ros.core.model import read_model_info
from recon3d_ros.engines import BUILT_BACKENDS, EngineError, EngineOptions
from recon3d_ros.engines.cache import CacheMiss, EngineCache
from recon3d_ros.engines.convert import convert_model
from recon3d_ros.engines.engine_key import GpuFacts
from recon3d_ros.engines.tensorrt import build_engine
from recon3d_ros.engines.tensorrt_api import TensorRtApi

pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX: pip install -r requirements/dev.txt")
# Full TensorRT is on vehicles and desktops only: its wheels do not come from PyPI.
INSTALLED = [name for name in BUILT_BACKENDS if importlib.util.find_spec(name) is not None]
RTX_4090 = GpuFacts("NVIDIA GeForce RTX 4090", "8.9", "13.0")
TEST = Path(__file__).parent


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return conv_models.write_conv_model(tmp_path / "conv.onnx", has_images=True)


def options(tmp_path: Path, precision: str = "fp32", **settings: object) -> EngineOptions:
    return EngineOptions("tensorrt_rtx", precision=precision, cache_dir=str(tmp_path / "cache"), **settings)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_the_shipped_network_is_accepted_in_every_precision_and_with_any_batch(precision, tmp_path) -> None:
    told = []
    built = build_engine(
        "",
        options(tmp_path, precision, max_batch=4),
        lambda phase, share: told.append((phase, share)),
        target=RTX_4090,
    )
    megabytes = {"fp32": 14, "fp16": 7, "bf16": 7, "int8": 3.5}[precision]  # the weights alone
    assert len(built.plan) > megabytes * 1e6
    assert built.path.read_bytes() == built.plan
    assert told[0][0] == "converting the graph"
    assert ("Building engine", 1.0) in told
    assert all(0 <= share <= 1 for _, share in told)


def test_the_shipped_network_is_built_at_the_size_of_a_16_9_camera(tmp_path) -> None:
    built = build_engine("", options(tmp_path, "fp16", size=(256, 448)), target=RTX_4090)
    assert built.key.profile["image"] == [[1, 256, 448, 3]] * 3
    assert len(built.plan) > 7e6


@pytest.mark.parametrize("backend", INSTALLED)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_the_parser_finds_the_precision_that_was_asked_for(backend, precision, model) -> None:
    content = model.read_bytes()
    if precision != "fp32":
        content = convert_model(model, read_model_info(model), precision)
    assert TensorRtApi(backend).precision_of(content) == precision


def test_a_model_that_comes_converted_is_built_as_it_is(model, tmp_path) -> None:
    half = tmp_path / "half.onnx"
    half.write_bytes(convert_model(model, read_model_info(model), "fp16"))
    from_half = build_engine(half, options(tmp_path, "fp16"), target=RTX_4090)
    from_float = build_engine(model, options(tmp_path, "fp16"), target=RTX_4090)
    assert from_half.plan == from_float.plan
    assert from_half.key != from_float.key
    with pytest.raises(EngineError, match=r"half\.onnx: the model is in fp16, precision is 'fp32'; ask for fp16"):
        build_engine(half, options(tmp_path), target=RTX_4090)


def test_an_engine_for_another_gpu_or_batch_is_another_engine(model, tmp_path) -> None:
    turing = GpuFacts("NVIDIA GeForce RTX 2080", "7.5", "13.0")
    engines = [
        build_engine(model, options(tmp_path), target=RTX_4090),
        build_engine(model, options(tmp_path), target=turing),
        build_engine(model, options(tmp_path, max_batch=8), target=RTX_4090),
    ]
    assert len({engine.key.stem for engine in engines}) == 3
    assert len({engine.plan for engine in engines}) == 3


def test_a_gpu_that_tensorrt_for_rtx_does_not_know_is_refused_with_those_that_it_does(model, tmp_path) -> None:
    hopper = GpuFacts("NVIDIA H100", "9.0", "13.0")
    with pytest.raises(EngineError, match=r"capabilities .*8\.9.*; NVIDIA H100 has 9\.0: set backend to tensorrt"):
        build_engine(model, options(tmp_path), target=hopper)


@pytest.mark.parametrize("backend", INSTALLED)
def test_an_operator_that_the_parser_refuses_is_named_with_its_node(backend, tmp_path) -> None:
    path = onnx_models.write_model(tmp_path / "tiny.onnx", first_operator="Teleport")
    with pytest.raises(EngineError, match=r"refuses the graph: node 0 '', operator Teleport: .*[Pp]lugin"):
        TensorRtApi(backend).precision_of(path.read_bytes())


def test_a_failed_build_says_tensorrts_own_words(tmp_path) -> None:
    path = onnx_models.write_model(tmp_path / "tiny.onnx", graph_batch=3)  # no profile of 1 to 2 fits a batch of 3
    with pytest.raises(EngineError, match=r"tiny: TensorRT for RTX 1\..* cannot build the engine: .{20,}"):
        build_engine(path, options(tmp_path, max_batch=2), target=RTX_4090)


def test_a_build_is_stopped_by_what_its_progress_raises(tmp_path) -> None:
    def stop(phase: str, share: float) -> None:
        if phase == "Building engine":
            raise InterruptedError("the node is shut down")

    with pytest.raises(InterruptedError, match="the node is shut down"):
        build_engine("", options(tmp_path), stop, target=RTX_4090)
    assert not list((tmp_path / "cache").glob("*.engine"))


def test_a_build_that_is_killed_leaves_nothing_that_is_trusted_and_blocks_nobody(model, tmp_path) -> None:
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from test_engines_tensorrt_build import *\n"
        "def hang(phase, share):\n"
        "    if phase == 'Building engine': print('building', flush=True); time.sleep(60)\n"
        "build_engine(sys.argv[2], options(Path(sys.argv[3])), hang, target=RTX_4090)\n"
    )
    arguments = [sys.executable, "-c", script, str(TEST), str(model), str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=TEST.parent) as process:
        assert process.stdout.readline() == "building\n"
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    key = build_engine(model, options(tmp_path / "other"), target=RTX_4090).key
    with pytest.raises(CacheMiss, match="no engine of conv was built yet"):
        EngineCache(tmp_path / "cache").load(key)
    built = build_engine(model, options(tmp_path), target=RTX_4090)
    assert EngineCache(tmp_path / "cache").load(key) == built


def test_two_processes_that_want_the_same_engine_build_it_once(model, tmp_path) -> None:
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from test_engines_tensorrt_build import *\n"
        "def slow(phase, share):\n"
        "    if phase == 'Building engine' and share == 0: print('building', flush=True); time.sleep(3)\n"
        "print('done', build_engine(sys.argv[2], options(Path(sys.argv[3])), slow, target=RTX_4090).path)\n"
    )
    arguments = [sys.executable, "-c", script, str(TEST), str(model), str(tmp_path)]
    processes = []
    for _ in range(2):
        processes.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=TEST.parent))
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert sorted(output.count("building") for output in outputs) == [0, 1]
    assert len({output.split("done")[1] for output in outputs}) == 1


REAL_CLASSES = {
    "Builder": "Builder",
    "OnnxParser": "OnnxParser",
    "Config": "IBuilderConfig",
    "Profile": "IOptimizationProfile",
    "Network": "INetworkDefinition",
    "Runtime": "Runtime",
    "Engine": "ICudaEngine",
    "Context": "IExecutionContext",
    "ILogger": "ILogger",
    "IProgressMonitor": "IProgressMonitor",
}
OF_RTX_ALONE = {
    *("get_engine_validity", "set_compute_capability", "is_stream_capturable", "create_runtime_config"),
    *("ComputeCapability", "EngineValidity", "DynamicShapesKernelSpecializationStrategy", "CudaGraphStrategy"),
}


@pytest.mark.parametrize("backend", INSTALLED)
@pytest.mark.parametrize("fake", REAL_CLASSES)
def test_the_fakes_calls_are_those_of_the_real_tensorrt(backend, fake) -> None:
    real = getattr(importlib.import_module(backend), REAL_CLASSES[fake])
    for name, method in inspect.getmembers(getattr(fake_tensorrt, fake), inspect.isfunction):
        if name.startswith("_") or name == "fill" or (backend == "tensorrt" and name in OF_RTX_ALONE):
            continue
        overloads = [
            [part.split(":")[0].strip() for part in arguments.split(",") if ":" in part]
            for arguments in re.findall(rf"{name}\(([^)]*)\) ->", getattr(real, name).__doc__)
        ]
        found = list(inspect.signature(method).parameters)
        assert found in overloads, f"{name}{found} is none of {overloads}"


@pytest.mark.parametrize("backend", INSTALLED)
def test_the_fakes_constants_are_there_in_the_real_tensorrt(backend) -> None:
    module = importlib.import_module(backend)
    names = [name for name in vars(fake_tensorrt.FakeTensorRt) if name[0].isupper()]
    for name in names if backend == "tensorrt_rtx" else set(names) - OF_RTX_ALONE:
        real, fake = getattr(module, name), getattr(fake_tensorrt.FakeTensorRt, name)
        absent = {"SM87"} if backend == "tensorrt_rtx" else {"REQUIRE_USER_ALLOCATION"}  # an Orin is no RTX
        values = [value for value in vars(fake) if value.isupper() and value not in absent]
        assert not [value for value in values if not hasattr(real, value)], name


@pytest.mark.parametrize("backend", INSTALLED)
def test_what_is_set_on_a_real_configuration_is_there(backend) -> None:
    # The fake's are plain attributes, which would take any name.
    module = importlib.import_module(backend)
    for name in ("progress_monitor", "default_device_type", "DLA_core"):
        assert hasattr(module.IBuilderConfig, name)
    assert hasattr(module.Runtime, "DLA_core")
    assert hasattr(module.ICudaEngine, "device_memory_size_v2")
    if backend == "tensorrt_rtx":
        assert hasattr(module.IBuilderConfig, "num_compute_capabilities")
        for name in ("cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy"):
            assert hasattr(module.IRuntimeConfig, name)
        for name in (
            "set_execution_context_allocation_strategy",
            "create_runtime_cache",
            "set_runtime_cache",
        ):
            assert callable(getattr(module.IRuntimeConfig, name))
        for name in ("serialize", "deserialize"):
            assert callable(getattr(module.IRuntimeCache, name))


def test_the_fakes_calls_are_those_of_the_real_cuda_python() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-python: pip install cuda-bindings")
    calls = [name for name in vars(fake_cuda.FakeCuda) if name.startswith("cuda") and name[4].isupper()]
    assert len(calls) > 20
    for name in calls:
        real, fake = getattr(runtime, name), getattr(fake_cuda.FakeCuda, name)
        if inspect.isfunction(fake):
            assert list(inspect.signature(real).parameters) == list(inspect.signature(fake).parameters)[1:], name
    for enumeration in ("cudaError_t", "cudaMemcpyKind", "cudaStreamCaptureMode"):
        for value in getattr(fake_cuda, enumeration):
            assert int(getattr(getattr(runtime, enumeration), value.name)) == int(value)
    assert (runtime.cudaStreamNonBlocking, runtime.cudaHostAllocDefault) == (1, 0)
