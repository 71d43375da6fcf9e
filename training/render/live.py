"""Frames rendered while they are needed: by number for a trainer, or as an endless stream for a data loader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from recon3d_ros.core.camera import CameraModel
from training.datasets import Frame
from training.datasets.samples import augmented_sample
from training.render.frames import OpenScene, RasterScene, open_scene
from training.render.renderers import check_renderer
from training.render.stock import NO_FOLDERS, Folders

# Live scenes are numbered from here on: shards take numbers below 10**13, drives 10**15 and above.
FIRST_SCENE = 10**13
SCENES_A_GROUP = 4
FRAMES_A_SCENE = 20
GROUP = SCENES_A_GROUP * FRAMES_A_SCENE


class LiveFrames:
    """An endless sequence of frames: frame i depends on (seed, i) and the renderer alone.

    Frames come in groups of 80, four scenes shuffled. A process keeps the scenes of its latest group (about
    0.5 GB), so going up in number costs one scene every 20 frames, and jumping about costs a scene a frame.

    Args:
        width, height: pixels.
        seed: of the scenes.
        folders: the user's own meshes and pictures, if any.
        renderer: see training.render.renderers. Every one shows the same views of the same scenes.

    Raises:
        ValueError: the renderer cannot work here.
    """

    def __init__(
        self, *, width: int, height: int, seed: int, folders: Folders = NO_FOLDERS, renderer: str = "embree"
    ) -> None:
        check_renderer(renderer)
        self.renderer = renderer
        self._width, self._height, self._seed, self._folders = width, height, seed, folders
        self._open = lru_cache(maxsize=SCENES_A_GROUP)(self._open_scene)

    def __getitem__(self, number: int) -> Frame:
        """Returns frame `number` >= 0."""
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Frame]:
        """Returns frames by their numbers; those of one scene are drawn together."""
        places = [self._place(number) for number in numbers]
        frames: dict[tuple[int, int], Frame] = {}
        for scene in dict.fromkeys(scene for scene, _ in places):
            views = [view for of, view in places if of == scene]
            for view, frame in zip(views, self._open(scene).frames(views), strict=True):
                camera = CameraModel.from_calibration(width=self._width, height=self._height, K=frame.K)
                frames[scene, view] = Frame(frame.image, frame.depth, camera)
        return [frames[place] for place in places]

    def _place(self, number: int) -> tuple[int, int]:
        """Returns the scene and the view of a frame."""
        group, position = divmod(number, GROUP)
        order = np.random.default_rng((self._seed, group)).permutation(GROUP)
        scene, view = divmod(int(order[position]), FRAMES_A_SCENE)
        return group * SCENES_A_GROUP + scene, view

    def __getstate__(self) -> dict[str, object]:
        """Leaves out the open scenes, which do not travel to worker processes."""
        return {name: value for name, value in self.__dict__.items() if name != "_open"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._open = lru_cache(maxsize=SCENES_A_GROUP)(self._open_scene)

    def _open_scene(self, number: int) -> OpenScene | RasterScene:
        cv2.setNumThreads(1)
        return open_scene(
            FIRST_SCENE + self._seed * 10**8 + number,
            width=self._width,
            height=self._height,
            renderer=self.renderer,
            folders=self._folders,
        )


class LiveSamples(Dataset[dict[str, torch.Tensor]]):
    """Augmented samples of live frames, numbered as in training.datasets.TrainingSamples.

    Args:
        width, height: pixels of a sample.
        seed, folders, renderer: of LiveFrames; cuda is torch's current GPU in the process that calls this.

    Raises:
        ValueError: the renderer cannot work here.
    """

    def __init__(
        self, *, width: int, height: int, seed: int, folders: Folders = NO_FOLDERS, renderer: str = "embree"
    ) -> None:
        check_renderer(renderer)
        if renderer == "cuda":
            # A loading process, which torch starts with GPU 0, draws on the GPU of the process that trains.
            renderer = f"cuda:{torch.cuda.current_device()}"
        self._width, self._height, self._seed = width, height, seed
        # Rendered larger than needed, as shards are, so that crops do not magnify.
        self._frames = LiveFrames(
            width=max(width, 640), height=max(height, 192), seed=seed, folders=folders, renderer=renderer
        )

    @property
    def uses_gpu(self) -> bool:
        """Whether samples are made on a GPU: then loading processes are spawned, since CUDA survives no fork."""
        return self._frames.renderer.startswith("cuda")

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Returns sample `number`: see training.datasets.samples.augmented_sample."""
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        """Returns samples by their numbers; frames of one scene are drawn together."""
        rngs = (np.random.default_rng((self._seed, number)) for number in numbers)
        return [
            augmented_sample(frame, width=self._width, height=self._height, rng=rng)
            for frame, rng in zip(self._frames.__getitems__(numbers), rngs, strict=True)
        ]


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
