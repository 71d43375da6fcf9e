"""Writes the renderer's own things as a folder of shapes: `python -m training.shapes.stock OUT`.

Its layout is ModelNet40's, so that image-to-points can be tried out where no data set can be had; the meshes are
those that this repository makes for its streets.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recon3d_ros.core.atomic_file import open_atomically
from training.render.mesh import Mesh
from training.render.stock import make_stock

SORTS = ("cars", "heavy", "people", "trees", "small_things")


def off_text(mesh: Mesh) -> str:
    """Returns a mesh as the text of an .off file, in metres, z up."""
    corners, faces = np.unique(mesh.points.reshape(-1, 3), axis=0, return_inverse=True)
    rows = [" ".join(f"{x:.5f}" for x in corner) for corner in corners]
    rows += [f"3 {a} {b} {c}" for a, b, c in faces.reshape(-1, 3)]
    return f"OFF\n{len(corners)} {len(mesh.points)} 0\n" + "\n".join(rows) + "\n"


def write_stock(folder: Path, *, each: int, seed: int) -> int:
    """Writes `each` things of each sort, and returns how many that were."""
    stock = make_stock(seed)
    for sort in SORTS:
        things: tuple[Mesh, ...] = getattr(stock, sort)
        for number, mesh in enumerate(things[:each]):
            with open_atomically(folder / sort / "train" / f"{sort}_{number + 1:04d}.off") as file:
                file.write(off_text(mesh).encode())
    return sum(len(getattr(stock, sort)[:each]) for sort in SORTS)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Writes the renderer's own things as a folder of shapes.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--each", type=int, default=4, help="how many of each of " + ", ".join(SORTS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.each < 1:
        parser.error(f"--each is {options.each}, expected 1 or more")
    try:
        count = write_stock(options.out, each=options.each, seed=options.seed)
    except OSError as error:
        parser.exit(1, f"{error}\n")
    print(f"{options.out}: {count} shapes")


if __name__ == "__main__":
    main()
