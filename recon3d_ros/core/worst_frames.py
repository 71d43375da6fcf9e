"""Keeps the frames with the largest error of a run, and makes their pictures, the worst first."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recon3d_ros.core.colors import Picture
from recon3d_ros.core.error_picture import error_picture
from recon3d_ros.core.evaluation import JudgedPixels, frame_score
from recon3d_ros.core.image_files import write_image
from recon3d_ros.core.metrics import WHOLE_RANGE, RangeTable, range_name
from recon3d_ros.core.pipeline import DepthFrame


@dataclass(frozen=True, eq=False)
class _Kept:
    abs_rel: float
    name: str
    frame: DepthFrame
    pixels: JudgedPixels
    metrics: RangeTable


@dataclass(frozen=True, eq=False)
class WorstFrame:
    """One of the worst frames.

    Attributes:
        rank: 1 for the worst.
        name: of the frame.
        abs_rel: its error over the whole range.
        picture: (H, W, 3) uint8 RGB, see error_picture.
    """

    rank: int
    name: str
    abs_rel: float
    picture: Picture


class WorstFrames:
    """Holds at most `limit` frames.

    Args:
        folder: for `write`; made here, so that a run does not fail at its end. None where it is not called.
        limit: frames that are kept.

    Raises:
        FileExistsError: if the folder holds something: old pictures would look like those of this run.
    """

    def __init__(self, folder: Path | None, *, limit: int = 12) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise FileExistsError(f"{folder}: is not empty; give another folder for the pictures")
        self._folder = folder
        self._limit = limit
        self._kept: list[_Kept] = []

    def add(self, name: str, frame: DepthFrame, pixels: JudgedPixels) -> None:
        """Takes a frame of the run; one without a valid pixel has no error and is left out."""
        metrics = frame_score(pixels.prediction, pixels.target).metric
        whole = metrics.get(range_name(WHOLE_RANGE))
        if whole is not None:
            kept = _Kept(whole["abs_rel"], name, frame, pixels, metrics)
            bisect.insort(self._kept, kept, key=lambda other: -other.abs_rel)
            del self._kept[self._limit :]

    def pictures(self) -> Iterator[WorstFrame]:
        """Yields the frames, the worst first."""
        for rank, kept in enumerate(self._kept, 1):
            picture = error_picture(kept.frame, kept.pixels, kept.metrics, f"{rank}: {kept.name}")
            yield WorstFrame(rank, kept.name, kept.abs_rel, picture)

    def write(self) -> list[Path]:
        """Writes NN_<name>.jpg into the folder, the worst first, and returns the paths."""
        if self._folder is None:
            return []
        paths = []
        for worst in self.pictures():
            path = self._folder / f"{worst.rank:02d}_{worst.name}.jpg"
            write_image(path, worst.picture[..., ::-1])
            paths.append(path)
        return paths
