"""What a built engine depends on: engines whose keys differ in anything are never exchanged."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields


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

    def __str__(self) -> str:
        return f"{self.name},{self.compute_capability},{self.driver_cuda}"


@dataclass(frozen=True)
class EngineKey:
    """All that a built engine depends on; engines with unequal keys are never exchanged.

    Attributes:
        model, model_sha256: the model's name, and the sha256 of its file.
        backend, version: the run time.
        gpu: the machine.
        precision: of the network's body.
        calibration: what int8 ranges were taken from: the sha256 of the images of a folder, or that they were the
            model's own; "" for other precisions.
        profile: input name -> its least, best and greatest shape.
        flags: what else the builder was told.
    """

    model: str
    model_sha256: str
    backend: str
    version: str
    gpu: GpuFacts
    precision: str
    calibration: str
    profile: dict[str, list[list[int]]]
    flags: dict[str, int]

    @property
    def stem(self) -> str:
        """The name of its files without a suffix: readable, and unique to the key."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{re.sub('[^A-Za-z0-9_]', '_', self.model)[:40]}-{self.precision}-{digest[:20]}"


def differing(found: EngineKey, wanted: EngineKey) -> list[str]:
    """Returns the names of what is not equal."""
    return [field.name for field in fields(EngineKey) if getattr(found, field.name) != getattr(wanted, field.name)]


def differences(found: EngineKey, wanted: EngineKey) -> str:
    """Returns e.g. "version 10.3.0, expected 10.7.0"."""
    pairs = ((name, getattr(found, name), getattr(wanted, name)) for name in differing(found, wanted))
    return "; ".join(f"{name} {has}, expected {wants}" for name, has, wants in pairs)
