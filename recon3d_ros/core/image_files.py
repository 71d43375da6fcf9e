"""JPEG and PNG files: what they say of themselves, read before they are decoded, and their writing."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy.typing as npt

from recon3d_ros.core.atomic_file import naming_errors

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15 without DHT, JPG, DAC
JPEG_SCAN = b"\xff\xda"  # SOS; coded data never holds it, because a zero byte follows each of its 0xFF
PNG_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 4, 6: 4}  # by colour type, as OpenCV decodes them


@dataclass(frozen=True)
class ImageHeader:
    """What a JPEG or PNG file says it holds.

    Attributes:
        height, width: pixels.
        decoded_bytes: that OpenCV's decoded pixels take.
        passes: over the whole image that the decoder makes: the scans of a JPEG, of which a progressive one has
            about ten.
    """

    height: int
    width: int
    decoded_bytes: int
    passes: int


def read_header(content: bytes) -> ImageHeader:
    """Returns what a JPEG or PNG file states of its content.

    Raises:
        ValueError: if it is neither, its header is damaged, or its end is missing (OpenCV before 5 fills up a
            cut off JPEG with grey and reports nothing).

    Source: ITU T.81 B.1.1 and B.2.2 (JPEG), W3C PNG 11.2.1.
    """
    try:
        if content.startswith(PNG_SIGNATURE):
            width, height, bits, color = struct.unpack_from(">IIBB", content, 16)
            pixel_bytes, passes = PNG_CHANNELS.get(color, 4) * (2 if bits == 16 else 1), 1
            end, is_whole = "IEND", content.rfind(b"IEND", 33) >= 0
        elif content.startswith(JPEG_SIGNATURE):
            height, width, pixel_bytes, frame = _jpeg_frame(content)
            passes = content.count(JPEG_SCAN, frame)
            end, is_whole = "EOI", content.rfind(b"\xff\xd9") > frame
        else:
            raise ValueError(f"begins with {content[:4].hex(' ')}, expected JPEG or PNG")
    except (struct.error, IndexError) as error:
        raise ValueError(f"is cut off in its header, after {len(content)} bytes") from error
    if not is_whole:
        raise ValueError(f"of {width}x{height} is cut off after {len(content)} bytes: no {end} at its end")
    return ImageHeader(height, width, height * width * pixel_bytes, passes)


def write_image(path: Path, pixels: npt.NDArray[Any], options: Sequence[int] = ()) -> None:
    """Writes pixels in the format that the file's name says.

    cv2.imwrite answers a full disk with False, and leaves the cut off file.

    Args:
        path: of the file, .png or .jpg.
        pixels: (H, W) grey or depth, or (H, W, 3) BGR, as OpenCV encodes them.
        options: of the encoder, cv2.IMWRITE_...

    Raises:
        OSError: if the file cannot be written; it holds the file's name.
    """
    _, content = cv2.imencode(path.suffix, pixels, options)
    with naming_errors(path):
        path.write_bytes(content.tobytes())


def _jpeg_frame(content: bytes) -> tuple[int, int, int, int]:
    """Returns the height, width, components and position of a JPEG file's frame header."""
    position = len(JPEG_SIGNATURE)
    while True:
        marker = content[position + 1]
        if content[position] != 0xFF:
            raise ValueError(f"is damaged at byte {position}: no JPEG marker there")
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in JPEG_FRAME_MARKERS:
            height, width, components = struct.unpack_from(">HHB", content, position + 5)
            return height, width, components, position
        else:
            position += 2 + struct.unpack_from(">H", content, position + 2)[0]
