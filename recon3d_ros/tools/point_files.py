"""Point clouds as binary PLY and PCD files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.atomic_file import naming_errors


def write_ply(path: Path, points: npt.NDArray[np.float32], colors: npt.NDArray[np.uint8], *, comment: str) -> None:
    """Writes a binary little-endian PLY file with x, y, z (float32) and red, green, blue (uint8).

    Args:
        path: of the file.
        points: (N, 3) float32 metres.
        colors: (N, 3) uint8 RGB.
        comment: one line for the header, for example the frame.
    """
    vertices = np.empty(len(points), dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])
    vertices["xyz"], vertices["rgb"] = points, colors
    properties = [f"property float {axis}" for axis in "xyz"]
    properties += [f"property uchar {color}" for color in ("red", "green", "blue")]
    header = ["ply", "format binary_little_endian 1.0", f"comment {comment}", f"element vertex {len(points)}"]
    _write(path, [*header, *properties, "end_header"], vertices.tobytes())


def write_pcd(path: Path, points: npt.NDArray[np.float32], colors: npt.NDArray[np.uint8], *, comment: str) -> None:
    """Writes a binary PCD file with x, y, z and PCL's rgb (0x00RRGGBB in a float32); arguments as write_ply."""
    rows = np.zeros(len(points), dtype=[("xyz", "<f4", 3), ("bgr0", "u1", 4)])
    rows["xyz"], rows["bgr0"][:, :3] = points, colors[:, ::-1]
    header = [
        f"# {comment}", "VERSION 0.7", "FIELDS x y z rgb", "SIZE 4 4 4 4", "TYPE F F F F", "COUNT 1 1 1 1",
        f"WIDTH {len(points)}", "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {len(points)}", "DATA binary",
    ]  # fmt: skip
    _write(path, header, rows.tobytes())


def _write(path: Path, header: list[str], content: bytes) -> None:
    with naming_errors(path):
        path.write_bytes("\n".join([*header, ""]).encode("ascii", "replace") + content)
