"""A picture of what the network sees: image, depth, and the cloud from above, for a few moments."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from recon3d_ros.core.cloud import back_project
from recon3d_ros.core.colors import FAR, NEAR, Picture, color_depth
from recon3d_ros.core.pipeline import DepthFrame

PANEL_HEIGHT = 300
MIN_PANEL_WIDTH, MAX_PANEL_WIDTH = 280, 1800  # room for the scale of metres; a panorama is no longer than this
GAP = 6
LEGEND = (2, 5, 10, 20, 40, 80)  # metres
AHEAD, ASIDE = 40.0, 25.0  # metres shown from above: forward, and to each side
GROUND_COLOR = (28, 30, 34)  # RGB, as all colours here
GRID_COLOR = (64, 68, 76)
TEXT_COLOR = (235, 235, 235)


class Moments:
    """Holds a few frames, spread evenly over a recording whose length need not be known.

    Args:
        limit: frames held at most; half of them are let go when it is reached.
    """

    def __init__(self, limit: int = 12) -> None:
        self._limit = limit
        self._every = 1
        self._seen = 0
        self._frames: list[DepthFrame] = []

    def add(self, frame: DepthFrame) -> None:
        """Takes the next frame of the recording."""
        if self._seen % self._every == 0:
            self._frames.append(frame)
        if len(self._frames) == self._limit:
            self._frames = self._frames[::2]
            self._every *= 2
        self._seen += 1

    def spread(self, count: int) -> list[DepthFrame]:
        """Returns up to `count` frames: of the beginning, between, and of the end."""
        rows = np.linspace(0, len(self._frames) - 1, min(count, len(self._frames)))
        return [self._frames[row] for row in np.rint(rows).astype(int)]


def preview_rows(frames: Sequence[DepthFrame]) -> Picture:
    """Returns a row of three panels for each frame: image, depth, and the cloud seen from above.

    Args:
        frames: at least one.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    rows = [
        _join([_fit(frame.image), _fit(color_depth(frame.depth), legend=True), top_view(frame)])
        for frame in frames
    ]
    width = max(row.shape[1] for row in rows)  # a camera may change its size in the middle of a recording
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    gap = np.zeros((GAP, width, 3), dtype=np.uint8)
    return np.vstack([part for row in rows for part in (row, gap)][:-1])


def top_view(frame: DepthFrame) -> Picture:
    """Returns the cloud seen from above, in the image's colours: x to the right, z up, a grid line every 10 m."""
    scale = PANEL_HEIGHT / AHEAD
    width = round(2 * ASIDE * scale)
    view = np.full((PANEL_HEIGHT, width, 3), GROUND_COLOR, dtype=np.uint8)
    for metres in range(0, int(AHEAD), 10):
        row = round(PANEL_HEIGHT - 1 - metres * scale)
        cv2.line(view, (0, row), (width, row), GRID_COLOR)
        _write(view, f"{metres} m", (4, row - 4), 0.4)
    for metres in range(-int(ASIDE) // 10 * 10, int(ASIDE) + 1, 10):
        column = round(width / 2 + metres * scale)
        cv2.line(view, (column, 0), (column, PANEL_HEIGHT), GRID_COLOR)

    points = back_project(frame.depth, frame.camera.rays()).reshape(-1, 3)
    colors = frame.image.reshape(-1, 3)
    with np.errstate(invalid="ignore"):
        is_inside = (points[:, 2] < AHEAD) & (np.abs(points[:, 0]) < ASIDE)
    points, colors = points[is_inside], colors[is_inside]
    order = np.argsort(-points[:, 1], kind="stable")  # y points down: what is higher is drawn later
    points, colors = points[order], colors[order] // 3 * 2 + 85  # lighter, to stand out from the ground
    columns = (width / 2 + points[:, 0] * scale).astype(int)[:, None] + (0, 1, 0, 1)
    rows = (PANEL_HEIGHT - 1 - points[:, 2] * scale).astype(int)[:, None] + (0, 0, -1, -1)
    view[rows.clip(0), columns.clip(0, width - 1)] = colors[:, None]

    tip = (width // 2, PANEL_HEIGHT - 12)
    base = ((width // 2 - 6, PANEL_HEIGHT - 1), (width // 2 + 6, PANEL_HEIGHT - 1))
    cv2.fillConvexPoly(view, np.array([tip, *base]), TEXT_COLOR, cv2.LINE_AA)
    return view


def _fit(image: Picture, *, legend: bool = False) -> Picture:
    """Returns the image in the middle of a panel, with a scale of metres in its lower right corner."""
    height, width, _ = image.shape
    scale = min(PANEL_HEIGHT / height, MAX_PANEL_WIDTH / width)
    height, width = max(round(height * scale), 1), max(round(width * scale), 1)
    panel = np.zeros((PANEL_HEIGHT, max(width, MIN_PANEL_WIDTH), 3), dtype=np.uint8)
    left, top = (panel.shape[1] - width) // 2, (PANEL_HEIGHT - height) // 2
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    panel[top : top + height, left : left + width] = resized
    if legend:
        bar = np.geomspace(NEAR, FAR, 240, dtype=np.float32)[None].repeat(10, axis=0)
        left, top = panel.shape[1] - bar.shape[1] - 24, PANEL_HEIGHT - 18
        panel[top - 20 : top + 14, left - 12 : left + bar.shape[1] + 20] //= 3
        panel[top : top + bar.shape[0], left : left + bar.shape[1]] = color_depth(bar)
        for metres in LEGEND:
            column = left + round(float(np.searchsorted(bar[0], metres)))
            _write(panel, f"{metres}{' m' if metres == LEGEND[-1] else ''}", (column - 6, top - 6), 0.4)
    return panel


def _write(picture: Picture, text: str, position: tuple[int, int], size: float) -> None:
    cv2.putText(picture, text, position, cv2.FONT_HERSHEY_SIMPLEX, size, TEXT_COLOR, 1, cv2.LINE_AA)


def _join(panels: Sequence[Picture]) -> Picture:
    gap = np.zeros((PANEL_HEIGHT, GAP, 3), dtype=np.uint8)
    return np.hstack([part for panel in panels for part in (panel, gap)][:-1])
