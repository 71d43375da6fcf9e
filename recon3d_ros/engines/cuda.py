"""The few CUDA calls of an engine: buffers, one stream and graphs, through cuda-python. No torch on a vehicle."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from recon3d_ros.engines.base import EngineError
from recon3d_ros.engines.engine_key import GpuFacts

INSTALL = "pip install cuda-bindings (of the driver's major version: cuda-bindings==12.* or 13.*)"


class Cuda:
    """One GPU and one stream on it; all memory that it gave is freed by close().

    Raises:
        EngineError: cuda-python is not installed, there is no driver or an old one, or no such GPU.
    """

    def __init__(self, gpu: int = 0) -> None:
        self._runtime = _load_runtime()
        self._check_driver()
        count = self._call("cudaGetDeviceCount")
        if gpu >= count:
            raise EngineError(f"gpu is {gpu}, but the driver shows {count} GPU(s), counted from 0")
        self.gpu = gpu
        self.use()
        self.stream: Any = self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking)
        self._to_free: list[tuple[str, Any]] = [("cudaStreamDestroy", self.stream)]

    def facts(self) -> GpuFacts:
        """Returns what a built engine depends on of this GPU and its driver."""
        properties = self._call("cudaGetDeviceProperties", self.gpu)
        name = properties.name
        return GpuFacts(
            name=(name.decode() if isinstance(name, bytes) else str(name)).rstrip("\0"),
            compute_capability=f"{properties.major}.{properties.minor}",
            driver_cuda=_version(self._call("cudaDriverGetVersion")),
        )

    def use(self) -> None:
        """Makes this the GPU of the calling thread; CUDA keeps that by thread."""
        self._call("cudaSetDevice", self.gpu)

    def device_buffer(self, size: int) -> int:
        """Returns the address of `size` bytes on the GPU.

        Raises:
            EngineError: the GPU has no more memory.
        """
        address: int = self._call("cudaMalloc", max(size, 1), what=f"{size / 2**20:.0f} MiB on the GPU")
        self._to_free.append(("cudaFree", address))
        return address

    def pinned_buffer(self, shape: tuple[int, ...], dtype: type[np.generic]) -> npt.NDArray[Any]:
        """Returns an array in pinned host memory, from which copies run beside the CPU."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = self._call(
            "cudaHostAlloc", size, self._runtime.cudaHostAllocDefault, what=f"{size / 2**20:.0f} MiB pinned"
        )
        self._to_free.append(("cudaFreeHost", address))
        memory = (ctypes.c_uint8 * size).from_address(address)
        return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

    def copy_to_device(self, address: int, source: npt.NDArray[Any]) -> None:
        """Queues a copy from pinned memory."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, self.stream)

    def copy_to_host(self, target: npt.NDArray[Any], address: int) -> None:
        """Queues a copy to pinned memory."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, self.stream)

    def synchronize(self) -> None:
        """Waits for all that was queued; an error of a kernel shows here."""
        self._call("cudaStreamSynchronize", self.stream)

    def capture(self, queue: Callable[[], None]) -> Any:
        """Returns what `queue` puts on the stream as a graph, which launches as one call.

        Raises:
            EngineError: something in it cannot be captured; the stream is usable all the same.
        """
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self.stream, mode)
        try:
            queue()
        except EngineError:
            self._runtime.cudaStreamEndCapture(self.stream)
            raise
        graph = self._call("cudaStreamEndCapture", self.stream)
        executable = self._call("cudaGraphInstantiate", graph, 0)
        self._call("cudaGraphDestroy", graph)
        self._to_free.append(("cudaGraphExecDestroy", executable))
        return executable

    def launch(self, graph: Any) -> None:
        """Queues a captured graph."""
        self._call("cudaGraphLaunch", graph, self.stream)

    def close(self) -> None:
        """Frees all memory, graphs and the stream; pinned arrays must not be touched any more."""
        while self._to_free:
            name, handle = self._to_free.pop()
            getattr(self._runtime, name)(handle)  # at the end of a process the driver may be gone already

    def _check_driver(self) -> None:
        driver = self._call("cudaDriverGetVersion")
        needed = self._call("cudaRuntimeGetVersion")
        if driver == 0:
            raise EngineError(
                "no NVIDIA driver is loaded, and a TensorRT engine runs on a GPU alone; install the driver "
                "('nvidia-smi' must work), or set backend to onnxruntime"
            )
        if driver // 1000 < needed // 1000:
            raise EngineError(
                f"the NVIDIA driver is too old: it runs CUDA {_version(driver)}, cuda-bindings needs "
                f"{needed // 1000}.0 or later; update it, or pip install 'cuda-bindings=={driver // 1000}.*'"
            )

    def _call(self, name: str, *arguments: Any, what: str = "") -> Any:
        """Returns the result of a CUDA call, without its status."""
        status, *results = getattr(self._runtime, name)(*arguments)
        if int(status) != 0:
            reason = f"{name}: {_text(self._runtime.cudaGetErrorString(status)[1])}"
            if status == self._runtime.cudaError_t.cudaErrorMemoryAllocation:
                raise EngineError(
                    f"out of GPU memory: {what or 'more'} could not be had ({reason}); close other programs, or "
                    f"lower max_batch"
                )
            raise EngineError(f"CUDA fails in {reason}")
        return results[0] if results else None


def _load_runtime() -> ModuleType:
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise EngineError(f"cuda-python is not installed ({error}); {INSTALL}") from error


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
