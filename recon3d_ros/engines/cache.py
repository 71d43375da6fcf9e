"""The cache of built engines: what an engine depends on, and whether a file may be trusted to be that engine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class GpuFacts:
    """What a built engine depends on of the machine.

    Attributes:
        name: as the driver says it, e.g. "Orin".
        compute_capability: e.g. "8.7".
        driver_cuda: the highest CUDA version of the driver, e.g. "12.6".
    """

    name: str
    compute_capability: str
    driver_cuda: str


@dataclass(frozen=True)
class EngineKey:
    """All that a built engine depends on; engines with unequal keys are never exchanged."""

    model: str
    model_sha256: str
    backend: str
    version: str
    gpu: GpuFacts
    precision: str
    calibration: str
    profile: dict[str, list[list[int]]]
    flags: dict[str, str | int]

    def digest(self) -> str:
        """Returns the sha256 of the key, which names the engine's file."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Proof:
    """What recon3d_ros.engines.check said of a built engine: the verdict and its lines."""

    is_good: bool
    lines: tuple[str, ...]
