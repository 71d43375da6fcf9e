"""The tree built and installed away from the checkout, as colcon and pip do it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("package.xml", "setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.rst")
FOLDERS = ("recon3d_ros", "launch", "config", "rviz", "resource", "test")


def copy_sources(target: Path) -> Path:
    """Copies what a build reads, so that it leaves nothing in the checkout and finds nothing of an older build."""
    target.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, target)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Runs a Python module's command line and returns its output; fails with the output if it fails."""
    result = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout}"
    return result.stdout


def colcon_build(sources: Path, *options: str) -> Path:
    """Builds the sources with colcon and returns the package's install prefix."""
    run("colcon", "--log-base", "log", "build", *options, cwd=sources)
    return sources / "install" / "recon3d_ros"


def sourced_environment(sources: Path) -> dict[str, str]:
    """Returns the environment of a shell that sourced the workspace's setup file."""
    output = subprocess.check_output(["bash", "-c", "source install/setup.bash && env -0"], cwd=sources, text=True)
    return dict(entry.split("=", 1) for entry in output.split("\0") if "=" in entry)
