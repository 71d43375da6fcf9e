"""Facts of the machine: what a reader of the report must know to understand its figures."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

SHARED_MEMORY = Path("/dev/shm")
PACKAGES = (
    "torch", "triton", "numpy", "numba", "numba-cuda", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu",
    "tensorrt", "opencv-python-headless", "scipy", "safetensors", "tensorboard", "pytest", "embreex",
)  # fmt: skip
GB = 1e9


def machine_facts(out: Path, work: Path) -> dict[str, Any]:
    """Returns GPUs, driver, versions, cores, memory and room on the disks; sizes in GB (10^9 bytes)."""
    return {
        **device_facts(),
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "packages": installed_versions(),
        "cpu": cpu_name(),
        "cores": core_count(),
        "memory_gb": memory_gb(),
        "free_gb": {
            "/dev/shm": free_gb(SHARED_MEMORY),
            "out": free_gb(out),
            "work": free_gb(work),
        },
    }


def device_facts() -> dict[str, Any]:
    """Returns what torch and the driver say of the GPUs."""
    import torch

    facts: dict[str, Any] = {"gpus": [], "cuda": torch.version.cuda, "driver": driver_version()}
    if torch.cuda.is_available():
        facts["cudnn"] = torch.backends.cudnn.version()
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            facts["gpus"].append(
                {
                    "name": found.name,
                    "memory_gb": round(found.total_memory / GB, 1),
                    "capability": f"{found.major}.{found.minor}",
                    "multiprocessors": found.multi_processor_count,
                }
            )
    return facts


def driver_version() -> str | None:
    """Returns the version of NVIDIA's driver, or None."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split("\n")[0].strip() or None


def installed_versions() -> dict[str, str]:
    """Returns the versions of the packages that are installed, of those that matter here."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cpu_name() -> str:
    """Returns the processor's name as Linux gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def core_count() -> int:
    """Returns how many cores this process may use: those of its affinity, fewer where a container limits them."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no container's limit, or "max"
        return cores


def memory_gb() -> float:
    """Returns the memory of the machine, or of the container where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        pass
    return round(total / GB, 1)


def free_gb(path: Path) -> float:
    """Returns the room on the disk of a path that may not exist yet; 0 where none of its parents does."""
    for folder in (path, *path.absolute().parents):
        if folder.is_dir():
            return round(shutil.disk_usage(folder).free / GB, 3)
    return 0.0
