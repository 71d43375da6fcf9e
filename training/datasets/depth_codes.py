"""Depth in few bytes: sparse returns and dense maps, the logarithm of depth in steps of 0.8 %.

A return is three whole numbers: its half pixel (column and row) and its depth code. Returns stand row by row, so
that each number differs little from the one before; the differences are what is compressed.
"""

from __future__ import annotations

import zlib

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.image_files import read_header

NEAREST = 0.05  # metres; nearer depth is unknown
STEPS = 128  # codes for each factor of e: a depth is off by half a step, 0.4 %
UNKNOWN, SKY = 0, 65535
CELLS = 2  # a pixel's side in cells; a return is read back at the centre of its cell, 0.25 px off at most
RETURN_BYTES = 6


def encode_depth(depth: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Returns the codes of depths; 0 where depth is unknown, 65535 for sky.

    Args:
        depth: Any shape, metres along z; NaN unknown, +Inf sky.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.rint(np.log(depth.astype(np.float64) / NEAREST) * STEPS) + 1
    codes = np.clip(np.nan_to_num(steps, nan=UNKNOWN, posinf=SKY, neginf=UNKNOWN), UNKNOWN, SKY)
    return np.asarray(codes, dtype=np.uint16)


def decode_depth(codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Returns the depths of codes, metres: the inverse of encode_depth to 0.4 %."""
    return np.asarray(_DEPTHS[codes])


_DEPTHS = np.exp(np.minimum((np.arange(65536) - 1.0) / STEPS, 80.0)).astype(np.float32) * np.float32(NEAREST)
_DEPTHS[UNKNOWN], _DEPTHS[SKY] = np.nan, np.inf


def encode_points(points: npt.NDArray[np.float32], camera: CameraModel) -> tuple[bytes, int]:
    """Returns the returns that fall inside the picture, the nearest of each cell, as bytes, and their number.

    Args:
        points: (N, 3) metres, optical frame.
        camera: Of the picture, without distortion.
    """
    points = points[np.isfinite(points).all(axis=1) & (points[:, 2] > NEAREST)].astype(np.float64)
    cells = np.floor((camera.project(points) + 0.5) * CELLS)
    inside = ((cells >= 0) & (cells < np.array([camera.width, camera.height]) * CELLS)).all(axis=1)
    columns, rows = cells[inside].astype(np.int64).T
    codes = encode_depth(points[inside, 2].astype(np.float32)).astype(np.int64)
    numbers = np.stack([columns, rows, codes])[:, np.lexsort((codes, columns, rows))]
    numbers = numbers[:, np.diff(numbers[:2], axis=1, prepend=-1).any(axis=0)]
    steps = np.diff(np.ascontiguousarray(numbers), axis=1, prepend=0).astype(
        "<u2"
    )  # modulo 65536, as the sum is when it is read
    planes = steps.view(np.uint8).reshape(3, -1, 2).transpose(0, 2, 1)
    return zlib.compress(planes.tobytes(), 9), numbers.shape[1]


def decode_points(data: bytes, count: int, camera: CameraModel) -> npt.NDArray[np.float32]:
    """Returns the (count, 3) points of `encode_points`, metres, optical frame.

    Raises:
        ValueError: The bytes are not those of so many returns.
    """
    if not 0 <= count <= CELLS**2 * camera.width * camera.height:
        raise ValueError(f"it claims {count} returns, more than its picture has cells")
    size = RETURN_BYTES * count
    reader = zlib.decompressobj()
    try:
        planes = reader.decompress(data, size + 1)  # no more, whatever the bytes claim to hold
    except zlib.error as error:
        raise ValueError(f"its returns cannot be read ({error})") from error
    if len(planes) != size:
        raise ValueError(f"its returns do not fill {size} bytes ({count} returns)")
    steps = np.frombuffer(planes, np.uint8).reshape(3, 2, count).transpose(0, 2, 1).copy().view("<u2")[..., 0]
    columns, rows, codes = np.cumsum(steps, axis=1, dtype=np.uint16)
    z = decode_depth(codes)
    x = ((columns + 0.5) / CELLS - 0.5 - camera.cx) / camera.fx
    y = ((rows + 0.5) / CELLS - 0.5 - camera.cy) / camera.fy
    return np.stack([x * z, y * z, z], axis=1).astype(np.float32)


def encode_map(depth: npt.NDArray[np.float32]) -> bytes:
    """Returns a dense (H, W) depth map, metres, as the PNG of its codes."""
    return bytes(cv2.imencode(".png", encode_depth(depth), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])


def decode_map(data: bytes, camera: CameraModel) -> npt.NDArray[np.float32]:
    """Returns the (H, W) depth map of `encode_map`, metres.

    Raises:
        ValueError: The bytes are not those of a map of the camera's size.
    """
    header = read_header(data)
    codes = None
    if (header.width, header.height) == (camera.width, camera.height):
        codes = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if codes is None or codes.dtype != np.uint16 or codes.shape != (camera.height, camera.width):
        raise ValueError(f"its depth is no map of {camera.width}x{camera.height} codes")
    return decode_depth(codes)
