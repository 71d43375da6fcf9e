"""The same network in every run time that is there: latency by batch, and what our own way of a frame adds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import back_project
from recon3d_ros.core.model import ModelInfo, read_model_info
from recon3d_ros.core.pipeline import DepthPipeline, Engine, Prediction
from recon3d_ros.core.preprocess import RawImage
from recon3d_ros.core.self_test import read_self_test
from recon3d_ros.engines import EngineError, EngineOptions
from recon3d_ros.engines.fallback import load_proved

WARM_UP = 3
CUDA_PROVIDER = "CUDAExecutionProvider"
CAMERA = CameraModel(1280, 720, 910.0, 910.0, 652.0, 348.0, "plumb_bob", (-0.25, 0.08, 0.001, -0.001, 0.0))


@dataclass(frozen=True)
class Latency:
    """How long a run time takes for one batch.

    Attributes:
        engine: the run time, its precision and device.
        height, width: of the network's input, pixels.
        batch: images in a call.
        median_ms, p99_ms: of a call.
    """

    engine: str
    height: int
    width: int
    batch: int
    median_ms: float
    p99_ms: float

    @property
    def images_per_second(self) -> float:
        return self.batch / self.median_ms * 1e3


class ProviderEngine:
    """ONNX Runtime with another execution provider than the node's: to compare with, not to drive with."""

    def __init__(self, path: Path, info: ModelInfo, provider: str) -> None:
        import onnxruntime

        available = onnxruntime.get_available_providers()
        if provider not in available:
            raise EngineError(f"this ONNX Runtime has only {', '.join(available)}")
        self.info = info
        self._session = onnxruntime.InferenceSession(str(path), providers=[provider])
        if provider not in self._session.get_providers():
            raise EngineError(f"ONNX Runtime could not start {provider}")

    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        """Returns the depth of a batch; see recon3d_ros.core.pipeline.Engine."""
        return Prediction(self._session.run(["depth"], {"image": images, "focal": focals})[0])


def open_engines(
    path: Path, names: Iterable[str], *, threads: int, max_batch: int, with_cuda_provider: bool
) -> tuple[dict[str, Engine], dict[str, str]]:
    """Returns the engines of a model that are there and proved right, and why the others are not used, by name.

    Args:
        path: the one-file model.
        names: "backend" or "backend:precision".
        threads: CPU threads of each.
        max_batch: the largest batch.
        with_cuda_provider: try ONNX Runtime on CUDA too.
    """
    engines: dict[str, Engine] = {}
    absent: dict[str, str] = {}
    for name in names:
        backend, _, precision = name.partition(":")
        try:
            options = EngineOptions(backend, threads, precision or "fp32", max_batch=max_batch)
            engines[name] = load_proved(path, options)
        except EngineError as error:
            absent[name] = str(error)
    if with_cuda_provider:
        try:
            engines["onnxruntime CUDA"] = ProviderEngine(path, read_model_info(path), CUDA_PROVIDER)
        except EngineError as error:
            absent["onnxruntime CUDA"] = str(error)
    return engines, absent


def measure(
    path: Path, engines: dict[str, Engine], sizes: Sequence[tuple[int, int]], batches: Sequence[int], rounds: int
) -> tuple[list[Latency], dict[str, str]]:
    """Measures each engine with each batch; the engines take turns, so that other work hits all alike.

    Args:
        path: the one-file model.
        engines: of it, by name.
        sizes: (height, width) of the images.
        batches: how many images are in a call.
        rounds: calls of each.

    Returns:
        The latencies, and why an engine failed, by name.
    """
    latencies: list[Latency] = []
    failed: dict[str, str] = {}
    for (height, width), batch in itertools.product(sizes, batches):
        images, focals = _batch(path, batch, (height, width))
        calls: dict[str, Callable[[], object]] = {}
        for name, engine in engines.items():
            try:
                engine.infer(images, focals)
                calls[name] = partial(engine.infer, images, focals)
            except (EngineError, RuntimeError) as error:
                failed[f"{name}, {width}x{height}, batch {batch}"] = str(error)
        for name, seconds in in_turns(calls, rounds).items():
            median, p99 = np.percentile(seconds * 1e3, [50, 99])
            latencies.append(Latency(name, height, width, batch, float(median), float(p99)))
    return latencies, failed


def overhead(engine: Engine, rounds: int) -> float:
    """Returns the time from a distorted 1280x720 image to depth and points, over that of the bare engine."""
    pipeline = DepthPipeline(engine)
    image = RawImage(np.random.default_rng(0).integers(0, 255, (CAMERA.height, CAMERA.width, 3), np.uint8), "bgr")
    rectifier = pipeline.rectifier(CAMERA)
    batch, focals = rectifier(image)[None], np.array([rectifier.camera.fx], np.float32)
    rays = rectifier.camera.rays()
    seconds = in_turns(
        {
            "bare": lambda: engine.infer(batch, focals),
            "whole": lambda: back_project(pipeline([image], [CAMERA])[0].depth, rays),
        },
        rounds,
    )
    return float(np.median(seconds["whole"]) / np.median(seconds["bare"]))


def in_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, npt.NDArray[np.float64]]:
    """Returns the seconds of each call in each round, after a few to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(WARM_UP + rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def _batch(path: Path, count: int, size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Returns a batch of the model's own self-test images, of (height, width)."""
    test = read_self_test(path, read_model_info(path), size)
    chosen = np.arange(count) % len(test.images)
    return test.images[chosen], test.focals[chosen]


def latency_table(latencies: Sequence[Latency], *, reference: str) -> str:
    """Returns latencies as a Markdown table; the ratio is to the reference at the same size and batch."""
    base = {(row.height, row.width, row.batch): row.median_ms for row in latencies if row.engine == reference}
    lines = [
        f"| engine | input | batch | median ms | p99 ms | images/s | time / {reference} |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in latencies:
        shared = base.get((row.height, row.width, row.batch))
        ratio = f"{row.median_ms / shared:.2f}" if shared else "-"
        lines.append(
            f"| {row.engine} | {row.width}x{row.height} | {row.batch} | {row.median_ms:.2f} | {row.p99_ms:.2f} "
            f"| {row.images_per_second:.1f} | {ratio} |"
        )
    return "\n".join(lines)


def as_json(latencies: Sequence[Latency]) -> list[dict[str, Any]]:
    return [{**asdict(row), "images_per_second": row.images_per_second} for row in latencies]
