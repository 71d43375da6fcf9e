"""From the engine asked for to the one that may drive: proved right, or the next in an explicit order."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recon3d_ros.core.model import ModelInfo
from recon3d_ros.core.pipeline import Engine
from recon3d_ros.core.self_test import SelfTest, read_self_test
from recon3d_ros.engines.base import (
    BACKENDS,
    BUILT_BACKENDS,
    EngineError,
    EngineOptions,
    model_path,
    open_engine,
)
from recon3d_ros.engines.by_size import EnginesBySize
from recon3d_ros.engines.cache import Proof
from recon3d_ros.engines.check import check_engine
from recon3d_ros.engines.tensorrt import BuiltEngine, TensorRtEngine, build_engine, cached_engine, record_proof

REFERENCE = "onnxruntime"
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Refusal:
    """An engine that is not used, and why."""

    engine: str
    reason: str

    def __str__(self) -> str:
        return f"{self.engine} is not used: {self.reason}"


def label(options: EngineOptions) -> str:
    """Returns what an engine is called in logs and diagnostics, e.g. "tensorrt fp16"."""
    return f"{options.backend} {options.precision}"


def fallback_order(asked: EngineOptions) -> tuple[EngineOptions, ...]:
    """Returns what is tried one after the other: as asked, the same backend in fp32, ONNX Runtime."""
    in_fp32 = dataclasses.replace(asked, precision="fp32")
    return tuple(dict.fromkeys([asked, in_fp32, dataclasses.replace(in_fp32, backend=REFERENCE)]))


def first_proved(
    order: Sequence[EngineOptions],
    prove: Callable[[EngineOptions], Engine],
    on_refusal: Callable[[Refusal], None],
) -> tuple[Engine, EngineOptions]:
    """Returns the first engine of an order that can be made and is right, and what it is.

    Args:
        order: what to try.
        prove: makes and checks an engine; raises EngineError where it must not be used.
        on_refusal: told of every engine that is passed over.

    Raises:
        EngineError: none can be used; the message holds each one's reason.
    """
    refusals = []
    for options in order:
        try:
            return prove(options), options
        except EngineError as error:
            refusals.append(Refusal(label(options), str(error)))
            on_refusal(refusals[-1])
    raise EngineError("; ".join(map(str, refusals)))


def require(path: Path, options: EngineOptions) -> None:
    """Raises EngineError where the set-up is broken in a way that no build or other precision cures.

    The run time is not installed, there is no GPU or its driver is too old, the cache folder is not safe.
    """
    if options.backend in BUILT_BACKENDS:
        cached_engine(path, options)
        return
    try:
        importlib.import_module(BACKENDS[options.backend][0])
    except ImportError as error:
        raise EngineError(
            f"backend '{options.backend}' is not installed ({error}); pip install {options.backend}"
        ) from error


def open_candidate(
    path: Path, info: ModelInfo, options: EngineOptions, on_progress: Progress
) -> tuple[Engine, BuiltEngine | None]:
    """Returns an engine that is not proved yet, and the file it was built into, where its run time builds.

    Raises:
        EngineError: it cannot be made, or failed its check when it was built.
    """
    if options.backend not in BUILT_BACKENDS:
        return open_engine(path, options), None
    on_progress("cache", 0.0)
    built = cached_engine(path, options) or build_engine(path, options, on_progress)
    if built.proof is not None and not built.proof.is_good:
        raise EngineError(
            f"it failed its check when it was built: {'; '.join(built.proof.lines)}; "
            "'recon3d engine clear' has it built anew"
        )
    return TensorRtEngine(path, info, options, built), built


def open_proved(
    path: Path, options: EngineOptions, reference: Engine, test: SelfTest, on_progress: Progress
) -> Engine:
    """Returns an engine that was just compared with ONNX Runtime on the model's self-test images.

    Args:
        path: the one-file model.
        options: the run time, and how it is to run.
        reference: the same model in ONNX Runtime; it is returned where that is what the options ask for.
        test: the images, at the options' size.
        on_progress: told of the phase and its share done, 0 to 1; what it raises stops a build.

    Raises:
        ModelError: the model file is damaged.
        EngineError: the engine cannot be made, or its answers are wrong.
    """
    if options.backend == REFERENCE:
        return reference
    engine, built = open_candidate(path, reference.info, options, on_progress)
    on_progress("check", 0.0)
    report = check_engine(
        engine, reference, test.images, test.focals, options.precision, max_batch=options.max_batch
    )
    if built is not None and not report.failure:  # out of memory now is no proof against the engine
        record_proof(built, Proof(report.is_good, tuple(report.lines())))
    if not report.is_good:
        close(engine)
        raise EngineError(f"its answers are wrong on {test.source}: {report.reason}")
    return engine


def load_proved(model: Path | str, options: EngineOptions) -> Engine:
    """Returns an engine that was just proved right, for whoever would rather fail than fall back.

    Where the model's size is free, the engine of each size is opened and proved at its first image.

    Args:
        model: the one-file model, as model_path takes it.
        options: the run time, and how it is to run.

    Raises:
        ModelError: the model file is missing, damaged, or does not keep the contract.
        EngineError: the engine cannot be made, or its answers are wrong.
    """
    path = model_path(model)
    reference = open_engine(path, fallback_order(options)[-1])
    if options.backend == REFERENCE:
        return reference
    test = read_self_test(path, reference.info)

    def open_at(size: tuple[int, int] | None) -> Engine:
        at_size = dataclasses.replace(options, size=size)
        return open_proved(path, at_size, reference, test.at_size(size), lambda phase, share: None)

    if reference.info.has_free_size and options.size is None:
        require(path, options)
        return EnginesBySize(reference.info, open_at)
    return open_at(options.size)


def close(engine: Engine) -> None:
    """Frees what an engine holds on a GPU; engines on the CPU hold nothing."""
    if isinstance(engine, TensorRtEngine):
        engine.close()
