"""Shapes as training samples: numbered, endless images with the points that they show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from training.datasets.files import DatasetError
from training.shapes.catalogue import Shape
from training.shapes.views import render_view

VIEWS = 24  # of each shape; once drawn a view is kept in memory
TARGET_POINTS = 1024


class ShapeSamples(Dataset[dict[str, torch.Tensor]]):
    """Views of shapes, each shape taken once an epoch; sample i depends on (seed, i) and the shapes alone."""

    def __init__(
        self, shapes: Sequence[Shape], *, width: int, height: int, seed: int, points: int = TARGET_POINTS
    ) -> None:
        """Opens the shapes.

        Args:
            shapes: What to show.
            width, height: Of the images, pixels; the same.
            seed: Of views and points.
            points: How many true points a sample has.

        Raises:
            DatasetError: There is no shape, or the images would not be square.
        """
        if not shapes:
            raise DatasetError("there are no shapes to show, expected 1 or more")
        if width != height:
            raise DatasetError(f"shapes are shown at {width}x{height}, expected a square")
        self._shapes, self._size, self._seed, self._points = list(shapes), width, seed, points

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Returns sample `number`: image (H, W, 3) uint8 and points (N, 3) float32; see training.shapes.views."""
        epoch, position = divmod(number, len(self._shapes))
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._shapes))
        view = int(np.random.default_rng((self._seed, number)).integers(VIEWS))
        return self.view(int(order[position]), view, points_seed=number)

    def view(self, index: int, number: int, *, points_seed: int = 0) -> dict[str, torch.Tensor]:
        """Returns view `number` of a shape, with true points drawn by a seed of their own."""
        view = render_view(self._shapes[index], number, self._size)
        rng = np.random.default_rng((self._seed, points_seed, number))
        points = view.points(self._points, rng)
        return {"image": torch.from_numpy(view.image), "points": torch.from_numpy(points)}
