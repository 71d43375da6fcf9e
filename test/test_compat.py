"""The code runs where it says it does: Python 3.10 to 3.13, Humble's rclpy as well as Jazzy's."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from rclpy_surface import read_surface

SOURCES = [
    ROOT / "setup.py",
    *(
        file
        for room in ("recon3d_ros", "launch", "training", "benchmarks")
        for file in sorted((ROOT / room).rglob("*.py"))
    ),
]
NODE_SOURCES = sorted((ROOT / "recon3d_ros" / "ros").glob("*.py"))
VERMIN = Path(sys.executable).with_name("vermin")
HUMBLE = json.loads((ROOT / "test" / "humble_rclpy.json").read_text())
GUARDED = {"recon3d_ros/bags/salvage.py": "'compression.zstd' module"}  # behind sys.version_info

# Builds modules that have the names of Humble's rclpy and no others, then imports the node's room on them.
IMPORT_ON_STUB = """
import importlib, json, sys, types

surface = json.loads(open(sys.argv[1]).read())
modules = {name: types.ModuleType(name) for name in surface}
sys.modules.update(modules)

def value(module, name):
    entry = surface[module][name]
    if isinstance(entry, str):
        home, _, own = entry.rpartition(".")
        if entry in modules:
            return modules[entry]
        return value(home, own) if own in surface.get(home, {}) else type(own, (), {})
    if name not in vars(modules[module]):
        bases, members = (entry["bases"], entry["members"]) if isinstance(entry, dict) else ([], {})
        error = (Exception,) if any(base.endswith(("Exception", "Error")) for base in bases) else ()
        public = {key: None for key in members if not key.startswith("__")}
        setattr(modules[module], name, type(name, error, public))
    return vars(modules[module])[name]

for module, names in surface.items():
    modules[module].__path__ = []
    for name in names:
        setattr(modules[module], name, value(module, name))
    parent, _, own = module.rpartition(".")
    if parent:
        setattr(modules[parent], own, modules[module])

class Messages(types.ModuleType):
    __path__ = []
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {"__getattr__": None})
        for constant in ("FLOAT32", "FLOAT64", "INT8", "OK", "WARN", "ERROR", "STALE", "UINT8", "INT32", "UINT32"):
            setattr(made, constant, constant)
        setattr(self, name, made)
        return made

for package in ("builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "lifecycle_msgs", "nav_msgs",
                "rcl_interfaces", "rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs", "tf2_msgs",
                "visualization_msgs"):
    for kind in ("", ".msg", ".srv"):
        sys.modules[package + kind] = Messages(package + kind)
for absent in ("launch", "tf2_ros", "cv_bridge", "sensor_msgs_py", "message_filters"):
    sys.modules[absent] = None
for name in sys.argv[2:]:
    importlib.import_module(name)
"""  # fmt: skip


def test_the_node_imports_on_the_rclpy_of_humble(tmp_path: Path) -> None:
    modules = [f"recon3d_ros.ros.{path.stem}" for path in NODE_SOURCES if path.stem != "__init__"]
    assert "recon3d_ros.ros.depth_node" in modules
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_ON_STUB, str(ROOT / "test" / "humble_rclpy.json"), *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-3000:]


def test_the_stub_lacks_what_humble_lacks() -> None:
    # Named in the release notes of the distributions after Humble.
    for module in ("rclpy.event_handler", "rclpy.parameter_client", "rclpy.parameter_event_handler"):
        assert module not in HUMBLE
    assert "wait_for_node" not in HUMBLE["rclpy.node"]["Node"]["members"]
    assert "create_subscription" in HUMBLE["rclpy.node"]["Node"]["members"]


def members_of(name: str, surface: dict = HUMBLE) -> dict[str, list[str] | None]:
    """Returns the members of a class of rclpy, those of its bases too."""
    for entries in surface.values():
        if isinstance(entries.get(name), dict):
            inherited = {k: v for base in entries[name]["bases"] for k, v in members_of(base, surface).items()}
            return {**inherited, **entries[name]["members"]}
    return {}


NODE_MEMBERS = members_of("LifecycleNode")


def node_calls(path: Path) -> Iterator[tuple[ast.Call, str]]:
    """Yields the calls of a method of rclpy's node: `node.create_timer(...)`, `self._node.create_timer(...)`."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            owner = ast.unparse(call.func.value)
            if owner in ("node", "self._node", "super()") or (owner == "self" and call.func.attr in NODE_MEMBERS):
                yield call, call.func.attr


@pytest.mark.parametrize("path", NODE_SOURCES, ids=lambda path: path.stem)
def test_every_method_of_the_node_and_its_keywords_exist_in_humble(path: Path) -> None:
    own = {
        item.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for item in node.body
        if isinstance(item, ast.FunctionDef)
    }
    for call, name in node_calls(path):
        where = f"{path.name}:{call.lineno}: {ast.unparse(call.func)}"
        if name not in NODE_MEMBERS:
            assert name in own or name.startswith("__"), f"{where} is not in Humble's rclpy"
            continue
        parameters = NODE_MEMBERS[name] or []
        unknown = {keyword.arg for keyword in call.keywords if keyword.arg} - set(parameters)
        assert not unknown or "**" in parameters or name in own, (
            f"{where}: Humble's takes {parameters}, not {unknown}"
        )


def test_the_reader_of_the_surface_finds_what_an_installed_rclpy_has() -> None:
    rclpy = pytest.importorskip(
        "rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt"
    )
    from rclpy.lifecycle import LifecycleNode

    surface = read_surface(Path(rclpy.__file__).parent)
    public = {name for name in dir(LifecycleNode) if not name.startswith("_")}
    assert public - set(members_of("LifecycleNode", surface)) == set()


@pytest.mark.skipif(not VERMIN.exists(), reason="vermin is not installed: pip install -r requirements/dev.txt")
def test_no_name_is_newer_than_python_3_10() -> None:
    command = [VERMIN, "--format", "parsable", "--no-tips", *map(str, SOURCES)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    too_new = []
    for line in found.splitlines():
        path, number, _column, _python2, python3, feature = line.split(":", 5)
        if not number or python3.startswith("!") or tuple(map(int, python3.strip("~").split("."))) <= (3, 10):
            continue
        name = Path(path).relative_to(ROOT).as_posix()
        if GUARDED.get(name) != feature:
            too_new.append(f"{name}:{number}: {feature} needs Python {python3}")
    assert "importlib" in found and too_new == []


def interpreters() -> list[Path]:
    """Returns an interpreter of each supported version, of those that pyenv or the system has."""
    found = {}
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    folders += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    for minor in range(10, 14):
        for folder in folders:
            if (folder / f"python3.{minor}").exists() and "shims" not in folder.parts:
                found[minor] = folder / f"python3.{minor}"
    return list(found.values())


@pytest.mark.parametrize("version", [(3, 10), (3, 11), (3, 12)], ids=lambda version: f"3.{version[1]}")
def test_every_file_parses_as_that_version(version: tuple[int, int]) -> None:
    for path in SOURCES:
        ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=version)


@pytest.mark.parametrize("interpreter", interpreters(), ids=lambda path: path.name)
def test_every_file_compiles_in_a_real_interpreter(interpreter: Path) -> None:
    code = "import sys\nfor path in sys.argv[1:]: compile(open(path, encoding='utf-8').read(), path, 'exec')"
    clean = {key: value for key, value in os.environ.items() if key not in ("LD_LIBRARY_PATH", "PYTHONPATH")}
    command = [str(interpreter), "-I", "-c", code, *map(str, SOURCES)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean)
    assert result.returncode == 0, result.stderr
