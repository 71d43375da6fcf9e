"""Images of a user's folder at a network's size, for measuring the ranges of int8: no calibration, no order."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
MOST = 32


class SampleError(ValueError):
    """A folder without images that can be used; the message names it."""


def sample_files(folder: Path | str) -> list[Path]:
    """Returns up to MOST image files of a folder and its sub-folders, evenly chosen in the order of their names.

    Raises:
        SampleError: there is none.
    """
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise SampleError(f"{folder}: holds no image ({', '.join(SUFFIXES)}); give a folder of camera images")
    return [files[index] for index in np.unique(np.linspace(0, len(files) - 1, min(MOST, len(files))).astype(int))]


def digest_of(files: list[Path]) -> str:
    """Returns the sha256 over the files' bytes, in their order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def read_samples(files: list[Path], *, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Returns the images, scaled to cover the size and cut to it in the middle.

    Returns:
        (K, height, width, 3) uint8 RGB.

    Raises:
        SampleError: a file is no image.
    """
    samples = np.empty((len(files), height, width, 3), dtype=np.uint8)
    for sample, file in zip(samples, files, strict=True):
        image = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if image is None:
            raise SampleError(f"{file}: is no image that can be read; remove it from the folder")
        H, W = image.shape[:2]
        scale = max(height / H, width / W)
        size = (max(width, round(W * scale)), max(height, round(H * scale)))
        scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        top, left = (size[1] - height) // 2, (size[0] - width) // 2
        sample[:] = scaled[top : top + height, left : left + width, ::-1]
    return samples
