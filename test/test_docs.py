"""The documentation is true: its commands run, its parameters and topics are the node's, its site builds."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import ROOT
from drives import camera_messages, write_bag, write_drive

DOCS = ROOT / "docs"
NAMES = ("index", "vehicle", "eyes", "models", "troubleshooting")
PAGES = [ROOT / "SECURITY.md", *(DOCS / f"{name}.md" for name in NAMES)]
BLOCK = re.compile(r"(<!-- vehicle-only -->\n)?```bash\n(.*?)```", re.DOTALL)
COMMANDS = [
    pytest.param(line, id=f"{page.stem}: {line[:48]}")
    for page in PAGES
    for mark, block in BLOCK.findall(page.read_text(encoding="utf-8"))
    if not mark
    for line in filter(None, (line.split("  #")[0].strip() for line in block.splitlines()))
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recordings that the documentation speaks of."""
    folder = tmp_path_factory.mktemp("desk")
    write_drive(folder / "drive", 2)
    shutil.copytree(folder / "drive" / "image", folder / "images")
    shutil.copy(folder / "drive" / "calibration.json", folder)
    bag = write_bag(folder / "recorded", camera_messages(2))
    shutil.move(next(bag.glob("*.mcap")), folder / "drive.mcap")
    (folder / "my_vehicle.yaml").write_text("/**:\n  ros__parameters:\n    cameras: [front]\n")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_documentation_runs(desk: Path, command: str) -> None:
    if command.startswith("make "):
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert command.split()[1] in targets
        return
    needed = {"view": "rerun", "policy": "rclpy"}.get(command.split()[1])
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(
        ["bash", "-c", command], cwd=desk, env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_commands_were_found_to_run() -> None:
    texts = [parameter.values[0] for parameter in COMMANDS]
    assert {"make demo", "recon3d run drive.mcap -o out"} <= set(texts)


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
