"""Rendered shards as training samples, with augmentation that keeps the geometry true.

A shard is a folder of images.npy (n, H, W, 3) uint8 RGB, depths.npy (n, H, W) float16 metres along z (inf is
sky, NaN unknown) and K.npy (n, 3, 3) float32, as `training.render.shards` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from recon3d_ros.core.camera import CameraModel
from training.augmentation import augment_photometry

# A crop is at least this part of the largest one that fits: nearer than that, a street is not recognisable.
MIN_ZOOM = 0.65
INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


@dataclass(frozen=True)
class Frame:
    """One image with its depth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) float32 metres along z; +Inf is sky, NaN unknown.
        camera: The pinhole camera of both.
    """

    image: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    camera: CameraModel


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


def crop_frame(
    frame: Frame,
    *,
    left: int,
    top: int,
    crop_width: int,
    crop_height: int,
    width: int,
    height: int,
    interpolation: int = cv2.INTER_AREA,
) -> Frame:
    """Returns a crop of the frame resized to width x height, with its camera.

    Depth is taken from the nearest pixel: interpolated depth would lie between objects, where nothing is.
    """
    camera = frame.camera.cropped(left=left, top=top, width=crop_width, height=crop_height)
    window = np.s_[top : top + crop_height, left : left + crop_width]
    rows = ((np.arange(height) + 0.5) * crop_height / height).astype(int)
    columns = ((np.arange(width) + 0.5) * crop_width / width).astype(int)
    image = cv2.resize(frame.image[window], (width, height), interpolation=interpolation)
    return Frame(
        np.asarray(image, dtype=np.uint8),
        frame.depth[window][rows[:, None], columns],
        camera.resized(width=width, height=height),
    )


def flip_frame(frame: Frame) -> Frame:
    """Returns the frame mirrored left to right, with the principal point mirrored as well."""
    return Frame(
        np.ascontiguousarray(frame.image[:, ::-1]),
        np.ascontiguousarray(frame.depth[:, ::-1]),
        frame.camera.flipped(),
    )


def augment_geometry(frame: Frame, *, width: int, height: int, rng: np.random.Generator) -> Frame:
    """Returns a random crop of the frame at width x height, mirrored half of the time."""
    source = frame.camera
    largest = min(source.width / width, source.height / height)
    factor = largest * np.exp(rng.uniform(np.log(MIN_ZOOM), 0.0))
    crop_width = min(source.width, round(width * factor))
    crop_height = min(source.height, round(height * factor))
    cropped = crop_frame(
        frame,
        left=int(rng.integers(0, source.width - crop_width + 1)),
        top=int(rng.integers(0, source.height - crop_height + 1)),
        crop_width=crop_width,
        crop_height=crop_height,
        width=width,
        height=height,
        interpolation=int(rng.choice(INTERPOLATIONS)),
    )
    return flip_frame(cropped) if rng.random() < 0.5 else cropped


class TrainingSamples(Dataset[dict[str, torch.Tensor]]):
    """An endless, numbered stream of augmented samples: sample i depends on (seed, i) and the frames alone.

    A run that resumes at sample i therefore sees what the uninterrupted run would have seen, with any number
    of workers. Each epoch takes every frame once, and starts with listing the folders again, so that frames
    written meanwhile are used.
    """

    def __init__(self, folders: Sequence[Path], *, width: int, height: int, seed: int) -> None:
        self.folders = tuple(folders)
        self.width = width
        self.height = height
        self.seed = seed
        self._frames = ShardFrames(folders)
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Returns sample `number`.

        Returns:
            image (H, W, 3) uint8; depth (H, W) float32 metres, +Inf sky; valid_mask (H, W) bool, true where
            the depth is known (sky included); K (3, 3) float32.
        """
        rng = np.random.default_rng((self.seed, number))
        index = self._frame_index(number)  # may list the folders anew, and so change self._frames
        frame = self._frames[index]
        frame = augment_geometry(frame, width=self.width, height=self.height, rng=rng)
        return {
            "image": torch.from_numpy(augment_photometry(frame.image, rng)),
            "depth": torch.from_numpy(frame.depth),
            "valid_mask": torch.from_numpy(~np.isnan(frame.depth) & (frame.depth > 0)),
            "K": torch.from_numpy(frame.camera.K.astype(np.float32)),
        }

    def _frame_index(self, number: int) -> int:
        epoch, position = divmod(number, len(self._frames))
        if epoch != self._epoch:
            self._frames = ShardFrames(self.folders)
            epoch, position = divmod(number, len(self._frames))
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, epoch)).permutation(len(self._frames))
        return int(self._order[position])
