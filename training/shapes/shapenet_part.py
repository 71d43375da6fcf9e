"""ShapeNetPart: clouds of shapes with a label for each point, in both layouts that are handed around.

The first release has SYNSET/points/NAME.pts (x y z) beside SYNSET/points_label/NAME.seg (one part a line); the one
with normals has SYNSET/NAME.txt (x y z nx ny nz part). In both synsetoffset2category.txt names the categories.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.datasets.files import DatasetError

CATEGORIES = "synsetoffset2category.txt"


@dataclass(frozen=True, eq=False)
class LabelledCloud:
    """A cloud with a label for each point.

    Attributes:
        points: (N, 3) float32.
        labels: (N,) int64, as the file counts them.
        category: As "Airplane".
        name: Of the file.
    """

    points: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    category: str
    name: str


class ShapeNetPart:
    """The clouds of a ShapeNetPart folder, read by number."""

    def __init__(self, folder: Path, *, categories: Collection[str] = ()) -> None:
        """Lists the clouds.

        Args:
            folder: With synsetoffset2category.txt.
            categories: Names to take; none takes all.

        Raises:
            DatasetError: The folder is none, holds no cloud, or a category is unknown.
        """
        names = _read_categories(folder / CATEGORIES)
        unknown = sorted(set(categories) - set(names.values()))
        if unknown:
            raise DatasetError(f"{folder}: no categories {unknown}; it has {sorted(names.values())}")
        self.files: list[tuple[Path, str]] = []
        for synset, name in sorted(names.items()):
            if not categories or name in categories:
                found = sorted((folder / synset).glob("points/*.pts")) or sorted((folder / synset).glob("*.txt"))
                self.files += [(path, name) for path in found]
        if not self.files:
            raise DatasetError(f"{folder}: no cloud found, expected SYNSET/points/NAME.pts or SYNSET/NAME.txt")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> LabelledCloud:
        """Returns a cloud.

        Raises:
            DatasetError: Its file is damaged, its labels are missing or of another number, or a point is NaN.
        """
        path, category = self.files[index]
        if path.suffix == ".pts":
            points = _read_table(path, 3)
            labels = _read_table(path.parents[1] / "points_label" / f"{path.stem}.seg", 1)[:, 0]
        else:
            table = _read_table(path, 7)
            points, labels = table[:, :3], table[:, 6]
        if len(labels) != len(points):
            raise DatasetError(f"{path}: has {len(points)} points and {len(labels)} labels, expected as many")
        if not (labels == labels.astype(np.int64)).all():
            raise DatasetError(f"{path}: has labels that are no whole numbers")
        return LabelledCloud(points.astype(np.float32), labels.astype(np.int64), category, path.stem)


def _read_categories(path: Path) -> dict[str, str]:
    try:
        rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
        return {synset: name for name, synset in rows}
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a list of 'Name SYNSET' lines ({error})") from error


def _read_table(path: Path, columns: int) -> npt.NDArray[np.float64]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an empty file, which is told below
            table = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as numbers ({error})") from error
    if table.size == 0 or table.shape[1] != columns:
        raise DatasetError(f"{path}: has the shape {table.shape}, expected rows of {columns} numbers")
    bad = int((~np.isfinite(table).all(axis=1)).sum())
    if bad:
        raise DatasetError(f"{path}: {bad} of {len(table)} rows hold NaN or Inf; remove them from the file")
    return table
