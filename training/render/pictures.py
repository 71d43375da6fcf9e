"""Pictures from a user's folder on lorries, billboards, hoardings and house fronts.

A picture becomes a grid of coloured quads: it then needs nothing of the shading, costs rays as little as a plain
wall, and looks the same wherever the scene is drawn. Its cells are a few centimetres wide.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from training.render.mesh import Array, Material, Mesh, from_quads, merge, place
from training.render.shapes import box

SUFFIXES = (".jpg", ".jpeg", ".png")
LARGEST = 160
MOST_CELLS = 96


@lru_cache(maxsize=1)
def load_pictures(folder: Path) -> tuple[Array, ...]:
    """Returns the linear albedo (h, w, 3) of each picture of a folder, at most LARGEST pixels wide and high.

    Raises:
        FileNotFoundError: the folder holds no picture.
        ValueError: a file cannot be read as a picture.
    """
    paths = sorted(path for path in folder.glob("**/*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"{folder}: no picture found; expected {', '.join(SUFFIXES)} files")
    return tuple(_load_picture(path) for path in paths)


def _load_picture(path: Path) -> Array:
    """Returns the linear albedo (h, w, 3) of one file."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: cannot be read as a picture; remove it or save it as JPEG or PNG")
    shrink = min(1.0, LARGEST / max(image.shape[:2]))
    small = cv2.resize(image[:, :, ::-1], None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return (0.02 + 0.78 * (small.astype(np.float32) / 255) ** 2.2).astype(np.float32)


def picture_panel(picture: Array, size: tuple[float, float], rng: np.random.Generator) -> Mesh:
    """Returns a part of a picture on a plane of size (x, z) at y = 0, seen from -y, standing on z = 0."""
    H, W, _ = picture.shape
    wide, tall = size
    columns = int(np.clip(wide / 0.05, 4, MOST_CELLS))
    rows = int(np.clip(tall / 0.05, 4, MOST_CELLS * tall / wide))
    # The largest part of the picture that has the panel's shape, or a smaller one.
    part = min(1.0, H / W * wide / tall) * rng.uniform(0.6, 1.0)
    across, down = part, min(part * W / H * tall / wide, 1.0)
    left, top = rng.uniform(0, 1 - across), rng.uniform(0, 1 - down)
    box_px = picture[int(top * H) : max(int((top + down) * H), int(top * H) + 2)]
    box_px = box_px[:, int(left * W) : max(int((left + across) * W), int(left * W) + 2)]
    cells = cv2.resize(box_px, (columns, rows), interpolation=cv2.INTER_AREA)
    x, z = np.linspace(-wide / 2, wide / 2, columns + 1), np.linspace(tall, 0, rows + 1)
    x0, z0 = np.meshgrid(x[:-1], z[1:])
    x1, z1 = np.meshgrid(x[1:], z[:-1])
    corners = [np.stack([a, 0 * a, b], axis=-1) for a, b in ((x0, z0), (x1, z0), (x1, z1), (x0, z1))]
    points = np.stack(corners, axis=2).reshape(-1, 4, 3)
    return from_quads(points, points[..., [0, 2]], Material.PANEL, cells.reshape(-1, 3), (9, 1, 0, 0))


def billboard(picture: Array, rng: np.random.Generator) -> Mesh:
    """Returns a picture on posts that faces -y, or a hoarding that stands on the ground."""
    wide, tall = rng.uniform(1.2, 5), rng.uniform(1.2, 3)
    foot = rng.choice([0.0, 0.6, 2.5])
    back = (0.2, 0.2, 0.2)
    parts = [box((wide, 0.1, tall), Material.WOOD, back, centre=(0, 0.06, foot))]
    panel = picture_panel(picture, (wide - 0.1, tall - 0.1), rng)
    parts.append(place(panel, (0, 0, foot + 0.05)))
    for x in (-wide * 0.4, wide * 0.4) if foot > 0 else ():
        parts.append(box((0.1, 0.1, foot + 0.2), Material.CONCRETE, back, centre=(x, 0.06, -0.2)))
    return merge(parts)
