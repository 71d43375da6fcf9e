"""Keras models and TensorFlow SavedModels to ONNX, by tf2onnx where it is installed."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
import sys
from pathlib import Path

from recon3d_ros.core.model import ModelError

KERAS_SUFFIXES = (".keras", ".h5")
OPSET = 17


def is_keras_model(path: Path) -> bool:
    """Returns whether the path is a Keras file or a SavedModel's folder."""
    return path.suffix in KERAS_SUFFIXES or (path / "saved_model.pb").is_file()


def keras_to_onnx(path: Path, out: Path) -> Path:
    """Writes the model as ONNX and returns `out`.

    A Keras file is exported as a SavedModel first: tf2onnx reads that of every Keras version.

    Raises:
        ModelError: TensorFlow or tf2onnx is not installed, or does not take the model.
    """
    try:
        importlib.import_module("tf2onnx")
        tensorflow = importlib.import_module("tensorflow")
    except ImportError as error:
        raise ModelError(
            f"{path}: a Keras model needs tensorflow and tf2onnx, of which '{error.name}' is not installed; "
            "pip install tensorflow tf2onnx, or convert it elsewhere and import the ONNX file"
        ) from error
    saved_model = path
    if path.suffix in KERAS_SUFFIXES:
        saved_model = out.parent / "saved_model"
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # a page on its own tensors
                tensorflow.keras.models.load_model(path, compile=False).export(str(saved_model))
        except Exception as error:  # Keras raises whatever its layers do
            raise ModelError(f"{path}: Keras cannot load it ({error})") from error
    command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", str(saved_model)]
    result = subprocess.run(
        [*command, "--output", str(out), "--opset", str(OPSET)], capture_output=True, text=True, check=False
    )
    if result.returncode or not out.is_file():
        lines = result.stderr.strip().splitlines()
        raise ModelError(f"{path}: tf2onnx cannot convert it: {lines[-1] if lines else 'no reason given'}")
    return out
