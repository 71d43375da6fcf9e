"""Packed drives: one light file of pictures and depth at the training size; `python -m training.pack` writes it.

FOLDER/frames.pack is a line that names the format, the SHA-256 of all that follows, the length of a JSON index,
the index, and then each frame's JPEG and depth (training.datasets.depth_codes) in the order of the index.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from recon3d_ros.core.atomic_file import open_atomically
from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.encodings import decode_compressed
from recon3d_ros.core.lidar import depth_image
from recon3d_ros.core.preprocess import TO_RGB
from training.datasets.depth_codes import decode_map, decode_points, encode_map, encode_points
from training.datasets.files import DatasetError
from training.datasets.frame import Frame

PACK_NAME = "frames.pack"
FORMAT = b"recon3d_ros pack 1\n"
LENGTH = struct.Struct("<Q")
DENSE = -1  # in place of a number of returns


@dataclass(frozen=True)
class PackedFrame:
    """A frame as it is stored.

    Attributes:
        number: Of the frame in its drive.
        width, height, fx, fy, cx, cy: Its pinhole camera, pixels.
        image, depth: The JPEG, and the depth's bytes.
        returns: How many the depth holds; DENSE for a map.
    """

    number: int
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    image: bytes
    depth: bytes
    returns: int

    @property
    def camera(self) -> CameraModel:
        return CameraModel(self.width, self.height, self.fx, self.fy, self.cx, self.cy)

    @property
    def size(self) -> int:
        """The bytes it takes in a pack, its line of the index included."""
        return len(self.image) + len(self.depth) + len(_index_line(self)) + 1


@dataclass(frozen=True)
class PackedDrive:
    """What a pack says of a drive.

    Attributes:
        name: Of its folder.
        weight: As it was given.
        frames: How many are packed.
        frames_of_drive: How many the drive has.
        bytes: That they take.
        credit: Origin and licence; "" where none was given.
    """

    name: str
    weight: int
    frames: int
    frames_of_drive: int
    bytes: int
    credit: str


def pack_frame(frame: Frame, number: int, *, quality: int) -> PackedFrame:
    """Returns a frame as it is stored: see PackedFrame."""
    bgr = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    image = cv2.imencode(".jpg", bgr, options)[1].tobytes()
    camera = frame.camera
    intrinsics = [round(value, 4) for value in (camera.fx, camera.fy, camera.cx, camera.cy)]
    camera = CameraModel(camera.width, camera.height, *intrinsics)
    if frame.points is None:
        depth, returns = encode_map(frame.depth), DENSE
    else:
        depth, returns = encode_points(frame.points, camera)
    return PackedFrame(number, camera.width, camera.height, *intrinsics, image, depth, returns)


def unpack_frame(packed: PackedFrame) -> Frame:
    """Returns the frame: its depth is off by at most 0.4 %, its returns by 0.25 pixels.

    Raises:
        ValueError: Its bytes are no picture or depth of its camera's size.
    """
    camera = packed.camera
    image = decode_compressed(packed.image)
    if (image.width, image.height) != (camera.width, camera.height):
        raise ValueError(f"its picture is {image.width}x{image.height}, expected {camera.width}x{camera.height}")
    conversion = TO_RGB[image.channels]
    rgb = image.data if conversion is None else cv2.cvtColor(image.data, conversion)
    pixels = np.asarray(rgb, dtype=np.uint8)
    if packed.returns == DENSE:
        return Frame(pixels, decode_map(packed.depth, camera), camera)
    points = decode_points(packed.depth, packed.returns, camera)
    return Frame(pixels, depth_image(points, camera), camera, points)


def _index_line(frame: PackedFrame) -> str:
    numbers = [frame.number, frame.width, frame.height, frame.fx, frame.fy, frame.cx, frame.cy]
    return _compact_json([*numbers, len(frame.image), len(frame.depth), frame.returns])


def _compact_json(content: object) -> str:
    return json.dumps(content, separators=(",", ":"))


def pack_overhead(drives: Sequence[PackedDrive]) -> int:
    """Returns the bytes of a pack of these drives beside those of its frames; see PackedFrame.size."""
    index = _compact_json([{**asdict(drive), "index": []} for drive in drives])
    return len(FORMAT) + hashlib.sha256().digest_size + LENGTH.size + len(index.encode())


def write_pack(folder: Path, drives: Sequence[tuple[PackedDrive, Sequence[PackedFrame]]]) -> int:
    """Writes a pack, whole or not at all, and returns its bytes.

    Raises:
        OSError: It cannot be written; a pack that was there before is still there.
    """
    index = _compact_json(
        [{**asdict(drive), "index": [json.loads(_index_line(f)) for f in frames]} for drive, frames in drives]
    ).encode()
    parts = [LENGTH.pack(len(index)), index]
    for _, frames in drives:
        for frame in frames:
            parts += [frame.image, frame.depth]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    with open_atomically(folder / PACK_NAME) as file:
        for part in (FORMAT, digest.digest(), *parts):
            file.write(part)
    return (folder / PACK_NAME).stat().st_size


class PackedFrames(Sequence[Frame]):
    """The frames of a pack, one drive after another, memory-mapped.

    Attributes:
        drives: What they were packed from.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the index and checks that the file is whole.

        Raises:
            DatasetError: The file is missing, damaged, or no pack.
        """
        self._path = folder / PACK_NAME
        try:
            self._bytes = np.memmap(self._path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise DatasetError(f"{self._path}: cannot be read ({error})") from error
        start = len(FORMAT) + hashlib.sha256().digest_size
        if self._bytes[: len(FORMAT)].tobytes() != FORMAT:
            raise DatasetError(f"{self._path}: is no pack of this version; make one with training.pack")
        if hashlib.sha256(self._bytes[start:]).digest() != self._bytes[len(FORMAT) : start].tobytes():
            raise DatasetError(f"{self._path}: is damaged or cut off: its checksum differs; copy or pack it again")
        try:
            self._read_index(start)
        except (AttributeError, OverflowError, RecursionError, TypeError, ValueError, struct.error) as error:
            raise DatasetError(f"{self._path}: its index cannot be read ({error}); pack it again") from error

    def _read_index(self, start: int) -> None:
        (length,) = LENGTH.unpack(self._bytes[start : start + LENGTH.size].tobytes())
        first = start + LENGTH.size + length
        drives: list[dict[str, Any]] = json.loads(self._bytes[start + LENGTH.size : first].tobytes())
        self._lines = [line for drive in drives for line in drive.pop("index")]
        self.drives = tuple(PackedDrive(**drive) for drive in drives)
        for drive in self.drives:
            (drive.name + drive.credit).encode()  # they go into the metadata of what is trained on it
        if not self._lines:
            raise ValueError("it has no frame")
        if any(type(size) is not int for line in self._lines for size in line[7:9]):
            raise ValueError("the size of a frame is no whole number")
        sizes = np.array([line[7:9] for line in self._lines], dtype=np.int64).reshape(len(self._lines), 2)
        self._starts = first + np.concatenate([[0], np.cumsum(sizes.sum(axis=1))])
        if (sizes < 0).any() or self._starts[-1] != len(self._bytes):
            raise ValueError(f"its frames fill {self._starts[-1]} of {len(self._bytes)} bytes")

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> Frame:  # type: ignore[override]  # one frame at a time, no slices
        """Returns a frame.

        Raises:
            DatasetError: It is not what the index says.
        """
        *numbers, image_bytes, _, returns = self._lines[index]
        start, end = self._starts[:-1][index], self._starts[1:][index]
        image = self._bytes[start : start + image_bytes].tobytes()
        depth = self._bytes[start + image_bytes : end].tobytes()
        try:
            return unpack_frame(PackedFrame(*numbers, image, depth, returns))
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{self._path}: frame {index}: {error}") from error
