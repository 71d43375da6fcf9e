"""A rented GPU machine has torch, numba, ONNX and little else: what runs there must import without the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed; see requirements/training.txt")

ROOT = Path(__file__).resolve().parents[1]
# A bag cannot be read without rosbags.
NEED_MORE = {"training.datasets.bag"}
BENCHES = ["benchmarks.device", "benchmarks.rendering", "recon3d_ros.tools.bench", "recon3d_ros.tools.cli"]


def run_on_a_bare_machine(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "test"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("CI", None)  # there conftest demands what a bare machine lacks
    script = f"import bare_machine, sys\nbare_machine.hide_the_rest()\n{code}"
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def modules_of(folder: str) -> list[str]:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert len(files) > 50
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files)
    return [name.removesuffix(".__init__") for name in names]


def test_training_rendering_and_the_bench_import() -> None:
    modules = [name for name in modules_of("training") if name not in NEED_MORE] + BENCHES
    done = run_on_a_bare_machine(
        f"import importlib\nsys.path.insert(0, '')\nfor name in {modules}: importlib.import_module(name)\n"
    )
    assert done.returncode == 0, done.stderr


def test_the_gpu_tests_are_collected_without_an_error() -> None:
    done = run_on_a_bare_machine("import pytest; sys.exit(pytest.main(['-m', 'gpu', '--collect-only', '-q']))")
    assert done.returncode == 0, done.stdout + done.stderr
    gpu_tests = [*(ROOT / "test").glob("test_gpu_*.py"), *(ROOT / "test").glob("test_*_gpu.py")]
    for file in gpu_tests:
        assert f"{file.name}::" in done.stdout or "pytest.mark.gpu" not in file.read_text()


def test_a_package_that_is_not_of_the_bare_machine_cannot_be_imported() -> None:
    pytest.importorskip("rosbags", reason="rosbags is not installed, and so cannot be hidden")
    assert "ModuleNotFoundError: import of rosbags" in run_on_a_bare_machine("import rosbags").stderr
