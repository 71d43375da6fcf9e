"""The list of checksums beside model files: what `sha256sum *.onnx > SHA256SUMS` writes."""

from __future__ import annotations

from pathlib import Path

LIST_NAME = "SHA256SUMS"


def listed_sha256(path: Path) -> str:
    """Returns what the list in the file's folder says is the file's sha256; "" where it is in no list.

    Raises:
        OSError: the list is there and cannot be read.
        ValueError: the list has a line that is not `sha256sum`'s.
    """
    file = path.parent / LIST_NAME
    if not file.is_file():
        return ""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        digest, separator, name = line.partition("  ")
        if not separator:
            digest, separator, name = line.partition(" *")  # sha256sum --binary
        if not separator or len(digest) != 64:
            raise ValueError(f"{file}: line {number} is no line of sha256sum's: '{line[:80]}'")
        if name == path.name:
            return digest.lower()
    return ""
