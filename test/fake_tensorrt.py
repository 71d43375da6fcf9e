"""TensorRT without a GPU: a plan is the ONNX file itself, run by ONNX Runtime on fake device memory.

Both flavours, as recon3d_ros.engines.tensorrt_api calls them; names and parameters are those of the real packages.
"""

from __future__ import annotations

import ctypes
import sys
from enum import Enum, IntEnum
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from fake_cuda import FakeCuda

PLAN = b"fake plan "
SCRATCH_BYTES = 4096


class ILogger:
    ERROR, INTERNAL_ERROR, WARNING = 1, 0, 2

    def log(self, severity, msg):
        raise NotImplementedError


class IProgressMonitor:
    def phase_start(self, phase_name, parent_phase, num_steps):
        raise NotImplementedError

    def step_complete(self, phase_name, step):
        raise NotImplementedError

    def phase_finish(self, phase_name):
        raise NotImplementedError


class DataType(Enum):
    FLOAT, HALF, BF16, INT8 = range(4)


class ComputeCapability(Enum):
    NONE, CURRENT, SM86, SM87, SM89 = range(5)


class EngineValidity(Enum):
    VALID, SUBOPTIMAL, INVALID = range(3)


TYPES = {1: DataType.FLOAT, 10: DataType.HALF, 16: DataType.BF16, 3: DataType.INT8}


class Network:
    def __init__(self) -> None:
        self.content = b""
        self._types: list[DataType] = []

    @property
    def num_layers(self) -> int:
        return len(self._types)

    def get_layer(self, index):
        return SimpleNamespace(num_outputs=1, get_output_type=lambda _: self._types[index])

    def fill(self, content: bytes) -> None:
        self.content = content
        initializers = onnx.load_from_string(content).graph.initializer
        self._types = [TYPES[tensor.data_type] for tensor in initializers if tensor.data_type in TYPES]


class Config:
    def __init__(self, module: FakeTensorRt) -> None:
        self._module = module
        self.workspace = self.timing = self.profile = self.progress_monitor = None
        self.default_device_type, self.DLA_core, self.targets = "GPU", -1, []
        self.num_compute_capabilities = 0
        self.flags = {"TF32"}

    def set_memory_pool_limit(self, pool, pool_size):
        self.workspace = pool_size

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def set_flag(self, flag):
        self.flags.add(flag)

    def set_compute_capability(self, compute_capability, index):
        self.targets.append(compute_capability)
        return True

    def create_timing_cache(self, serialized_timing_cache):
        return SimpleNamespace(
            content=serialized_timing_cache, serialize=lambda: serialized_timing_cache + b" timed"
        )

    def set_timing_cache(self, cache, ignore_mismatch):
        assert not ignore_mismatch
        self.timing = cache.content
        return True

    def add_optimization_profile(self, profile):
        self.profile = profile
        return 0


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple] = {}

    def set_shape(self, input, min, opt, max):
        self.shapes[input] = (min, opt, max)


class Builder:
    def __init__(self, logger) -> None:
        self._logger = logger
        self.num_DLA_cores = self.module.dla_cores

    def create_network(self, flags=0):
        assert flags == 1 << self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return Network()

    def create_builder_config(self):
        return Config(self.module)

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        self.module.builds.append(config)
        config.progress_monitor.phase_start("Building", None, 3)
        for step in range(3):
            if not config.progress_monitor.step_complete("Building", step):
                return None
        config.progress_monitor.phase_finish("Building")
        if self.module.failures:
            self._logger.log(ILogger.ERROR, self.module.failures.pop(0))
            return None
        return PLAN + network.content


