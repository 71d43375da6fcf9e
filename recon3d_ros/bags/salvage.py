"""Reading the messages of a damaged bag file, up to where the damage begins.

A recorder that was killed and a copy that broke off leave an mcap file without its index or an sqlite3 file
without its last pages. The records before that are whole; these functions read them in file order.
"""

from __future__ import annotations

import io
import os
import sqlite3
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor
else:
    from backports.zstd import ZstdDecompressor

MCAP_MAGIC = b"\x89MCAP0\r\n"
SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F


@dataclass(frozen=True)
class BagMessage:
    """One serialised message of a bag; `stamp_ns` is when it was recorded."""

    topic: str
    type: str
    stamp_ns: int
    data: bytes


def salvage(path: Path) -> Iterator[BagMessage]:
    """Yields the readable messages of a damaged .mcap or .db3 file; yields none of a file that is neither."""
    if path.suffix == ".mcap":
        with path.open("rb") as stream:
            if stream.read(len(MCAP_MAGIC)) == MCAP_MAGIC:
                yield from _mcap_messages(stream, {}, {})
    elif path.suffix == ".db3":
        yield from _sqlite3_messages(path)


def _mcap_messages(
    stream: BinaryIO, schemas: dict[int, str], channels: dict[int, tuple[str, str]]
) -> Iterator[BagMessage]:
    """Yields the messages of an mcap data section or chunk. Source: the MCAP format specification, "Records"."""
    for operation, body, is_whole in _mcap_records(stream):
        if operation == CHUNK:
            content = io.BytesIO(_decompress(body))
            yield from _mcap_messages(content, schemas, channels)
        elif operation == DATA_END or not is_whole:
            return
        elif operation == SCHEMA:
            schemas[struct.unpack_from("<H", body)[0]] = _string(body, 2)
        elif operation == CHANNEL:
            channel, schema = struct.unpack_from("<HH", body)
            channels[channel] = (_string(body, 4), schemas.get(schema, ""))
        elif operation == MESSAGE:
            channel, _sequence, log_time, _publish_time = struct.unpack_from("<HIQQ", body)
            topic, type_name = channels[channel]
            yield BagMessage(topic, type_name, log_time, body[22:])


def _mcap_records(stream: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """Yields opcode, content and whether the content is whole; only the last record can be cut."""
    end = os.stat(stream.fileno()).st_size if not isinstance(stream, io.BytesIO) else len(stream.getbuffer())
    while len(head := stream.read(9)) == 9:
        operation, length = struct.unpack("<BQ", head)
        body = stream.read(min(length, end - stream.tell()))
        yield operation, body, len(body) == length


def _decompress(chunk: bytes) -> bytes:
    """Returns the records of a chunk, as far as they go where the chunk is cut."""
    if len(chunk) < 32 or len(chunk) < 40 + struct.unpack_from("<I", chunk, 28)[0]:
        return b""
    compression = _string(chunk, 28)
    data = chunk[40 + len(compression) :]
    if compression == "":
        return data
    decompressor = LZ4FrameDecompressor() if compression == "lz4" else ZstdDecompressor()
    try:
        return bytes(decompressor.decompress(data))
    except Exception:  # damaged bytes; lz4 and zstd raise unrelated classes
        return b""


def _string(data: bytes, offset: int) -> str:
    (length,) = struct.unpack_from("<I", data, offset)
    return data[offset + 4 : offset + 4 + length].decode(errors="replace")


def _sqlite3_messages(path: Path) -> Iterator[BagMessage]:
    """Yields the messages whose pages are there, in the order in which they were written."""
    has_log = path.with_name(path.name + "-wal").exists()
    mode = "mode=ro" if has_log else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)
    try:
        # Without this SQLite refuses every query on a file that is shorter than its header says.
        connection.execute("PRAGMA writable_schema=ON")
        topics = {key: (name, kind) for key, name, kind in connection.execute("SELECT id, name, type FROM topics")}
        rows = connection.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id")
        for topic_id, stamp_ns, data in rows:
            yield BagMessage(*topics[topic_id], stamp_ns, data)
    except sqlite3.Error:
        return
    finally:
        connection.close()
