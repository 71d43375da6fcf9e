"""A rented GPU machine, as far as imports go: its few packages import, all others are as if absent."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "torch numba numba-cuda onnx onnxscript onnxruntime opencv-python-headless numpy scipy tensorboard "
    "safetensors pytest tqdm pyyaml"
).split()


def hide_the_rest() -> None:
    """Hides all packages but PACKAGES and what these need, and the checkout where it is installed as a package."""
    there = _with_requirements(PACKAGES)
    for module, packages in metadata.packages_distributions().items():
        if not there & set(map(_canonical, packages)) and module != "recon3d_ros":
            sys.modules[module] = None  # type: ignore[assignment]  # import raises ModuleNotFoundError
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]


def _with_requirements(names: list[str]) -> set[str]:
    """Returns the canonical names of packages and of all that they require here; those not installed left out."""
    found: set[str] = set()
    waiting = list(map(_canonical, names))
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            requirements = map(Requirement, metadata.requires(name) or ())
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [_canonical(r.name) for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
