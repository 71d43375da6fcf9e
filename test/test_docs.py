"""The documentation is true: its commands run, its parameters and topics are the node's, its site builds."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import ROOT
from drives import camera_messages, write_bag, write_drive
from posed_scenes import open3d_or_skip, write_depth_bag, write_recording

DOCS = ROOT / "docs"
BLOCK = re.compile(r"(<!-- vehicle-only -->\n)?```bash\n(.*?)```", re.DOTALL)
NAMES = ("index", "vehicle", "eyes", "models", "tensorrt", "troubleshooting")
PAGES = [ROOT / "SECURITY.md", *(DOCS / f"{name}.md" for name in NAMES)]
SHAPES, RECONSTRUCTION = DOCS / "shapes.md", DOCS / "reconstruction.md"
# What makes a training command short enough for a test.
SHORTER = {"training.train": " --steps 2 --no-board", "training.labels.look": " --frames 1"}


def commands_of(*pages: Path) -> list[Any]:
    """Returns the commands in the pages' blocks that are not marked vehicle-only, in their order."""
    return [
        pytest.param(line, id=f"{page.stem}: {line[:48]}")
        for page in pages
        for mark, block in BLOCK.findall(page.read_text(encoding="utf-8"))
        if not mark
        for line in filter(None, (line.split("  #")[0].strip() for line in block.splitlines()))
    ]


def run(command: str, folder: Path) -> None:
    """Runs a command in a folder with this interpreter's programs and the checkout's modules."""
    programs = Path(sys.executable).parent
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recordings that the documentation speaks of."""
    folder = tmp_path_factory.mktemp("desk")
    write_drive(folder / "drive", 2)
    shutil.copytree(folder / "drive" / "image", folder / "images")
    shutil.copy(folder / "drive" / "calibration.json", folder)
    bag = write_bag(folder / "recorded", camera_messages(2))
    shutil.move(next(bag.glob("*.mcap")), folder / "drive.mcap")
    (folder / "recon3d_ros").symlink_to(ROOT / "recon3d_ros")
    (folder / "my_vehicle.yaml").write_text("/**:\n  ros__parameters:\n    cameras: [front]\n")
    return folder


@pytest.mark.parametrize("command", commands_of(*PAGES))
def test_a_command_of_the_documentation_runs(desk: Path, command: str) -> None:
    if command.startswith("make "):
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert command.split()[1] in targets
        return
    needed = {"view": "rerun", "policy": "rclpy"}.get(command.split()[1])
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    run(command, desk)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what docs/reconstruction.md fuses."""
    open3d_or_skip()
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "recording").mkdir()
    write_recording(folder / "recording", layout="scenes")
    write_recording(folder / "object")
    shutil.move(next(write_depth_bag(folder / "bag").glob("*.mcap")), folder / "drive.mcap")
    bundled, drive = ROOT / "recon3d_ros" / "demo_drive", folder / "drive"
    (drive / "image").mkdir(parents=True)
    for image in sorted((bundled / "image").iterdir())[:6]:
        shutil.copy(image, drive / "image")
    shutil.copy(bundled / "calibration.json", drive)
    (drive / "poses.txt").write_text("\n".join((bundled / "poses.txt").read_text().splitlines()[:6]) + "\n")
    return folder


@pytest.mark.parametrize("command", commands_of(RECONSTRUCTION))
def test_a_command_of_reconstruction_runs(workshop: Path, command: str) -> None:
    run(command, workshop)
    assert (workshop / re.search(r"-o (\S+)", command)[1]).stat().st_size > 1000


def test_the_commands_of_shapes_run_one_after_another(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch: pip install -r requirements/training.txt")
    write_drive(tmp_path / "DRIVE", 1, camera_height_m=1.5)
    for parameter in commands_of(SHAPES):
        command = parameter.values[0].replace("--scenes 100", "--scenes 1 --clouds 2")
        command = command.replace("OTHER_CLOUDS", "CLOUDS").replace("training/configs", f"{ROOT}/training/configs")
        if command.startswith("python -m training.labels.streets"):
            shutil.rmtree(tmp_path / "RUN")
        run(command + SHORTER.get(command.split()[2], ""), tmp_path)
    assert {"points.onnx", "shapes.jpg", "labels.onnx", "labels.jpg"} <= {path.name for path in tmp_path.iterdir()}


def test_commands_were_found_to_run() -> None:
    texts = {parameter.values[0] for parameter in commands_of(*PAGES, RECONSTRUCTION, SHAPES)}
    assert {"make demo", "recon3d run drive.mcap -o out", "recon3d mesh recording/ -o room.glb"} <= texts


def test_the_page_of_parameters_is_that_of_the_code() -> None:
    command = [sys.executable, str(DOCS / "make_parameters.py")]
    made = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert (DOCS / "parameters.md").read_text() == made, "python docs/make_parameters.py > docs/parameters.md"


def test_every_topic_of_the_node_is_documented() -> None:
    text = (DOCS / "topics.md").read_text()
    # The policy is that of the live node (test_security.py).
    profile = ElementTree.parse(ROOT / "config" / "sros2_policy.xml").find("enclaves/enclave/profiles/profile")
    topics = {item.text for group in profile if group.tag == "topics" for item in group}
    ours = {topic for topic in topics if topic.startswith(("/camera/", "/points", "/obstacles", "/diag", "/tf"))}
    assert "/camera/points" in ours
    for topic in sorted(ours):
        assert f"`{topic.replace('/camera/', '<camera>/')}`" in text, f"docs/topics.md lacks {topic}"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip(
        "material", reason="mkdocs-material is not installed: pip install -r requirements/docs.txt"
    )
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == 0, result.stderr
    training = (tmp_path / "site" / "training" / "index.html").read_text(encoding="utf-8")
    assert "training.train" in training  # what lies outside docs/ is shown
    assert "fonts.googleapis" not in training  # and nothing is fetched from elsewhere
