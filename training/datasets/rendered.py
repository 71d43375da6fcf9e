"""Rendered shards.

A shard is a folder of images.npy (n, H, W, 3) uint8 RGB, depths.npy (n, H, W) float16 metres along z (inf is
sky, NaN unknown) and K.npy (n, 3, 3) float32, as `training.render.shards` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from training.datasets.frame import Frame


def list_shards(folder: Path) -> list[Path]:
    """Returns the shards of a folder, sorted by name.

    Raises:
        FileNotFoundError: There is none.
    """
    shards = sorted(path.parent for path in folder.glob("shard_*/images.npy"))
    if not shards:
        raise FileNotFoundError(
            f"{folder}: no shard found, expected folders shard_NNNNN with images.npy, depths.npy and K.npy; "
            "make them with 'python -m training.render.shards'"
        )
    return shards


ShardArrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16], npt.NDArray[np.float32]]


@lru_cache(maxsize=512)
def _open_shard(shard: Path) -> ShardArrays:
    """Returns images, depths and K of a shard as memory maps.

    Raises:
        ValueError: Their shapes do not belong together.
    """
    images, depths, K = (np.load(shard / f"{name}.npy", mmap_mode="r") for name in ("images", "depths", "K"))
    if images.shape != (*depths.shape, 3) or K.shape != (len(images), 3, 3):
        raise ValueError(
            f"{shard}: images are {images.shape}, depths {depths.shape}, K {K.shape}; "
            "expected (n, H, W, 3), (n, H, W) and (n, 3, 3)"
        )
    return images, depths, K


class ShardFrames:
    """The frames of all shards of some folders, read on demand; the list is fixed when it is made."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._shards = [shard for folder in folders for shard in list_shards(folder)]
        self._ends = np.cumsum([len(_open_shard(shard)[0]) for shard in self._shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Frame:
        number = int(np.searchsorted(self._ends, index, side="right"))
        images, depths, K = _open_shard(self._shards[number])
        row = index - int(self._ends[number])  # negative: counted from the shard's end
        height, width = depths.shape[1:]
        camera = CameraModel.from_calibration(width=width, height=height, K=K[row])
        return Frame(np.array(images[row]), depths[row].astype(np.float32), camera)
