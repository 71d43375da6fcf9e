"""Which frames of some drives fit into a budget of bytes: at the training size, moments thinned evenly."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from training.datasets import Frame, Frames, crop_frame
from training.datasets.packed import PackedFrame, pack_frame

MEGABYTE = 10**6
# Crops zoom in to 0.65 of the largest one (training.datasets.frame.MIN_ZOOM); above this zoom, half of them, the
# packed picture has all pixels that the crop asks for. Pictures for every zoom take 1.5 times the bytes.
SHARP_ZOOM = 0.8
MARGIN = 1 / 3  # of a crop's height: rows that are kept above the highest and below the lowest return
OUTLIERS = 0.5  # percent of the returns, at either end, that do not say where the depth begins
TRIALS = 8  # frames of each drive that are measured first


class PackError(ValueError):
    """Drives that cannot be packed as asked."""


@dataclass
class Drive:
    """A drive with those of its frames that were packed so far, by number."""

    name: str
    weight: int
    frames: Frames
    credit: str
    packed: dict[int, PackedFrame] = field(default_factory=dict)

    @property
    def mean_size(self) -> float:
        return sum(frame.size for frame in self.packed.values()) / len(self.packed)


def fit_frame(frame: Frame, *, width: int, height: int, zoom: float = SHARP_ZOOM) -> Frame:
    """Returns the frame no larger than crops of it at width x height need, without rows far from any return.

    Args:
        frame: Is never enlarged.
        width, height: Size of the crops that are trained on, pixels.
        zoom: Crops of this part of the picture are not enlarged.
    """
    camera = frame.camera
    largest = min(camera.width / width, camera.height / height)
    scale = min(1.0, 1.0 / (zoom * largest))
    top, bottom = _kept_rows(frame, crop_height=round(largest * height))
    return crop_frame(
        frame,
        left=0,
        top=top,
        crop_width=camera.width,
        crop_height=bottom - top,
        width=round(camera.width * scale),
        height=round((bottom - top) * scale),
    )


def _kept_rows(frame: Frame, *, crop_height: int) -> tuple[int, int]:
    """Returns the first row that is kept and the one after the last: a crop elsewhere has no depth to learn."""
    height = frame.camera.height
    rows = np.flatnonzero(~np.isnan(frame.depth)) // frame.camera.width
    if frame.points is None or len(rows) == 0:
        return 0, height
    first, last = np.percentile(rows, [OUTLIERS, 100 - OUTLIERS])
    top = max(0, int(first - MARGIN * crop_height))
    bottom = min(height, int(last + MARGIN * crop_height) + 1)
    if bottom - top < crop_height:  # the largest crop must still fit
        top = min(top, height - crop_height)
        bottom = max(bottom, top + crop_height)
    return top, bottom


def evenly(count: int, total: int) -> list[int]:
    """Returns `count` of the numbers 0 .. total - 1, whose gaps differ by at most one."""
    return [(2 * number + 1) * total // (2 * count) for number in range(count)]


def shares(drives: Sequence[Drive], budget: float) -> list[int]:
    """Returns how many frames of each drive fit into `budget` bytes: by weight, or all that a drive has."""

    def counts(share: float) -> list[int]:
        return [max(1, min(len(drive.frames), int(share * drive.weight))) for drive in drives]

    def size(share: float) -> float:
        return sum(count * drive.mean_size for count, drive in zip(counts(share), drives, strict=True))

    low, high = 0.0, float(max(len(drive.frames) for drive in drives))
    if size(high) <= budget:
        return counts(high)
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) <= budget else (low, middle)
    return counts(low)


def choose(
    drives: Sequence[Drive], budget: int, *, width: int, height: int, zoom: float, quality: int
) -> list[list[PackedFrame]]:
    """Returns the packed frames of each drive, together at most `budget` bytes.

    Raises:
        PackError: Not even one frame of each drive fits.
    """
    bar = tqdm(unit="frame", desc="packed", disable=None)

    def pack_even(drive: Drive, count: int) -> list[PackedFrame]:
        numbers = evenly(count, len(drive.frames))
        for number in numbers:
            if number not in drive.packed:
                frame = fit_frame(drive.frames[number], width=width, height=height, zoom=zoom)
                drive.packed[number] = pack_frame(frame, number, quality=quality)
                bar.update()
        return [drive.packed[number] for number in numbers]

    for drive in drives:
        pack_even(drive, min(TRIALS, len(drive.frames)))
    aim = float(budget)
    with bar:
        for attempt in itertools.count():
            counts = shares(drives, aim)
            chosen = [pack_even(drive, count) for drive, count in zip(drives, counts, strict=True)]
            size = sum(frame.size for frames in chosen for frame in frames)
            if size > budget and max(counts) == 1:
                raise PackError(
                    f"one frame of each of the {len(drives)} drives takes {size / MEGABYTE:.2f} MB, and "
                    f"{max(0, budget) / MEGABYTE:.2f} MB are left for frames; give a larger --limit-mb, smaller "
                    "--width and --height, or fewer drives"
                )
            if attempt == 0:
                continue  # what was packed says better than the trials how large a frame is
            if size <= budget:
                return chosen
            aim *= 0.99
    raise AssertionError
