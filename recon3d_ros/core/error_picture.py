"""A picture of one frame's error: image, true depth, predicted depth, and the ratio of the two."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.colors import Picture, color_depth, color_ratio
from recon3d_ros.core.evaluation import JudgedPixels
from recon3d_ros.core.metrics import RangeTable
from recon3d_ros.core.pipeline import DepthFrame

GAP = 4
LINE = 20  # pixels a line of text is high
TEXT_COLOR = (235, 235, 235)
SPARSE = 0.35  # truth in less than this part of the pixels is drawn as dots of 3x3


def error_picture(frame: DepthFrame, pixels: JudgedPixels, metrics: RangeTable, title: str) -> Picture:
    """Returns the (H, W, 3) uint8 RGB picture of a frame's error.

    Args:
        frame: what the network says.
        pixels: where the truth is known.
        metrics: of this frame, by range; written above.
        title: written above them.

    Returns:
        Image and true depth above, predicted depth and ratio below: blue is too near, red too far.
    """
    dim = (frame.image // 3).astype(np.uint8)
    truth = _dots(dim, pixels, color_depth(pixels.target[:, None])[:, 0])
    ratio = _dots(dim, pixels, color_ratio(pixels.prediction, pixels.target))
    panels = [
        _labelled(frame.image, "image"),
        _labelled(truth, "true depth: red 2 m, blue 80 m"),
        _labelled(color_depth(frame.depth), "predicted depth"),
        _labelled(ratio, "predicted / true: blue 0.5, white 1, red 2"),
    ]
    gap = np.zeros((frame.image.shape[0], GAP, 3), dtype=np.uint8)
    rows = [np.hstack([panels[0], gap, panels[1]]), np.hstack([panels[2], gap, panels[3]])]
    header = np.zeros((2 * LINE + GAP, rows[0].shape[1], 3), dtype=np.uint8)
    _write(header, title, (GAP, LINE - 5))
    figures = [f"{name}: {m['abs_rel']:.3f} / {m['delta1']:.2f}" for name, m in metrics.items()]
    _write(header, "abs_rel / delta1   " + "   ".join(figures), (GAP, 2 * LINE - 5))
    return np.vstack([header, rows[0], np.zeros((GAP, rows[0].shape[1], 3), dtype=np.uint8), rows[1]])


def _dots(background: Picture, pixels: JudgedPixels, colors: Picture) -> Picture:
    """Returns the background with a dot for each judged pixel, the nearest on top."""
    picture = background.copy()
    height, width = picture.shape[:2]
    reach = 1 if len(pixels.target) < SPARSE * height * width else 0
    order = np.argsort(-pixels.target, kind="stable")
    aside = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    rows = (pixels.row[order, None] + aside[0]).clip(0, height - 1)
    columns = (pixels.column[order, None] + aside[1]).clip(0, width - 1)
    picture[rows, columns] = colors[order, None]
    return picture


def _labelled(panel: Picture, label: str) -> Picture:
    panel = panel.copy()
    panel[:LINE] //= 2
    _write(panel, label, (GAP, LINE - 6))
    return panel


def _write(picture: npt.NDArray[np.uint8], text: str, position: tuple[int, int]) -> None:
    cv2.putText(picture, text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.45, TEXT_COLOR, 1, cv2.LINE_AA)
