"""Turns a folder of shapes into images with known points: `python -m training.shapes.views SHAPES OUT`.

For each shape and view OUT gets CATEGORY/NAME_VIEW.png, the image, and .npy, points (N, 3) float32 on the whole
surface in the axes of that view's camera (x right, y down, z forward) about the middle of the shape's bounding
box, whose longest side is 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from recon3d_ros.core.atomic_file import open_atomically
from training.render.image import render
from training.render.lighting import Lighting
from training.render.mesh import Array, Material, from_triangles
from training.render.photo import develop
from training.render.pinhole import Pinhole
from training.render.plans import random_section
from training.render.raycast import Caster
from training.render.views import optical_pose
from training.shapes.catalogue import Shape, open_shapes
from training.shapes.surface import ShapeSurface, load_surface

FOCAL_PART = 1.2  # focal length in widths of the image: a lens of 45 degrees
DISTANCE = (2.1, 2.4)  # from the shape's middle, in its longest sides: all of it stays in the picture
ELEVATION_DEG = (-5.0, 45.0)
PLAIN = (9.0, 1.0, 0.0, 0.0)  # a panel without pattern
LIFTED = 2.0  # metres: the street's ground is at 0, and a shape's middle must not be in it


@dataclass(frozen=True, eq=False)
class View:
    """One image of a shape.

    Attributes:
        image: (size, size, 3) uint8 RGB.
        surface: The shape's.
        R_camera_shape: (3, 3) float32, turns the shape's axes into the camera's.
    """

    image: npt.NDArray[np.uint8]
    surface: ShapeSurface
    R_camera_shape: Array

    def points(self, count: int, rng: np.random.Generator) -> Array:
        """Returns `count` points of the surface in the camera's axes, (count, 3) float32."""
        return self.surface.sample(count, rng) @ self.R_camera_shape.T


@lru_cache(maxsize=64)
def _open_surface(path: Path) -> ShapeSurface:
    return load_surface(path)


@lru_cache(maxsize=2048)
def render_view(shape: Shape, number: int, size: int) -> View:
    """Returns view `number` of a shape; camera, colour, light and background depend on the two alone.

    Args:
        shape: What to show.
        number: Of the view, from 0.
        size: Width and height, pixels.

    Raises:
        DatasetError: The file is no usable mesh.
    """
    surface = _open_surface(shape.path)
    rng = np.random.default_rng([number, crc32(f"{shape.category}/{shape.name}".encode())])
    colour = rng.uniform(0.08, 0.7, 3)
    middle = np.array([0.0, 0.0, LIFTED])
    triangles = surface.triangles + middle.astype(np.float32)
    caster = Caster(from_triangles(triangles, triangles[..., :2], Material.PANEL, colour, PLAIN))
    T_world_camera = optical_pose(np.zeros(3), rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(*ELEVATION_DEG)))
    T_world_camera[:3, 3] = middle - rng.uniform(*DISTANCE) * T_world_camera[:3, 2]
    centre = (size - 1) / 2
    K = np.array([[FOCAL_PART * size, 0, centre], [0, FOCAL_PART * size, centre], [0, 0, 1]])
    camera = Pinhole(size, size, K, T_world_camera)
    radiance, depth = render(caster, camera, random_section("country", rng), _daylight(rng), rng)
    radiance[np.isinf(depth)] = rng.uniform(0.1, 1.2)
    return View(develop(radiance, rng), surface, T_world_camera[:3, :3].T.astype(np.float32))


def _daylight(rng: np.random.Generator) -> Lighting:
    """Returns a sun from above under a bright sky, without haze."""
    up = rng.uniform(0.4, 0.9)
    azimuth, flat = rng.uniform(0, 2 * np.pi), np.sqrt(1 - up**2)
    direction = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), up], np.float32)
    sky = np.full(3, 0.8, np.float32)
    sun = np.full(3, rng.uniform(0.6, 2.5), np.float32)
    return Lighting(direction, sun, sky, sky, 0.4 * sky, 0.0, np.zeros(2, np.float32), haze=1e-6)


def write_views(shapes: Sequence[Shape], folder: Path, *, views: int, size: int, points: int) -> None:
    """Writes images and points of some shapes; see the top of this file.

    Raises:
        DatasetError: A shape's file is no usable mesh.
        OSError: A file cannot be written.
    """
    for shape in tqdm(shapes, unit="shape", disable=None):
        for number in range(views):
            view = render_view(shape, number, size)
            stem = folder / shape.category / f"{shape.name}_{number:03d}"
            _, data = cv2.imencode(".png", np.ascontiguousarray(view.image[..., ::-1]))
            with open_atomically(stem.with_name(f"{stem.name}.png")) as file:
                file.write(data.tobytes())
            with open_atomically(stem.with_name(f"{stem.name}.npy")) as file:
                np.save(file, view.points(points, np.random.default_rng(number)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Turns a folder of shapes into images with known points.")
    parser.add_argument("shapes", type=Path, help="ShapeNetCore's or ModelNet40's folder")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--category", action="append", default=[], help="take only these; may be given repeatedly")
    parser.add_argument("--split", default="", help="train or test, of ModelNet40")
    parser.add_argument("--views", type=int, default=8, help="images of each shape")
    parser.add_argument("--size", type=int, default=128, help="width and height, pixels")
    parser.add_argument("--points", type=int, default=4096)
    options = parser.parse_args(arguments)
    for name in ("views", "size", "points"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}, expected 1 or more")
    try:
        shapes = open_shapes(options.shapes, categories=options.category, split=options.split)
        write_views(shapes, options.out, views=options.views, size=options.size, points=options.points)
    except (OSError, ValueError) as error:  # those of data sets are ValueErrors
        parser.exit(1, f"{error}\n")
    print(f"{options.out}: {options.views} views of {len(shapes)} shapes")


if __name__ == "__main__":
    main()
