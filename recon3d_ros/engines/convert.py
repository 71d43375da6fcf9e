"""A model file in the precision asked for, calibrated where that needs images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.model import ModelInfo, read_metadata
from recon3d_ros.core.sample_images import SampleError, digest_of, read_samples, sample_files
from recon3d_ros.core.self_test import METADATA_KEY, read_self_test
from recon3d_ros.engines.base import EngineError

log = logging.getLogger(__name__)
# Part of an engine's key, to be raised when the same model and images give another graph than before.
REVISION = 2


def convert_model(
    path: Path, info: ModelInfo, precision: str, calibration: str = "", size: tuple[int, int] | None = None
) -> bytes:
    """Returns a float32 model file in another precision, as a model file.

    Args:
        path, info: the model.
        precision: "fp16", "bf16" or "int8".
        calibration: int8: a folder of images; "" takes those that the model carries.
        size: int8: (height, width) at which they are shown to the model; None takes its own or default.

    Raises:
        ModelError: the model's images are damaged.
        EngineError: onnx is not installed, the graph cannot be converted, or int8 has no images.
    """
    try:
        from recon3d_ros.engines.precision import in_precision
    except ImportError as error:
        raise EngineError(
            f"making {precision} of a float32 model needs more than is installed ({error}): pip install onnx, or "
            f"give a model that was converted elsewhere with 'recon3d engine convert'"
        ) from error
    inputs = _inputs(path, info, calibration, size or info.size) if precision == "int8" else iter(())
    try:
        return in_precision(path.read_bytes(), precision, inputs)
    except ValueError as error:
        raise EngineError(f"{path}: cannot be converted to {precision}: {error}") from error


def calibration_digest(precision: str, calibration: str) -> str:
    """Returns what tells one calibration from another: "" for other precisions than int8.

    Raises:
        EngineError: the folder holds no image.
    """
    if precision != "int8":
        return ""
    if not calibration:
        return "the model's own images"  # which the sha256 of its file covers
    try:
        return digest_of(sample_files(calibration))
    except (SampleError, OSError) as error:
        raise EngineError(f"calibration: {error}") from error


def _inputs(
    path: Path, info: ModelInfo, calibration: str, size: tuple[int, int]
) -> Iterator[dict[str, npt.NDArray[np.generic]]]:
    """Yields the graph's inputs, one image each, of (height, width)."""
    height, width = size
    if calibration:
        try:
            images = read_samples(sample_files(calibration), height=height, width=width)
        except (SampleError, OSError) as error:
            raise EngineError(f"calibration: {error}") from error
        # Not known, and of no weight: only what follows the body depends on it. A lens of 53 degrees.
        focals = np.full(len(images), width, dtype=np.float32)
        source = calibration
    elif METADATA_KEY in read_metadata(path):
        test = read_self_test(path, info, size)
        images, focals, source = test.images, test.focals, test.source
    else:
        raise EngineError(
            f"{path}: int8 needs images to take its ranges from, and the model carries none; give calibration a "
            f"folder of images of your cameras"
        )
    log.info(f"int8 ranges are taken from {len(images)} images of {source}")
    for image, focal in zip(images, focals, strict=True):
        yield {"image": image[None], "focal": np.array([focal])}
