"""The package as colcon and pip build, install and test it."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import package_build
import pytest

import recon3d_ros
from recon3d_ros.engines.base import default_model_path

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
VERSION = MANIFEST.findtext("version")
needs_colcon = pytest.mark.skipif(
    importlib.util.find_spec("colcon_core") is None, reason="colcon is not installed"
)

# Import name -> rosdep key, where the two differ. lz4 and zstd (standard library from 3.14) come with rosbags.
ROSDEP_KEYS = {
    "backports": "python3-rosbags-pip",
    "compression": "python3-rosbags-pip",
    "cv2": "python3-opencv",
    "lz4": "python3-rosbags-pip",
    "numba": "python3-numba",
    "numpy": "python3-numpy",
    "onnxruntime": "python3-onnxruntime-pip",
    "rosbags": "python3-rosbags-pip",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
# Imported only on demand.
OPTIONAL = {"libusb_package", "onnx", "open3d", "openvino", "rerun", "trimesh"}


def imported_packages(path: Path) -> set[str]:
    """Returns the top-level names that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"recon3d_ros"}


def share_files() -> set[str]:
    """Returns the files of launch/, config/ and rviz/, relative to the package's share folder."""
    return {
        f"{folder}/{path.name}" for folder in ("launch", "config", "rviz") for path in (ROOT / folder).glob("*.*")
    }


def missing_in(prefix: Path) -> list[str]:
    """Returns what a ROS 2 package needs under its prefix and lacks."""
    wanted = {f"share/recon3d_ros/{name}" for name in (*share_files(), "package.xml")}
    wanted.add("share/ament_index/resource_index/packages/recon3d_ros")
    return sorted(name for name in wanted if not (prefix / name).is_file())


def test_the_module_has_the_manifests_version() -> None:
    assert recon3d_ros.__version__ == VERSION


def test_the_manifest_is_a_valid_package_xml() -> None:
    catkin_pkg = pytest.importorskip("catkin_pkg.package", reason="catkin_pkg is not installed")
    warnings: list[str] = []
    package = catkin_pkg.parse_package(str(ROOT / "package.xml"), warnings=warnings)
    package.validate()
    assert (package.package_format, package.get_build_type(), warnings) == (3, "ament_python", [])


def test_every_import_is_declared_in_the_manifest() -> None:
    declared = {element.text for element in MANIFEST.iter("exec_depend")}
    files = [*(ROOT / "recon3d_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]
    imported = set().union(*map(imported_packages, files)) - OPTIONAL
    assert {ROSDEP_KEYS.get(name, name) for name in imported} - declared == set()


def test_requirements_are_pinned_exactly_and_agree_between_the_sets() -> None:
    pins: dict[tuple[str, str], set[str]] = {}
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith(("#", "-r ")):
                pin = re.fullmatch(r"([a-z0-9-]+)==([0-9][0-9a-z.+]*)(?:; (.+))?", line)
                assert pin, f"{path.name}: '{line}' is not NAME==VERSION"
                pins.setdefault((pin[1], pin[3] or ""), set()).add(pin[2])
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}


def test_the_changelog_names_every_release() -> None:
    changelog = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    headings = re.findall(r"^(Forthcoming|\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\))\n-+$", changelog, re.MULTILINE)
    assert headings[0] == "Forthcoming" or headings[0].startswith(f"{VERSION} ")


def test_pip_install_lays_the_package_and_its_ros_files(tmp_path: Path) -> None:
    sources, prefix = package_build.copy_sources(tmp_path / "source"), tmp_path / "prefix"
    package_build.run(
        "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", prefix, sources, cwd=tmp_path
    )
    assert missing_in(prefix) == []
    assert (prefix / "recon3d_ros" / "models" / default_model_path().name).is_file()
    assert not (prefix / "training").exists()
    assert {path.name for path in (prefix / "bin").iterdir()} == {"recon3d", "depth_node", "map_node"}
    metadata = next(prefix.glob("recon3d_ros-*.dist-info")) / "METADATA"
    required = re.findall(r"^Requires-Dist: ([\w-]+)>=[\d.]+$", metadata.read_text(encoding="utf-8"), re.MULTILINE)
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "requirements" / "runtime.txt").read_text("utf-8"), re.MULTILINE)
    assert set(required) == set(pinned)
    assert (prefix / "recon3d_ros" / "demo_drive" / "calibration.json").is_file()


@needs_colcon
@pytest.mark.parametrize("options", [(), ("--symlink-install",)], ids=["copied", "symlinked"])
def test_colcon_builds_a_package_whose_command_runs(tmp_path: Path, options: tuple[str, ...]) -> None:
    sources = package_build.copy_sources(tmp_path / "source")
    prefix = package_build.colcon_build(sources, *options)
    assert missing_in(prefix) == []
    environment = package_build.sourced_environment(sources)
    assert environment["AMENT_PREFIX_PATH"].split(":")[0] == str(prefix)
    command = prefix / "lib" / "recon3d_ros" / "recon3d"
    assert VERSION in subprocess.check_output([command, "--version"], env=environment, text=True)
    assert (prefix / "lib" / "recon3d_ros" / "depth_node").is_file()


@needs_colcon
def test_colcon_test_runs_this_test_suite(tmp_path: Path) -> None:
    sources = package_build.copy_sources(tmp_path / "source")
    package_build.colcon_build(sources)
    one_test = "test/test_package.py::test_the_module_has_the_manifests_version"
    package_build.run("colcon", "--log-base", "log", "test", "--pytest-args", one_test, cwd=sources)
    assert "1 test, 0 errors, 0 failures" in package_build.run("colcon", "test-result", "--all", cwd=sources)
