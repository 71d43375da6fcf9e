"""The one place that knows `tensorrt` (10.3 to 11.x) and `tensorrt_rtx` (1.x), and how they differ.

Both build strongly typed networks, so an engine's precision is that of the graph. TensorRT 10 has to be told so,
11 and TensorRT for RTX do nothing else. All that a build depends on is in its EngineKey.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from recon3d_ros.engines.base import EngineError
from recon3d_ros.engines.engine_key import EngineKey
from recon3d_ros.engines.tensorrt_callbacks import Progress, log_of, monitor_of


@dataclass(frozen=True)
class Flavour:
    """What differs between the two packages.

    Attributes:
        title: as its maker calls it.
        install: how to get it.
        oldest: first version that this code was written for.
        builds_for_target: builds for a named compute capability, also on a machine without a GPU; the other times
            kernels on the GPU while it builds, and keeps what it measured in a timing cache.
        compiles_at_start: the engine's kernels are compiled on the device at its first run, and can be kept in a
            runtime cache; how shapes and memory are chosen is set in a runtime configuration, and only an engine
            that was built to take its memory from us can be captured in a CUDA graph.
        has_dla: can give layers to a deep learning accelerator.
    """

    title: str
    install: str
    oldest: tuple[int, int]
    builds_for_target: bool
    compiles_at_start: bool
    has_dla: bool


FLAVOURS = {
    "tensorrt": Flavour(
        title="TensorRT",
        install="JetPack brings it; on a desktop pip install tensorrt",
        oldest=(10, 3),
        builds_for_target=False,
        compiles_at_start=False,
        has_dla=True,
    ),
    "tensorrt_rtx": Flavour(
        title="TensorRT for RTX",
        install="pip install tensorrt-rtx-cu13",
        oldest=(1, 2),
        builds_for_target=True,
        compiles_at_start=True,
        has_dla=False,
    ),
}


class OutOfMemory(EngineError):
    """A build that needed more memory than there was."""


class TensorRtApi:
    """One of the two packages, imported.

    Raises:
        EngineError: it is not installed, or too old.
    """

    def __init__(self, backend: str) -> None:
        self.flavour = FLAVOURS[backend]
        try:
            self.trt = importlib.import_module(backend)
        except ImportError as error:
            raise EngineError(f"backend '{backend}' is not installed ({error}); {self.flavour.install}") from error
        self.version: str = self.trt.__version__
        if tuple(map(int, self.version.split(".")[:2])) < self.flavour.oldest:
            oldest = ".".join(map(str, self.flavour.oldest))
            raise EngineError(f"{self.flavour.title} is {self.version}, expected {oldest} or later")
        self._log = log_of(self.trt)

    def build(
        self, graph: bytes, key: EngineKey, *, workspace_mb: int, timing: bytes, on_progress: Progress
    ) -> tuple[bytes, bytes]:
        """Returns the serialised engine, and the timing cache that makes the next build quicker.

        Args:
            graph: ONNX file of the key's precision.
            key: what to build for.
            workspace_mb: memory for one layer's scratch, MiB.
            timing: what an earlier build returned; b"" for none.
            on_progress: told of each phase; what it raises stops the build and is raised again.

        Raises:
            OutOfMemory: there was too little memory; less workspace may do.
            EngineError: the graph or the options are refused, in the package's own words.
        """
        trt = self.trt
        builder, network = self._parsed(graph)
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
        if not key.flags["tf32"]:
            config.clear_flag(trt.BuilderFlag.TF32)
        if key.flags["user_memory"]:
            config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
        self._set_device(builder, config, key)
        profile = builder.create_optimization_profile()
        for name, shapes in key.profile.items():
            profile.set_shape(name, *map(tuple, shapes))
        config.add_optimization_profile(profile)
        cache = None
        if not self.flavour.builds_for_target:
            cache = config.create_timing_cache(timing)
            if not config.set_timing_cache(cache, False):  # of another GPU or version: begin a new one
                cache = config.create_timing_cache(b"")
                config.set_timing_cache(cache, False)
        monitor = monitor_of(trt, on_progress)
        config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
        if monitor.error is not None:
            raise monitor.error
        if plan is None:
            reason = self._log.reason()
            kind = OutOfMemory if _is_out_of_memory(reason) else EngineError
            raise kind(f"{key.model}: {self.flavour.title} {self.version} cannot build the engine: {reason}")
        return bytes(plan), b"" if cache is None else bytes(cache.serialize())

    def load(self, plan: bytes, *, dla_core: int, compiled: bytes) -> LoadedEngine:
        """Returns a built engine, ready to make contexts. The GPU must be there: without a driver this crashes.

        Args:
            plan: the serialised engine.
            dla_core: the accelerator that it was built for; -1 for none.
            compiled: what LoadedEngine.compiled() returned; b"" for none.

        Raises:
            EngineError: this machine cannot run it.
        """
        return LoadedEngine(self, plan, dla_core=dla_core, compiled=compiled)

    def precision_of(self, graph: bytes) -> str:
        """Returns the lowest precision that any layer of an ONNX file gives out.

        Raises:
            EngineError: the parser refuses the graph.
        """
        _, network = self._parsed(graph)
        layers = (network.get_layer(index) for index in range(network.num_layers))
        types = {layer.get_output_type(index) for layer in layers for index in range(layer.num_outputs)}
        for precision, name in (("int8", "INT8"), ("fp16", "HALF"), ("bf16", "BF16")):
            if getattr(self.trt.DataType, name) in types:
                return precision
        return "fp32"

    def _parsed(self, graph: bytes) -> tuple[Any, Any]:
        """Returns a builder and its network of an ONNX file."""
        trt = self.trt
        self._log.errors.clear()
        builder = self._must(trt.Builder(self._log), "make a builder")
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._log)
        if not parser.parse(graph):
            errors = [parser.get_error(index) for index in range(parser.num_errors)]
            refused = "; ".join(
                f"node {error.node()} '{error.node_name()}', operator {error.node_operator()}: {error.desc()}"
                for error in errors
            )
            reason = refused or self._log.reason()
            raise EngineError(f"{self.flavour.title} {self.version} refuses the graph: {reason}")
        return builder, network

    def _set_device(self, builder: Any, config: Any, key: EngineKey) -> None:
        """Names the accelerator or the GPU to build for."""
        core = key.flags["dla_core"]
        if core >= 0:
            if core >= builder.num_DLA_cores:
                raise EngineError(f"dla_core is {core}, but this machine has {builder.num_DLA_cores} of them")
            config.default_device_type = self.trt.DeviceType.DLA
            config.DLA_core = core
            config.set_flag(self.trt.BuilderFlag.GPU_FALLBACK)
        if self.flavour.builds_for_target:
            name = f"SM{key.gpu.compute_capability.replace('.', '')}"
            targets = self.trt.ComputeCapability.__members__
            if name not in targets:
                names = sorted(
                    (other for other in targets if other.startswith("SM")), key=lambda other: int(other[2:])
                )
                known = ", ".join(f"{other[2:-1]}.{other[-1]}" for other in names)
                raise EngineError(
                    f"{self.flavour.title} {self.version} builds for the compute capabilities {known}; "
                    f"{key.gpu.name} has {key.gpu.compute_capability}: set backend to tensorrt"
                )
            config.num_compute_capabilities = 1
            self._must(config.set_compute_capability(targets[name], 0), f"build for {name}")

    def _must(self, result: Any, what: str) -> Any:
        """Returns a result that is neither None nor False."""
        if result is None or result is False:
            raise EngineError(f"{self.flavour.title} {self.version} cannot {what}: {self._log.reason()}")
        return result


class LoadedEngine:
    """A deserialised engine and what its contexts share."""

    def __init__(self, api: TensorRtApi, plan: bytes, *, dla_core: int, compiled: bytes) -> None:
        self._api, trt = api, api.trt
        api._log.errors.clear()
        self._runtime = api._must(trt.Runtime(api._log), "make a runtime")
        if dla_core >= 0:
            self._runtime.DLA_core = dla_core
        if api.flavour.compiles_at_start:
            validity, diagnostics = self._runtime.get_engine_validity(plan)
            if validity == trt.EngineValidity.INVALID:
                raise EngineError(
                    f"{api.flavour.title} {api.version} says that this engine does not fit: {diagnostics}"
                )
        self._engine = api._must(self._runtime.deserialize_cuda_engine(plan), "load the engine")
        self.memory_bytes: int = self._engine.device_memory_size_v2
        self._choice: Any = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._compiled: Any = None
        if api.flavour.compiles_at_start:
            self._choice = self._runtime_config(compiled)

    def context(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int], memory: int) -> Any:
        """Returns an execution context of fixed shapes.

        Args:
            shapes: of each input.
            addresses: on the GPU, of each input and output.
            memory: address of memory_bytes bytes of scratch, which contexts that never run together may share.
        """
        must = self._api._must
        context = must(self._engine.create_execution_context(self._choice), "make an execution context")
        context.set_device_memory(memory, self.memory_bytes)
        for name, shape in shapes.items():
            must(context.set_input_shape(name, shape), f"take {name} of shape {shape}")
        for name, address in addresses.items():
            must(context.set_tensor_address(name, address), f"place {name}")
        return context

    def run(self, context: Any, stream: Any) -> None:
        """Queues a context's work on a stream.

        Raises:
            EngineError: the package refuses it.
        """
        self._api._must(context.execute_async_v3(int(stream)), "run the engine")

    def can_capture(self, context: Any, stream: Any) -> bool:
        """Returns whether a context's work may go into a CUDA graph; what cannot tell is tried."""
        return not self._api.flavour.compiles_at_start or bool(context.is_stream_capturable(int(stream)))

    def compiled(self) -> bytes:
        """Returns the kernels that were compiled on this device; b"" for a flavour that compiles none."""
        return b"" if self._compiled is None else bytes(self._compiled.serialize())

    def _runtime_config(self, compiled: bytes) -> Any:
        trt = self._api.trt
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(self._choice)
        # Kernels for the shape are made before its first run, not exchanged later while the vehicle drives.
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED  # we capture, copies included
        self._compiled = config.create_runtime_cache()
        if compiled:
            self._compiled.deserialize(compiled)
        config.set_runtime_cache(self._compiled)
        return config


def _is_out_of_memory(reason: str) -> bool:
    return any(words in reason.lower() for words in ("outofmemory", "out of memory", "insufficient memory", "oom"))
