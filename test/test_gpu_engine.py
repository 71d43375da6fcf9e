"""The CUDA calls of an engine on a GPU, without TensorRT: `pytest -m gpu`. Without a GPU they run over a fake."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest
from fake_cuda import FakeCuda

from recon3d_ros.engines import EngineError
from recon3d_ros.engines.cuda import Cuda

pytestmark = pytest.mark.gpu

SHAPE = (3, 48, 80)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    """A real GPU, or a fake one where torch and the driver know of none."""
    if torch_finds_a_gpu():
        pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed: pip install it")
        cuda = Cuda()
    else:
        try:
            cuda = Cuda()
        except EngineError:
            FakeCuda().install(monkeypatch)
            cuda = Cuda()
    yield cuda
    cuda.close()


def torch_finds_a_gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE, dtype=np.float32)


def test_what_is_copied_to_the_gpu_comes_back(gpu: Cuda) -> None:
    source, target = gpu.pinned_buffer(SHAPE, np.float32), gpu.pinned_buffer(SHAPE, np.float32)
    address = gpu.device_buffer(source.nbytes)
    source[:], target[:] = noise(1), 0
    gpu.copy_to_device(address, source)
    gpu.copy_to_host(target, address)
    gpu.synchronize()
    np.testing.assert_array_equal(target, noise(1))


def test_pinned_memory_is_known_to_the_driver_as_such(gpu: Cuda) -> None:
    runtime = importlib.import_module("cuda.bindings.runtime")
    if not hasattr(runtime, "cudaPointerGetAttributes"):
        pytest.skip("no GPU: the fake has no driver to ask")
    array = gpu.pinned_buffer(SHAPE, np.float32)
    status, attributes = runtime.cudaPointerGetAttributes(array.ctypes.data)
    assert int(status) == 0
    assert attributes.type == runtime.cudaMemoryType.cudaMemoryTypeHost


def test_a_graph_replays_the_copies_with_what_the_buffers_hold_then(gpu: Cuda) -> None:
    runtime = importlib.import_module("cuda.bindings.runtime")
    source, target = gpu.pinned_buffer(SHAPE, np.float32), gpu.pinned_buffer(SHAPE, np.float32)
    address = gpu.device_buffer(source.nbytes)
    half = source.nbytes // 2
    source[:], target[:] = noise(0), -1.0

    def queue() -> None:
        gpu.copy_to_device(address, source)
        assert int(runtime.cudaMemsetAsync(address + half, 0, half, gpu.stream)[0]) == 0
        gpu.copy_to_host(target, address)

    graph = gpu.capture(queue)
    gpu.synchronize()
    assert (target == -1.0).all()  # what is captured does not run
    for seed in (1, 2, 3):
        source[:] = noise(seed)
        gpu.launch(graph)
        gpu.synchronize()
        expected = noise(seed).reshape(2, -1)
        expected[1] = 0.0
        np.testing.assert_array_equal(target.reshape(2, -1), expected)


def test_a_capture_that_fails_leaves_the_stream_usable(gpu: Cuda) -> None:
    with pytest.raises(EngineError, match="cudaStreamSynchronize"):
        gpu.capture(gpu.synchronize)
    gpu.synchronize()
    test_what_is_copied_to_the_gpu_comes_back(gpu)


def test_more_memory_than_there_is_is_refused_by_name_and_the_gpu_goes_on(gpu: Cuda) -> None:
    with pytest.raises(EngineError, match="out of GPU memory"):
        gpu.device_buffer(1 << 44)
    test_what_is_copied_to_the_gpu_comes_back(gpu)
