"""Figures of `recon3d bench` as horizontal bars: the median, and a line to the 99th percentile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from recon3d_ros.core.colors import Picture

WIDTH, LABEL_WIDTH, VALUE_WIDTH = 1000, 330, 150  # pixels
ROW, BAR, MARGIN = 26, 14, 20
TEXT, BAR_COLOR, LINE_COLOR = (40, 40, 40), (70, 130, 180), (200, 80, 40)  # RGB
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


@dataclass(frozen=True)
class Bar:
    """One row: what was measured, its median and its 99th percentile."""

    label: str
    median: float
    p99: float


def bar_chart(groups: Mapping[str, Sequence[Bar]]) -> Picture:
    """Returns a picture of groups of bars, each with a scale of its own, as (H, WIDTH, 3) uint8 RGB.

    Args:
        groups: bars by title; the title says the unit.
    """
    rows = sum(len(bars) + 2 for bars in groups.values())
    picture = np.full((2 * MARGIN + ROW * rows, WIDTH, 3), 255, np.uint8)
    row = 0
    for title, bars in groups.items():
        _write(picture, title, x=MARGIN, row=row, is_bold=True)
        end = max((bar.p99 for bar in bars), default=0.0) or 1.0
        scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / end
        for index, bar in enumerate(bars, row + 1):
            top = MARGIN + index * ROW + (ROW - BAR) // 2
            median, p99 = (LABEL_WIDTH + round(value * scale) for value in (bar.median, bar.p99))
            cv2.rectangle(picture, (LABEL_WIDTH, top), (median, top + BAR), BAR_COLOR, -1)
            cv2.line(picture, (median, top + BAR // 2), (p99, top + BAR // 2), LINE_COLOR, 2)
            _write(picture, bar.label, x=MARGIN, row=index)
            _write(picture, f"{bar.median:.1f}, p99 {bar.p99:.1f}", x=p99 + 8, row=index)
        row += len(bars) + 2
    return picture


def _write(picture: Picture, text: str, *, x: int, row: int, is_bold: bool = False) -> None:
    place = (x, MARGIN + row * ROW + 18)
    cv2.putText(picture, text, place, FONT, FONT_SCALE, TEXT, 2 if is_bold else 1, cv2.LINE_AA)
