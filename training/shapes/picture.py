"""A picture of reconstructions: image, predicted points and true points, from the camera and from its side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from training.shapes.samples import ShapeSamples

Array = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]
TILE = 128
DOTS_A_UNIT = 110  # pixels of a tile that a shape's longest side takes
FROM_SIDE = np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]], np.float32)  # a quarter turn about the camera's y


def draw_points(points: Array) -> Picture:
    """Returns points (N, 3), x right, y down, z away, as a (TILE, TILE, 3) picture; red is near, blue far."""
    tile = np.full((TILE, TILE, 3), 255, np.uint8)
    order = np.argsort(-points[:, 2])  # far ones first
    pixels = (points[order, :2] * DOTS_A_UNIT + TILE / 2).round().astype(int)
    nearness = np.clip(255 * (0.5 - points[order, 2]), 0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(nearness[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
    for (u, v), colour in zip(pixels.tolist(), colours.tolist(), strict=True):
        cv2.circle(tile, (u, v), 1, colour, -1)
    return tile


def reconstructions(samples: ShapeSamples, indices: Sequence[int], predict: Callable[[Picture], Array]) -> Picture:
    """Returns a page, a column for each shape: image; predicted and true points; both from the side.

    Args:
        samples: Of the shapes.
        indices: Which to show, each by its first view.
        predict: Returns the points (N, 3) of an image (H, W, 3).
    """
    columns = []
    for index in indices:
        sample = samples.view(index, 0)
        image, true = sample["image"].numpy(), sample["points"].numpy()
        found = predict(image)
        shown = np.asarray(cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_AREA), np.uint8)
        clouds = (found, true[: len(found)], found @ FROM_SIDE.T, true[: len(found)] @ FROM_SIDE.T)
        columns.append(np.vstack([shown, *map(draw_points, clouds)]))
    return np.hstack(columns)
