"""How fast the shipped network runs on this device, by run time, as a stage of a rental."""

from __future__ import annotations

import time
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from recon3d_ros.engines import BUILT_BACKENDS, EngineError, EngineOptions, default_model_path, open_engine
from training.config import TrainConfig
from training.rental.plan import Plan
from training.rental.processes import Note

SIZE = (TrainConfig.height, TrainConfig.width)
BATCHES = {"cuda": (1, 8), "cpu": (1,)}
ROUNDS = {"cuda": 50, "cpu": 5}
TORCH_SHARE = 0.7  # of the seconds; after them no further way of torch is begun


def run_bench(note: Note, plan: Plan, seconds: float) -> None:
    """Measures torch, ONNX Runtime and, if installed, TensorRT; notes what benchmarks.device.measure returns.

    Args:
        seconds: For all of it; nothing is begun after them.
    """
    from benchmarks.device import measure

    end = time.monotonic() + seconds
    found = measure(
        [SIZE],
        BATCHES[plan.device],
        ROUNDS[plan.device],
        device=plan.device,
        seconds=TORCH_SHARE * seconds,
        on_row=lambda found: note(**found),
    )
    for backend in BUILT_BACKENDS if plan.device == "cuda" else ():
        for precision in ("fp32", "fp16"):
            name = f"{backend}:{precision}"
            if find_spec(backend) is None:
                found["absent"][name] = "not installed"
            elif time.monotonic() > end:
                found["absent"][name] = "no time was left for it"
            else:
                _measure_tensorrt(found, plan, backend, precision)
            note(**found)


def _measure_tensorrt(found: dict[str, Any], plan: Plan, backend: str, precision: str) -> None:
    """Adds the rows of TensorRT, or why there is none."""
    from benchmarks.device import timed

    name, (height, width) = f"{backend}:{precision}", SIZE
    batches = BATCHES[plan.device]
    options = EngineOptions(
        backend=backend, precision=precision, max_batch=max(batches), cache_dir=str(plan.work / "engines")
    )
    try:
        engine = open_engine(default_model_path(), options)
        for batch in batches:
            images = np.zeros((batch, height, width, 3), np.uint8)
            focals = np.full(batch, 400.0, np.float32)
            call = partial(engine.infer, images, focals)
            latency = timed(call, torch.device("cuda"), ROUNDS[plan.device])
            found["rows"].append({"engine": name, "height": height, "width": width, "batch": batch, **latency})
    except (EngineError, RuntimeError) as error:
        found["absent"][name] = (str(error).splitlines() or [type(error).__name__])[0]
