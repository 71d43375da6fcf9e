"""Puts self-test images into model files that have none: `python -m training.self_test MODEL.onnx ...`

Frames of the bundled drive at the model's size, as `training.export` and `recon3d import` store them. Only the
metadata changes: the graph, and with it the model's sha256, stays as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import onnx

from recon3d_ros.core.atomic_file import open_atomically
from recon3d_ros.core.model import ModelError, read_model_info
from recon3d_ros.core.self_test import drive_self_test, self_test_metadata


def add_self_test(path: Path) -> None:
    """Replaces the self-test images of a model file, or adds them.

    Raises:
        ModelError: the file is missing, damaged or does not keep the contract.
    """
    info = read_model_info(path)
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    test = drive_self_test(height=info.height, width=info.width)
    onnx.helper.set_model_props(model, {**metadata, **self_test_metadata(test)})
    with open_atomically(path) as file:
        file.write(model.SerializeToString(deterministic=True))
        file.flush()
        read_model_info(file.name)  # verifies that the graph's bytes are the ones its sha256 is of


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    options = parser.parse_args(arguments)
    try:
        for path in options.models:
            add_self_test(path)
            print(f"{path}: self-test images stored, {path.stat().st_size / 1e6:.1f} MB")
    except (ModelError, OSError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
