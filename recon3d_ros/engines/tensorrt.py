"""TensorRT and TensorRT for RTX: an engine is built of the model once, kept in the cache, and run on the GPU."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.model import ModelInfo, read_model_info
from recon3d_ros.core.pipeline import Prediction
from recon3d_ros.engines.base import EngineError, EngineOptions, check_batch, model_path
from recon3d_ros.engines.cache import BuiltEngine, CacheMiss, EngineCache, UntrustedEngine, record_proof
from recon3d_ros.engines.convert import REVISION, calibration_digest, convert_model
from recon3d_ros.engines.cuda import Cuda
from recon3d_ros.engines.engine_key import EngineKey, GpuFacts
from recon3d_ros.engines.tensorrt_api import OutOfMemory, TensorRtApi
from recon3d_ros.engines.tensorrt_callbacks import Progress

__all__ = ["BuiltEngine", "Progress", "TensorRtEngine", "build_engine", "cached_engine", "record_proof"]

log = logging.getLogger(__name__)


def cached_engine(model: Path | str, options: EngineOptions) -> BuiltEngine | None:
    """Returns the engine from the cache; None where it is absent or not trusted, which one logged line explains.

    Raises:
        ModelError: the model file is missing or damaged, or does not take images of the options' size.
        EngineError: the run time is absent, there is no GPU that it can use, or the cache folder is not safe.
    """
    request = _Request(model, options)
    try:
        return request.cache.load(request.key)
    except CacheMiss as miss:
        level = logging.WARNING if isinstance(miss, UntrustedEngine) else logging.INFO
        log.log(level, f"engine cache: {miss}; {options.backend} {options.precision} is to be built")
        return None


def build_engine(
    model: Path | str,
    options: EngineOptions,
    on_progress: Progress | None = None,
    *,
    target: GpuFacts | None = None,
) -> BuiltEngine:
    """Builds an engine, whether or not the cache has one, and puts it there.

    Two processes that ask for the same engine build it once: the second waits and takes the first one's.

    Args:
        model: the one-file model.
        options: precision, GPU and batch to build for.
        on_progress: told of each phase, from the thread that builds; what it raises stops the build.
        target: the GPU to build for, where it is not in this machine; None builds for the GPU of the options.

    Raises:
        ModelError: the model file is missing or damaged, or does not take images of the options' size.
        EngineError: the build failed, in the run time's own words; or see cached_engine.
    """
    request = _Request(model, options, target)
    report = on_progress or (lambda phase, share: None)
    with request.cache.lock(request.key) as has_waited:
        if has_waited:
            try:
                return request.cache.load(request.key)
            except CacheMiss as miss:
                log.info(f"engine cache: {miss}; the other process built none that can be used")
        start = time.perf_counter()
        report("converting the graph", 0.0)
        graph = request.graph()
        timing_name = request.timing_name
        timing = request.cache.read_blob(timing_name)
        engine, timing = _build(request.api, graph, request.key, timing, report)
        request.cache.write_blob(timing_name, timing)
        seconds = round(time.perf_counter() - start, 3)
        return request.cache.store(BuiltEngine(engine, request.key, None, seconds))


def _build(
    api: TensorRtApi, graph: bytes, key: EngineKey, timing: bytes, on_progress: Progress
) -> tuple[bytes, bytes]:
    """Builds; where memory runs out, once more with a quarter of the workspace."""
    workspace = key.flags["workspace_mb"]
    smaller = max(workspace // 4, 1)
    try:
        return api.build(graph, key, workspace_mb=workspace, timing=timing, on_progress=on_progress)
    except OutOfMemory as error:
        log.warning(f"{error}; building once more with a workspace of {smaller} MiB")
    try:
        return api.build(graph, key, workspace_mb=smaller, timing=timing, on_progress=on_progress)
    except OutOfMemory as error:
        raise EngineError(
            f"out of memory with a workspace of {workspace} MiB and of {smaller} MiB; close other programs, lower "
            f"max_batch, or build on a like machine and copy its cache: {error}"
        ) from error


class _Request:
    """What is to be built or looked up: the options, resolved on this machine."""

    def __init__(self, model: Path | str, options: EngineOptions, target: GpuFacts | None = None) -> None:
        self.path = model_path(model)
        self.options = options
        self.info = read_model_info(self.path)
        self.size = self.info.at_size(options.size).size
        self.api = TensorRtApi(options.backend)
        flavour = self.api.flavour
        if options.dla_core >= 0 and not flavour.has_dla:
            raise EngineError(f"dla_core is {options.dla_core}, but {flavour.title} knows no DLA; set it to -1")
        if options.dla_core >= 0 and options.precision not in ("fp16", "int8"):
            raise EngineError(f"precision is '{options.precision}', but a DLA takes fp16 or int8 alone")
        if target is not None and not flavour.builds_for_target:
            raise EngineError(f"{flavour.title} builds for the GPU in the machine alone; build on that machine")
        self.cache = EngineCache(options.cache_dir, limit_mb=options.cache_limit_mb)
        self.key = self._key(target or _gpu_facts(options.gpu))

    @property
    def timing_name(self) -> str:
        """Kernels are timed once for a GPU and a version, whatever the model."""
        text = f"{self.key.backend} {self.key.version} {self.key.gpu}"
        return f"timing-{hashlib.sha256(text.encode()).hexdigest()[:20]}"

    def graph(self) -> bytes:
        """Returns the model file in the precision of the options.

        Raises:
            EngineError: it is in another one, cannot be converted, or is not the file of the key any more.
        """
        graph = self._converted()
        if _sha256(self.path) != self.key.model_sha256:
            raise EngineError(f"{self.path}: was changed while its engine was made; build once more")
        return graph

    def _converted(self) -> bytes:
        content = self.path.read_bytes()
        found, wanted = self.api.precision_of(content), self.options.precision
        if found == wanted:
            return content
        if found != "fp32":
            raise EngineError(
                f"{self.path}: the model is in {found}, precision is '{wanted}'; ask for {found}, or give the "
                f"model in float32, from which the others are made"
            )
        return convert_model(self.path, self.info, wanted, self.options.calibration, self.size)

    def _key(self, gpu: GpuFacts) -> EngineKey:
        options, info = self.options, self.info
        greatest = options.max_batch
        # A DLA runs one shape alone; smaller batches are filled up.
        least = greatest if options.dla_core >= 0 else 1
        batches = (least, greatest, greatest)
        return EngineKey(
            model=info.name,
            model_sha256=_sha256(self.path),
            backend=options.backend,
            version=self.api.version,
            gpu=gpu,
            precision=options.precision,
            calibration=calibration_digest(options.precision, options.calibration),
            profile={
                "image": [[batch, *self.size, 3] for batch in batches],
                "focal": [[batch] for batch in batches],
            },
            flags={
                "strongly_typed": 1,
                "tf32": 0,  # fp32 means fp32; who wants speed takes fp16
                "user_memory": int(self.api.flavour.compiles_at_start),
                "workspace_mb": options.workspace_mb,
                "dla_core": options.dla_core,
                "converter": REVISION,
            },
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _gpu_facts(gpu: int) -> GpuFacts:
    cuda = Cuda(gpu)
    try:
        return cuda.facts()
    finally:
        cuda.close()


class _Batch:
    """One batch size: its execution context, and its work as a CUDA graph where that can be captured."""

    def __init__(self, context: Any, graph: Any) -> None:
        self.context = context
        self.graph = graph


class TensorRtEngine:
    """Runs a built engine at its one size; takes it from the cache, or builds it where it is not given.

    Everything is allocated here: pinned and device buffers for the greatest batch, one execution context and one
    CUDA graph for each batch size. A frame is then a copy into pinned memory, one launch, one wait, one copy out.

    Raises:
        ModelError: the model does not take images of the options' size.
        EngineError: there is no GPU that can be used, or the engine does not fit it.
    """

    def __init__(
        self, path: Path, info: ModelInfo, options: EngineOptions, built: BuiltEngine | None = None
    ) -> None:
        self.info = info.at_size(options.size)
        built = built or cached_engine(path, options) or build_engine(path, options)
        (self._least,), _, (self._greatest,) = built.key.profile["focal"]
        self._lock = threading.Lock()
        self._cuda = Cuda(options.gpu)
        self._closer = weakref.finalize(self, self._cuda.close)
        cache = EngineCache(options.cache_dir, limit_mb=options.cache_limit_mb)
        self._engine = TensorRtApi(options.backend).load(
            built.plan, dla_core=options.dla_core, compiled=cache.read_blob(built.key.stem)
        )
        self._make_buffers()
        self._batches = {size: self._make_batch(size) for size in range(self._least, self._greatest + 1)}
        cache.write_blob(built.key.stem, self._engine.compiled())

    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        """Returns the depth of a batch; see recon3d_ros.core.pipeline.Engine. A large batch is run in parts."""
        check_batch(self.info, images, focals)
        B = len(images)
        depth = np.empty((B, self.info.height, self.info.width), dtype=np.float32)
        confidence = np.empty_like(depth) if self.info.has_confidence else None
        with self._lock:
            if not self._closer.alive:
                raise EngineError(f"{self.info.name}: the engine was closed")
            self._cuda.use()
            for first in range(0, B, self._greatest):
                part = slice(first, min(first + self._greatest, B))
                size = part.stop - first
                self._inputs["image"][:size] = images[part]
                self._inputs["focal"][:size] = focals[part]
                self._run(max(size, self._least))
                depth[part] = self._outputs["depth"][:size]
                if confidence is not None:
                    confidence[part] = self._outputs["confidence"][:size]
        return Prediction(depth, confidence)

    def close(self) -> None:
        """Frees the GPU's memory; the engine cannot be used again."""
        with self._lock:
            if self._closer.alive:
                self._batches.clear()
                del self._engine
                self._closer()

    def _run(self, size: int) -> None:
        batch = self._batches[size]
        if batch.graph is not None:
            self._cuda.launch(batch.graph)
        else:
            self._queue(batch.context, size)
        self._cuda.synchronize()

    def _queue(self, context: Any, size: int) -> None:
        """Queues copies in, the network, and copies out."""
        for name, array in self._inputs.items():
            self._cuda.copy_to_device(self._addresses[name], array[:size])
        self._engine.run(context, self._cuda.stream)
        for name, array in self._outputs.items():
            self._cuda.copy_to_host(array[:size], self._addresses[name])

    def _make_buffers(self) -> None:
        height, width, N = self.info.height, self.info.width, self._greatest
        pinned = self._cuda.pinned_buffer
        self._inputs = {"image": pinned((N, height, width, 3), np.uint8), "focal": pinned((N,), np.float32)}
        self._outputs = {name: pinned((N, height, width), np.float32) for name in self.info.outputs}
        for array in (*self._inputs.values(), *self._outputs.values()):
            array[:] = 0
        self._inputs["focal"][:] = self.info.width  # what the first runs see must be a camera
        arrays = {**self._inputs, **self._outputs}
        self._addresses = {name: self._cuda.device_buffer(array.nbytes) for name, array in arrays.items()}
        self._memory = self._cuda.device_buffer(self._engine.memory_bytes)

    def _make_batch(self, size: int) -> _Batch:
        """Returns a batch size after its first run, in which the run time still allocates."""
        shapes = {name: (size, *array.shape[1:]) for name, array in self._inputs.items()}
        context = self._engine.context(shapes, self._addresses, self._memory)
        self._queue(context, size)
        self._cuda.synchronize()
        if not self._engine.can_capture(context, self._cuda.stream):
            log.warning(f"{self.info.name}: batch {size} is run without a CUDA graph: it cannot be captured")
            return _Batch(context, None)
        try:
            return _Batch(context, self._cuda.capture(lambda: self._queue(context, size)))
        except EngineError as error:
            log.warning(f"{self.info.name}: batch {size} is run without a CUDA graph: {error}")
            return _Batch(context, None)
