"""Labelled clouds as training samples, of streets, of ShapeNetPart, or of shapes as wholes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from training.datasets.files import DatasetError
from training.labels.blocks import BLOCK, in_block
from training.labels.streets import LABELS
from training.models.pointnet import PointNetConfig
from training.shapes.catalogue import open_shapes
from training.shapes.shapenet_part import CATEGORIES, ShapeNetPart
from training.shapes.surface import load_surface, resampled

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
STRETCH, JITTER = 0.08, 0.01  # of a cloud, relative, and of its points, in what the cloud is measured in


class LabelledClouds(Protocol):
    """Clouds by number, each with a label for each point, or one label."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> tuple[Array, Labels]: ...
    def crop(self, points: Array, labels: Labels, rng: np.random.Generator) -> tuple[Array, Labels]:
        """Returns the part of a cloud that one sample shows."""
        ...


class StreetClouds:
    """The clouds of a folder of training.labels.streets; a sample shows one block of a cloud."""

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        if tuple(labels) != LABELS:
            raise DatasetError(f"{folder}: streets have the labels {LABELS}, the network has {tuple(labels)}")
        self.files = sorted(folder.glob("*.npz"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Array, Labels]:
        try:
            with np.load(self.files[index]) as file:
                points, labels = file["points"], file["labels"].astype(np.int64)
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(f"{self.files[index]}: not a cloud with labels ({error})") from error
        if points.shape != (len(labels), 3) or len(labels) == 0:
            raise DatasetError(
                f"{self.files[index]}: points are {points.shape}, labels {labels.shape}; expected (N, 3) and (N,)"
            )
        return points, labels

    def crop(self, points: Array, labels: Labels, rng: np.random.Generator) -> tuple[Array, Labels]:
        """Returns the block around a random point of a random label, so that rare things are seen as often."""
        wanted = rng.choice(np.unique(labels))
        centre = points[rng.choice(np.flatnonzero(labels == wanted)), :2] + rng.uniform(-BLOCK / 4, BLOCK / 4, 2)
        local, chosen = in_block(points, centre)
        return local, labels[chosen]


class PartClouds:
    """ShapeNetPart; a label is "Category/part", as "Chair/2"."""

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self._numbers = {label: number for number, label in enumerate(labels)}
        self._clouds = ShapeNetPart(folder, categories={label.split("/")[0] for label in labels})

    def __len__(self) -> int:
        return len(self._clouds)

    def __getitem__(self, index: int) -> tuple[Array, Labels]:
        cloud = self._clouds[index]
        names = [f"{cloud.category}/{part}" for part in np.unique(cloud.labels)]
        missing = [name for name in names if name not in self._numbers]
        if missing:
            raise DatasetError(f"{cloud.name}: has parts {missing}, the network has {sorted(self._numbers)}")
        parts, place = np.unique(cloud.labels, return_inverse=True)
        numbers = np.array([self._numbers[f"{cloud.category}/{part}"] for part in parts], np.int64)
        return cloud.points, numbers[place]

    def crop(self, points: Array, labels: Labels, rng: np.random.Generator) -> tuple[Array, Labels]:
        return points, labels


class ShapeClouds:
    """Shapes as wholes: ModelNet40 or ShapeNetCore; a label is a category's name."""

    POINTS = 2048

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self._numbers = {label: number for number, label in enumerate(labels)}
        self._shapes = open_shapes(folder, categories=labels)

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, index: int) -> tuple[Array, Labels]:
        shape = self._shapes[index]
        points = load_surface(shape.path).sample(self.POINTS, np.random.default_rng(index))
        return points, np.array(self._numbers[shape.category], np.int64)

    def crop(self, points: Array, labels: Labels, rng: np.random.Generator) -> tuple[Array, Labels]:
        return points, labels


def labelled_clouds(folder: Path, config: PointNetConfig) -> LabelledClouds:
    """Returns the clouds of a folder with the labels of a network.

    Raises:
        DatasetError: The folder holds no such clouds, or other labels.
    """
    if not config.per_point:
        return ShapeClouds(folder, config.labels)
    if (folder / CATEGORIES).is_file():
        return PartClouds(folder, config.labels)
    if next(folder.glob("*.npz"), None) is not None:
        return StreetClouds(folder, config.labels)
    raise DatasetError(
        f"{folder}: holds no labelled points; expected .npz files of 'python -m training.labels.streets', or "
        f"ShapeNetPart with its {CATEGORIES}"
    )


class LabelSamples(Dataset[dict[str, torch.Tensor]]):
    """An endless, numbered stream of clouds, each once an epoch, turned, mirrored and stretched by chance."""

    def __init__(self, clouds: LabelledClouds, *, points: int, seed: int) -> None:
        self._clouds, self._points, self._seed = clouds, points, seed

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Returns sample `number`: points (N, 3) float32 and labels (N,), or () of a whole cloud, int64."""
        epoch, position = divmod(number, len(self._clouds))
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._clouds))
        rng = np.random.default_rng((self._seed, epoch, position))
        points, labels = self._clouds[int(order[position])]
        points, labels = self._clouds.crop(points, labels, rng)
        chosen = resampled(points, self._points, rng)
        turned = moved(points[chosen], rng)
        return {
            "points": torch.from_numpy(turned),
            "labels": torch.from_numpy(np.asarray(labels[chosen] if labels.ndim else labels)),
        }


def moved(points: Array, rng: np.random.Generator) -> Array:
    """Returns points turned about z, mirrored half of the time, stretched and shaken a little."""
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * np.array([rng.choice([-1, 1]), 1, 1])
    stretched = points @ turn.T * rng.uniform(1 - STRETCH, 1 + STRETCH)
    return np.asarray(stretched + rng.normal(0, JITTER, points.shape), np.float32)
