"""Frames as training samples: numbered, endless, augmented."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from training.augmentation import augment_photometry
from training.datasets.frame import Frame, Frames, augment_geometry
from training.datasets.rendered import ShardFrames


def augmented_sample(
    frame: Frame, *, width: int, height: int, rng: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Returns a random crop of a frame, mirrored or not, with other colours.

    Returns:
        image (H, W, 3) uint8; depth (H, W) float32 metres, +Inf sky; valid_mask (H, W) bool, true where
        the depth is known (sky included); K (3, 3) float32.
    """
    frame = augment_geometry(frame, width=width, height=height, rng=rng)
    return {
        "image": torch.from_numpy(augment_photometry(frame.image, rng)),
        "depth": torch.from_numpy(frame.depth),
        "valid_mask": torch.from_numpy(~np.isnan(frame.depth) & (frame.depth > 0)),
        "K": torch.from_numpy(frame.camera.K.astype(np.float32)),
    }


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
        """Returns sample `number`: see augmented_sample."""
        rng = np.random.default_rng((self.seed, number))
        index = self._frame_index(number)  # may list the folders anew, and so change self._frames
        frame = self._frames[index]
        return augmented_sample(frame, width=self.width, height=self.height, rng=rng)

    def _frame_index(self, number: int) -> int:
        epoch, position = divmod(number, len(self._frames))
        if epoch != self._epoch:
            self._frames = ShardFrames(self.folders)
            epoch, position = divmod(number, len(self._frames))
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, epoch)).permutation(len(self._frames))
        return int(self._order[position])


class FrameSamples(Dataset[dict[str, torch.Tensor]]):
    """An endless, numbered stream of augmented samples of fixed frames, each taken once an epoch.

    Sample i depends on (seed, i) and the frames alone, as in TrainingSamples.
    """

    def __init__(self, frames: Frames, *, width: int, height: int, seed: int) -> None:
        self._frames = frames
        self._width, self._height, self._seed = width, height, seed

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Returns sample `number`: see augmented_sample."""
        epoch, position = divmod(number, len(self._frames))
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._frames))
        rng = np.random.default_rng((self._seed, epoch, position))
        frame = self._frames[int(order[position])]
        return augmented_sample(frame, width=self._width, height=self._height, rng=rng)