class OnnxParser:
    def __init__(self, network, logger) -> None:
        self._network = network

    def parse(self, model, path=None):
        self._network.fill(model)
        return True


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine, self._cuda = engine, engine.module.cuda
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._has_memory = False

    def set_device_memory(self, memory, size):
        assert size >= self._engine.device_memory_size_v2
        self._cuda.memory(memory, size)
        self._has_memory = True

    def set_input_shape(self, name, shape):
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name, memory):
        self._addresses[name] = memory
        return True

    def is_stream_capturable(self, stream):
        return self._engine.module.is_capturable

    def execute_async_v3(self, stream_handle):
        assert self._has_memory
        if self._cuda._capturing is not None and not self._engine.module.is_capturable:
            self._engine.module.logger.log(ILogger.ERROR, "operation not permitted when stream is capturing")
            return False
        self._cuda.queue(self._run)
        return True

    def _run(self) -> None:
        inputs = {
            "image": self._read("image", np.uint8),
            "focal": self._read("focal", np.float32),
        }
        session = self._engine.session
        for output, value in zip(session.get_outputs(), session.run(None, inputs), strict=True):
            target = self._cuda.memory(self._addresses[output.name], value.nbytes)
            ctypes.memmove(target, np.ascontiguousarray(value).ctypes.data, value.nbytes)

    def _read(self, name: str, dtype: type) -> np.ndarray:
        shape = self._shapes[name]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer(
            ctypes.string_at(self._cuda.memory(self._addresses[name], size), size), dtype
        ).reshape(shape)


class Engine:
    device_memory_size_v2 = SCRATCH_BYTES

    def __init__(self, module: FakeTensorRt, plan: bytes) -> None:
        self.module = module
        self.session = onnxruntime.InferenceSession(plan.removeprefix(PLAN), providers=["CPUExecutionProvider"])

    def create_execution_context(self, strategy):
        wanted = SimpleNamespace if self.module.is_rtx else str
        assert isinstance(strategy, wanted), strategy
        return Context(self)

    def create_runtime_config(self):
        cache = SimpleNamespace(
            deserialize=self.module.compiled.append, serialize=lambda: b"kernels of this device"
        )
        return SimpleNamespace(
            set_execution_context_allocation_strategy=lambda strategy: None,
            create_runtime_cache=lambda: cache,
            set_runtime_cache=lambda cache: True,
        )


class Runtime:
    def __init__(self, logger) -> None:
        self._logger = logger
        self.module.logger = logger

    def get_engine_validity(self, buffer):
        return (self.module.validity, 0)

    def deserialize_cuda_engine(self, serialized_engine):
        if not serialized_engine.startswith(PLAN):
            self._logger.log(ILogger.ERROR, "Serialization assertion failed: magic tag does not match")
            return None
        return Engine(self.module, serialized_engine)


class FakeTensorRt:
    """A module of either flavour.

    Attributes:
        failures: what the next builds say before they fail, in turn.
        builds: the configuration of each build.
        is_capturable: whether a context's work may go into a CUDA graph.
        compiled: the kernels of earlier starts that were handed in.
    """

    ILogger, IProgressMonitor, DataType = ILogger, IProgressMonitor, DataType
    ComputeCapability, EngineValidity, OnnxParser = ComputeCapability, EngineValidity, OnnxParser
    NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", [("STRONGLY_TYPED", 1)])
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    BuilderFlag = SimpleNamespace(
        TF32="TF32", GPU_FALLBACK="GPU_FALLBACK", REQUIRE_USER_ALLOCATION="REQUIRE_USER_ALLOCATION"
    )
    DeviceType = SimpleNamespace(DLA="DLA", GPU="GPU")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
    CudaGraphStrategy = SimpleNamespace(DISABLED="disabled")

    def __init__(self, cuda: FakeCuda, backend: str, version: str) -> None:
        self.cuda, self.is_rtx, self.__version__ = cuda, backend == "tensorrt_rtx", version
        self.builds: list[Config] = []
        self.failures: list[str] = []
        self.compiled: list[bytes] = []
        self.dla_cores, self.is_capturable, self.validity = 0, True, EngineValidity.VALID
        self.Builder = type("Builder", (Builder,), {"module": self})
        self.Runtime = type("Runtime", (Runtime,), {"module": self})

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
        monkeypatch.setitem(sys.modules, "tensorrt_rtx" if self.is_rtx else "tensorrt", self)
        return self
