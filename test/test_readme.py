"""The README is true: its commands, files, topics and parameter table are those of the code."""

from __future__ import annotations

import dataclasses
import re

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_first_two_commands_are_make_demo_and_make_test():
    first_block = re.search(r"```bash\n(.*?)```", README, re.DOTALL)
    commands = [line.split("#")[0].strip() for line in first_block[1].splitlines() if line.strip()]
    assert commands == ["make demo", "make test"]
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= targets


def test_every_file_it_links_to_exists():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_its_parameters_are_those_of_the_code():
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")
    from recon3d_ros.ros.parameters import DepthNodeParameters

    rows = {}
    for item in dataclasses.fields(DepthNodeParameters):
        default = list(item.default) if isinstance(item.default, tuple) else item.default
        text = str(default).lower() if isinstance(default, bool) else str(default)
        change = "yes" if item.metadata["live"] else ""
        rows[item.name] = (
            f"| `{item.name}` | `{text or chr(39) * 2}` | {change} | {item.metadata['description']} |"
        )
    shown = re.findall(r"^\| `(\w+)` \| `.*$", README, re.MULTILINE)
    assert len(shown) > 10 and set(shown) <= set(rows)
    for name in shown:
        assert rows[name] in README, f"put this into README.md:\n{rows[name]}"


def test_its_topics_are_those_of_the_node():
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")
    from recon3d_ros.ros.live_run import OUTPUTS

    for topic in OUTPUTS:
        assert f"`<camera>/{topic}`" in README
