"""Checksums beside model files: a file that is not the one listed is refused by whoever reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from onnx_models import write_model

from recon3d_ros.core.model import ModelError, read_model_info
from recon3d_ros.engines import default_model_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "front.onnx")
    write_model(tmp_path / "rear.onnx", height=64)
    return tmp_path


def write_list(folder: Path, *options: str) -> None:
    files = sorted(path.name for path in folder.glob("*.onnx"))
    lines = subprocess.run(
        ["sha256sum", *options, *files], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    (folder / "SHA256SUMS").write_text(lines)


@pytest.mark.parametrize("options", [(), ("--binary",)])
def test_a_listed_file_is_read_and_another_under_its_name_is_refused(folder, options) -> None:
    write_list(folder, *options)
    assert read_model_info(folder / "front.onnx").height == 32
    write_model(folder / "front.onnx", height=96)  # a right model, and not the one that was listed
    with pytest.raises(ModelError, match=r"front\.onnx: its sha256 is .*, SHA256SUMS in its folder says "):
        read_model_info(folder / "front.onnx")
    assert read_model_info(folder / "rear.onnx").height == 64


def test_a_file_that_the_list_does_not_name_is_read(folder) -> None:
    write_list(folder)
    assert read_model_info(write_model(folder / "new.onnx")).height == 32


def test_a_list_that_is_none_is_refused(folder) -> None:
    (folder / "SHA256SUMS").write_text("front.onnx is fine\n")
    with pytest.raises(ModelError, match=r"SHA256SUMS: line 1 is no line of sha256sum's: 'front.onnx is fine'"):
        read_model_info(folder / "front.onnx")


def test_the_models_that_ship_are_those_of_their_list() -> None:
    folder = default_model_path().parent
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)
    listed = {line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in folder.glob("*.onnx")}
