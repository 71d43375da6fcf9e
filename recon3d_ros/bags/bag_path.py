"""What a bag is by its files' names, and the error of one that cannot be used. Needs no library."""

from __future__ import annotations

from pathlib import Path

STORAGE_SUFFIXES = (".mcap", ".db3")


class BagError(ValueError):
    """A recording that cannot be read, or does not hold what is asked for."""


def is_bag(path: Path) -> bool:
    """Returns whether the path looks like a rosbag, by its files' names."""
    if path.is_dir():
        return bool(storage_files(path)) or (path / "metadata.yaml").exists()
    return path.suffix in (*STORAGE_SUFFIXES, ".bag")


def storage_files(folder: Path) -> list[Path]:
    """Returns the storage files of a bag's folder in the order of their numbers (drive_2 before drive_10)."""
    files = [file for file in folder.iterdir() if file.suffix in STORAGE_SUFFIXES]
    return sorted(files, key=lambda file: (len(file.name), file.name))
