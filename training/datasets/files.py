"""Files of a data set: images and sweeps, with one clear error where they are missing or damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recon3d_ros.core.drive import IMAGE_SUFFIXES
from recon3d_ros.core.encodings import EncodingError, decode_compressed
from recon3d_ros.core.lidar import Points
from recon3d_ros.core.preprocess import RawImage


class DatasetError(ValueError):
    """A data set that lacks a file, or has one that is not what its place says."""


def read_image(path: Path) -> RawImage:
    """Returns an image.

    Args:
        path: Of the file; without an image's suffix, that of the .jpg, .jpeg or .png file that is there.

    Raises:
        DatasetError: There is none, or it is damaged.
    """
    is_whole = path.suffix.lower() in IMAGE_SUFFIXES  # "1305031102.175304" has a dot and no suffix
    candidates = [path] if is_whole else [path.with_name(path.name + suffix) for suffix in IMAGE_SUFFIXES]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        raise DatasetError(f"{path}: no such image{'' if is_whole else ', nor with .jpg, .jpeg or .png'}")
    try:
        return decode_compressed(file.read_bytes())
    except (OSError, EncodingError) as error:
        raise DatasetError(f"{file}: {error}") from error


def read_sweep(path: Path, *, columns: int) -> Points:
    """Returns the (N, 3) points of a file of float32 rows that begin with x y z, metres, LiDAR frame.

    Raises:
        DatasetError: It is missing, or not made of such rows.
    """
    try:
        numbers = np.fromfile(path, dtype="<f4")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    if numbers.size == 0 or numbers.size % columns:
        raise DatasetError(f"{path}: has {numbers.size} numbers, expected rows of {columns} float32")
    return np.asarray(numbers.reshape(-1, columns)[:, :3], dtype=np.float64)
