"""Files that appear whole or not at all, and a full disk that is told with the file's name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO


@contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Adds the file's name to an error of writing it, which the system leaves out ("No space left on device")."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that takes its name only once it is whole and on the disk; its folder is made where missing.

    A reader, a crash or a full disk leaves the old file or the new one, never a part of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with naming_errors(path), open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Writes a whole JSON file or none; dataclasses become objects."""
    with open_atomically(path) as file:
        file.write((json.dumps(content, indent=1, default=asdict) + "\n").encode())
