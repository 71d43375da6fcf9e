"""Which meshes a folder of shapes holds, whatever its layout.

Known are ShapeNetCore v1 (SYNSET/MODEL/model.obj) and v2 (SYNSET/MODEL/models/model_normalized.obj), both named by
their taxonomy.json, and ModelNet40 (CATEGORY/train|test/NAME.off).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from training.datasets.files import DatasetError

TAXONOMY = "taxonomy.json"
SHAPENET_V1 = "*/*/model.obj"
SHAPENET_V2 = "*/*/models/model_normalized.obj"
MODELNET = "*/{split}/*.off"
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Shape:
    """One mesh of a data set.

    Attributes:
        path: Of its file.
        category: What it shows, by its name, as "chair".
        name: Its own name, unique within its category.
    """

    path: Path
    category: str
    name: str


def open_shapes(folder: Path, *, categories: Collection[str] = (), split: str = "") -> list[Shape]:
    """Returns the shapes of a folder, sorted by category and name.

    Args:
        folder: Of ShapeNetCore or ModelNet40.
        categories: Names to take ("airplane"), or ShapeNet's numbers of them ("02691156"); none takes all.
        split: "train" or "test" of ModelNet40; empty takes both. ShapeNetCore has no split in its folders.

    Raises:
        DatasetError: The folder is neither, holds no such shape, or a category is unknown.
    """
    if split and split not in SPLITS:
        raise DatasetError(f"split is {split!r}, expected one of {SPLITS}, or nothing for both")
    if (folder / TAXONOMY).is_file():
        if split:
            raise DatasetError(f"{folder}: ShapeNetCore's folders know no split {split!r}; leave it out")
        shapes = _shapenet(folder, categories)
    else:
        shapes = _modelnet(folder, categories, split)
    return sorted(shapes, key=lambda shape: (shape.category, shape.name))


def _shapenet(folder: Path, categories: Collection[str]) -> list[Shape]:
    names = read_taxonomy(folder / TAXONOMY)
    files = sorted(folder.glob(SHAPENET_V2)) or sorted(folder.glob(SHAPENET_V1))
    if not files:
        raise DatasetError(
            f"{folder}: has a {TAXONOMY} and no model; expected {SHAPENET_V1} (v1) or {SHAPENET_V2} (v2)"
        )
    shapes = []
    for file in files:
        synset, model = file.relative_to(folder).parts[:2]
        if synset not in names:
            raise DatasetError(f"{file}: its category {synset} is not in {folder / TAXONOMY}")
        shapes.append(Shape(file, names[synset], model))
    numbers = {number: name for number, name in names.items() if (folder / number).is_dir()}
    wanted = {numbers.get(category, category) for category in categories}
    return _chosen(shapes, wanted, folder)


def read_taxonomy(path: Path) -> dict[str, str]:
    """Returns the name of each category by its number; of "airplane,aeroplane,plane" the first.

    Raises:
        DatasetError: The file is not ShapeNet's list of {"synsetId", "name", ...}.
    """
    try:
        return {str(entry["synsetId"]): str(entry["name"]).split(",")[0] for entry in json.loads(path.read_text())}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not a taxonomy of ShapeNet ({type(error).__name__}: {error})") from error


def _modelnet(folder: Path, categories: Collection[str], split: str) -> list[Shape]:
    splits = (split,) if split else SPLITS
    files = [file for part in splits for file in folder.glob(MODELNET.format(split=part))]
    if not files:
        raise DatasetError(
            f"{folder}: no shape found; expected ShapeNetCore ({TAXONOMY} and {SHAPENET_V1} or {SHAPENET_V2}) or "
            f"ModelNet40 ({' and '.join(MODELNET.format(split=part) for part in splits)})"
        )
    shapes = [Shape(file, file.relative_to(folder).parts[0], file.stem) for file in files]
    return _chosen(shapes, categories, folder)


def _chosen(shapes: Iterable[Shape], categories: Collection[str], folder: Path) -> list[Shape]:
    shapes = list(shapes)
    known = {shape.category for shape in shapes}
    unknown = sorted(set(categories) - known)
    if unknown:
        raise DatasetError(f"{folder}: has no shapes of the categories {unknown}; it has {sorted(known)}")
    return [shape for shape in shapes if not categories or shape.category in categories]
