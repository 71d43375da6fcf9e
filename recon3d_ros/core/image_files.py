"""What a JPEG or PNG file says of itself, read before it is decoded."""

from __future__ import annotations

import struct

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15 without DHT, JPG, DAC


def read_size(content: bytes) -> tuple[int, int]:
    """Returns the height and width that a JPEG or PNG file states, pixels.

    Raises:
        ValueError: if it is neither, its header is damaged, or its end is missing (OpenCV before 5 fills up a
            cut off JPEG with grey and reports nothing).

    Source: ITU T.81 B.1.1 and B.2.2 (JPEG), W3C PNG 11.2.1.
    """
    try:
        if content.startswith(PNG_SIGNATURE):
            width, height = struct.unpack_from(">II", content, 16)
            end, is_whole = "IEND", content.rfind(b"IEND", 33) >= 0
        elif content.startswith(JPEG_SIGNATURE):
            height, width, frame = _jpeg_frame(content)
            end, is_whole = "EOI", content.rfind(b"\xff\xd9") > frame
        else:
            raise ValueError(f"begins with {content[:4].hex(' ')}, expected JPEG or PNG")
    except (struct.error, IndexError) as error:
        raise ValueError(f"is cut off in its header, after {len(content)} bytes") from error
    if not is_whole:
        raise ValueError(f"of {width}x{height} is cut off after {len(content)} bytes: no {end} at its end")
    return height, width


def _jpeg_frame(content: bytes) -> tuple[int, int, int]:
    """Returns the height, the width and the position of a JPEG file's frame header."""
    position = len(JPEG_SIGNATURE)
    while True:
        marker = content[position + 1]
        if content[position] != 0xFF:
            raise ValueError(f"is damaged at byte {position}: no JPEG marker there")
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in JPEG_FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", content, position + 5)
            return height, width, position
        else:
            position += 2 + struct.unpack_from(">H", content, position + 2)[0]
