"""cuda.bindings.runtime without a GPU: memory is the host's, and queued work runs when the stream is awaited."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace

import pytest

FIRST_HANDLE = 1000


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorStreamCaptureUnsupported = 900


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


class FakeCuda:
    """The calls of recon3d_ros.engines.cuda; the names and parameters are those of cuda-python.

    Args:
        driver, runtime: CUDA versions, e.g. 13000.
        gpus: how many the driver shows.
        free_bytes: device memory that can be had.
    """

    cudaError_t = cudaError_t
    cudaMemcpyKind = cudaMemcpyKind
    cudaStreamCaptureMode = cudaStreamCaptureMode
    cudaStreamNonBlocking = 1
    cudaHostAllocDefault = 0

    def __init__(
        self, *, driver: int = 13000, runtime: int = 13000, gpus: int = 1, free_bytes: int = 1 << 30
    ) -> None:
        self.driver, self.runtime, self.gpus, self.free_bytes = driver, runtime, gpus, free_bytes
        self.device: dict[int, ctypes.Array] = {}
        self.host: dict[int, ctypes.Array] = {}
        self.calls: list[str] = []
        self.live_handles: set[int] = set()
        self._queue: list[Callable[[], None]] = []
        self._capturing: list[Callable[[], None]] | None = None
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._next = FIRST_HANDLE

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
        monkeypatch.setitem(__import__("sys").modules, "cuda.bindings.runtime", self)
        return self

    def queue(self, work: Callable[[], None]) -> None:
        """Puts work on the stream, or into the graph that is being captured."""
        (self._queue if self._capturing is None else self._capturing).append(work)

    def memory(self, address: int, size: int) -> int:
        """Returns the address of device memory, after a look that all of it is allocated."""
        for start, block in self.device.items():
            if start <= address and address + size <= start + len(block):
                return address
        raise AssertionError(f"{size} bytes at {address:#x} are not device memory")

    def cudaDriverGetVersion(self):
        return self._done("cudaDriverGetVersion", self.driver)

    def cudaRuntimeGetVersion(self):
        return self._done("cudaRuntimeGetVersion", self.runtime)

    def cudaGetDeviceCount(self):
        return self._done("cudaGetDeviceCount", self.gpus)

    def cudaSetDevice(self, device):
        return self._done("cudaSetDevice")

    def cudaGetDeviceProperties(self, device):
        return self._done("properties", SimpleNamespace(name=b"Fake Orin\0\0", major=8, minor=7))

    def cudaGetErrorString(self, error):
        return cudaError_t.cudaSuccess, error.name.encode()

    def cudaStreamCreateWithFlags(self, flags):
        return self._done("cudaStreamCreateWithFlags", self._handle())

    def cudaStreamDestroy(self, stream):
        return self._destroyed(stream)

    def cudaMalloc(self, size):
        if size > self.free_bytes:
            return cudaError_t.cudaErrorMemoryAllocation, None
        self.free_bytes -= size
        return self._done("cudaMalloc", self._allocate(self.device, size))

    def cudaFree(self, devPtr):
        self.free_bytes += len(self.device.pop(devPtr))
        return self._done("cudaFree")

    def cudaHostAlloc(self, size, flags):
        return self._done("cudaHostAlloc", self._allocate(self.host, size))

    def cudaFreeHost(self, ptr):
        del self.host[ptr]
        return self._done("cudaFreeHost")

    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        device = dst if kind == cudaMemcpyKind.cudaMemcpyHostToDevice else src
        self.memory(device, count)
        self.queue(lambda: ctypes.memmove(dst, src, count))
        return self._done("cudaMemcpyAsync")

    def cudaMemsetAsync(self, devPtr, value, count, stream):
        self.memory(devPtr, count)
        self.queue(lambda: ctypes.memset(devPtr, value, count))
        return self._done("cudaMemsetAsync")

    def cudaStreamSynchronize(self, stream):
        assert stream in self.live_handles
        if self._capturing is not None:
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        work, self._queue = self._queue, []
        for step in work:
            step()
        return self._done("cudaStreamSynchronize")

    def cudaStreamBeginCapture(self, stream, mode):
        self._capturing = []
        return self._done("cudaStreamBeginCapture")

    def cudaStreamEndCapture(self, stream):
        graph, self._capturing = self._capturing, None
        handle = self._handle()
        self._graphs[handle] = graph
        return self._done("cudaStreamEndCapture", handle)

    def cudaGraphInstantiate(self, graph, flags):
        handle = self._handle()
        self._graphs[handle] = self._graphs[graph]
        return self._done("cudaGraphInstantiate", handle)

    def cudaGraphDestroy(self, graph):
        return self._destroyed(graph)

    def cudaGraphExecDestroy(self, graphExec):
        return self._destroyed(graphExec)

    def cudaGraphLaunch(self, graphExec, stream):
        assert graphExec in self.live_handles
        self._queue.extend(self._graphs[graphExec])
        return self._done("cudaGraphLaunch")

    def _allocate(self, blocks: dict[int, ctypes.Array], size: int) -> int:
        if self._capturing is not None:
            raise AssertionError("memory is allocated while a graph is captured")
        block = (ctypes.c_uint8 * size)()
        blocks[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def _handle(self) -> int:
        self._next += 1
        self.live_handles.add(self._next)
        return self._next

    def _destroyed(self, handle: int):
        self.live_handles.remove(handle)
        return self._done("destroyed")

    def _done(self, call: str, *results):
        self.calls.append(call)
        return (cudaError_t.cudaSuccess, *results)
