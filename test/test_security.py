"""What keeps strangers out: no code in data, models checked before they run, least privilege, known licences."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import ROOT

pytest.importorskip("onnx", reason="onnx, which makes the model of these tests, is not installed")

from onnx_models import write_model

SOURCES = sorted((ROOT / "recon3d_ros").rglob("*.py"))
UNPICKLERS = {"pickle", "_pickle", "cPickle", "shelve", "marshal", "dill", "joblib", "cloudpickle", "torch"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_in_the_package_runs_what_it_reads(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        names = {alias.name.split(".")[0] for alias in node.names} if isinstance(node, ast.Import) else set()
        if isinstance(node, ast.ImportFrom):
            names = {(node.module or "").split(".")[0]}
        assert not names & UNPICKLERS, f"{where} imports {names}"
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            assert call not in ("eval", "exec", "os.system", "yaml.load", "yaml.unsafe_load"), f"{where}: {call}"
            for keyword in node.keywords:
                is_true = not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
                assert not (keyword.arg in ("allow_pickle", "shell") and is_true), f"{where}: {keyword.arg}"


def test_nothing_is_unpickled_while_a_model_is_loaded_and_run(tmp_path: Path) -> None:
    model = write_model(tmp_path / "tiny.onnx", height=8, width=12)
    code = f"""
import sys
import numpy as np

def watch(event, arguments):
    if event in ("pickle.find_class", "marshal.loads") and loaded:
        raise RuntimeError(f"{{event}} {{arguments}}")

loaded = []
sys.addaudithook(watch)
from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.core.preprocess import RawImage
from recon3d_ros.engines import load_engine
# Python's own .pyc files are read with marshal; importlib.resources imports its readers when first asked.
import importlib.readers, onnxruntime, recon3d_ros.engines.onnxruntime
loaded.append(True)
pipeline = DepthPipeline(load_engine({str(model)!r}, "onnxruntime", 1))
camera = CameraModel(24, 16, 20.0, 20.0, 11.0, 7.0)
[frame] = pipeline([RawImage(np.zeros((16, 24, 3), np.uint8), "rgb")], [camera])
print(frame.depth.shape)
import pickle
try:
    pickle.loads(b"cos\\ngetpid\\n(tR.")
except RuntimeError:
    print("the watch works")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert result.stdout.splitlines() == ["(8, 12)", "the watch works"], result.stderr


def test_a_changed_model_is_refused_before_any_run_time_sees_it(tmp_path: Path) -> None:
    path = write_model(tmp_path / "changed.onnx", height=8, width=12)
    content = bytearray(path.read_bytes())
    place = content.find(b"ReduceMean")
    content[place : place + 10] = b"ReduceSumX"
    path.write_bytes(content)
    # None in sys.modules: the run time cannot even be imported.
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from recon3d_ros.engines import load_engine\n"
        f"load_engine({str(path)!r}, 'onnxruntime', 1)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert "the file is damaged or was changed after export" in result.stderr


POLICY = ROOT / "config" / "sros2_policy.xml"


def test_the_policy_is_that_of_the_live_node(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")
    made = tmp_path / "policy.xml"
    command = [sys.executable, "-m", "recon3d_ros.tools.cli", "policy", "-o", str(made)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr
    assert made.read_text() == POLICY.read_text(), "make it anew: recon3d policy -o config/sros2_policy.xml"


def test_the_policy_allows_no_wildcard_and_no_writing_of_what_the_node_reads() -> None:
    profile = ElementTree.parse(POLICY).find("enclaves/enclave/profiles/profile")
    groups = {tuple(group.attrib): {item.text for item in group} for group in profile}
    assert {value for group in profile for value in group.attrib.values()} == {"ALLOW"}
    assert not any("*" in name for names in groups.values() for name in names)
    assert {"/camera/image_raw", "/camera/camera_info", "/tf"} <= groups["subscribe",]
    assert not groups["subscribe",] & groups["publish",]
    assert ("request",) not in groups  # the node calls nobody's services
    assert all(name.startswith("/recon3d_depth/") for name in groups["reply",])


# Licences under which a package may be used and passed on beside Apache-2.0 code, as SPDX or PyPI's classifiers.
ALLOWED = re.compile(
    r"Apache|BSD|MIT|ISC|PSF|Python Software Foundation|Mozilla|MPL|[Zz]lib|CC0|BSL|HPND|Public Domain"
)
# What the metadata do not say in these words; read by hand.
READ_BY_HAND = {"apsw": "MIT: its author allows any OSI-approved licence"}


def requirement_names(*files: str) -> list[str]:
    lines = [line for file in files for line in (ROOT / "requirements" / file).read_text().splitlines()]
    return sorted({re.split(r"[=<>;\[ ]", line)[0] for line in lines if line and line[0] not in "#-"})


def closure(names: list[str]) -> set[str]:
    """Returns the names of installed distributions and of what they require, extras left out."""
    waiting, found = list(names), set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            waiting += [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in requires if "extra ==" not in line]
    return found


def licence_of(name: str) -> str:
    about = metadata.metadata(name)
    classifiers = [
        item.split(" :: ")[-1] for item in about.get_all("Classifier") or [] if item.startswith("License")
    ]
    return about.get("License-Expression") or "; ".join(classifiers) or (about.get("License") or "").split("\n")[0]


def test_every_run_time_dependency_has_a_licence_that_may_be_passed_on() -> None:
    names = closure(requirement_names("runtime.txt"))
    assert {"numpy", "onnxruntime", "rosbags"} <= names
    doubtful = {}
    for name in sorted(names):
        licence = READ_BY_HAND.get(name, licence_of(name))
        if not ALLOWED.search(licence) or "GPL" in licence:
            doubtful[name] = licence
    assert doubtful == {}


def test_every_pin_is_exact() -> None:
    for file in sorted((ROOT / "requirements").glob("*.txt")):
        for line in file.read_text().splitlines():
            if line and not line.startswith(("#", "-r ")):
                assert re.match(r"^[\w.-]+==[\w.]+( *; *(python_version|platform_machine) .*)?$", line), (
                    f"{file.name}: {line}"
                )
