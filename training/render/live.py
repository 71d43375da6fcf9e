"""Frames rendered while they are needed: by number for a trainer, or as an endless stream for a data loader."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from recon3d_ros.core.camera import CameraModel
from training.datasets import Frame
from training.datasets.samples import augmented_sample
from training.render.frames import OpenScene
from training.render.stock import NO_FOLDERS, Folders

# Live scenes are numbered from here on: shards take numbers below 10**13, drives 10**15 and above.
FIRST_SCENE = 10**13
SCENES_A_GROUP = 4
FRAMES_A_SCENE = 20
GROUP = SCENES_A_GROUP * FRAMES_A_SCENE


class LiveFrames:
    """An endless sequence of frames: frame i depends on (seed, i) alone.

    Frames come in groups of 80, four scenes shuffled. A process keeps the scenes of its latest group (about
    0.5 GB), so going up in number costs one scene every 20 frames, and jumping about costs a scene a frame.
    """

    def __init__(self, *, width: int, height: int, seed: int, folders: Folders = NO_FOLDERS) -> None:
        self._width, self._height, self._seed, self._folders = width, height, seed, folders
        self._open = lru_cache(maxsize=SCENES_A_GROUP)(self._open_scene)

    def __getitem__(self, number: int) -> Frame:
        """Returns frame `number` >= 0."""
        group, position = divmod(number, GROUP)
        order = np.random.default_rng((self._seed, group)).permutation(GROUP)
        scene, view = divmod(int(order[position]), FRAMES_A_SCENE)
        frame = self._open(group * SCENES_A_GROUP + scene).frame(view)
        camera = CameraModel.from_calibration(width=self._width, height=self._height, K=frame.K)
        return Frame(frame.image, frame.depth, camera)

    def __getstate__(self) -> dict[str, object]:
        """Leaves out the open scenes, which do not travel to worker processes."""
        return {name: value for name, value in self.__dict__.items() if name != "_open"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._open = lru_cache(maxsize=SCENES_A_GROUP)(self._open_scene)

    def _open_scene(self, number: int) -> OpenScene:
        cv2.setNumThreads(1)
        seed = FIRST_SCENE + self._seed * 10**8 + number
        return OpenScene(seed, width=self._width, height=self._height, folders=self._folders)


class LiveSamples(Dataset[dict[str, torch.Tensor]]):
    """Augmented samples of live frames, numbered as in training.datasets.TrainingSamples."""

    def __init__(self, *, width: int, height: int, seed: int, folders: Folders = NO_FOLDERS) -> None:
        self._width, self._height, self._seed = width, height, seed
        # Rendered larger than needed, as shards are, so that crops do not magnify.
        self._frames = LiveFrames(width=max(width, 640), height=max(height, 192), seed=seed, folders=folders)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Returns sample `number`: see training.datasets.samples.augmented_sample."""
        rng = np.random.default_rng((self._seed, number))
        return augmented_sample(self._frames[number], width=self._width, height=self._height, rng=rng)


class LiveStream(IterableDataset[Frame]):
    """All live frames from a number on, for a DataLoader whose workers each render groups of their own.

    Worker w of W yields the groups w, w + W, ...: no scene is built twice.
    """

    def __init__(self, frames: LiveFrames, first_group: int = 0) -> None:
        self._frames, self._first_group = frames, first_group

    def __iter__(self) -> Iterator[Frame]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        group = self._first_group + worker
        while True:
            for position in range(GROUP):
                yield self._frames[group * GROUP + position]
            group += workers
