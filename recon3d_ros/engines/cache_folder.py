"""The folder of built engines: where it is, and whether it is safe to run code from."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from recon3d_ros.engines.base import EngineError


def default_cache_dir() -> Path:
    """Returns ~/.cache/recon3d_ros/engines, or the same under XDG_CACHE_HOME."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "recon3d_ros" / "engines"


def open_cache_folder(folder: Path | str = "") -> Path:
    """Returns the folder of built engines, made for its user alone where it is missing; "" is the default one.

    Raises:
        EngineError: it cannot be made or read, or somebody else could exchange its engines.
    """
    try:
        folder = Path(folder).expanduser() if str(folder) else default_cache_dir()
    except RuntimeError as error:  # a container's user without a home
        raise EngineError(f"there is no home folder to keep built engines in ({error}); give a folder") from error
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise EngineError(
            f"{folder}: the folder of built engines cannot be made or read ({error.strerror}); give another folder"
        ) from error
    if status.st_uid not in (os.geteuid(), 0):
        raise EngineError(
            f"{folder}: belongs to user {status.st_uid}, not to {os.geteuid()}; an engine is code, so it is "
            f"refused: give a folder of your own"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EngineError(
            f"{folder}: others can write to it (mode {stat.S_IMODE(status.st_mode):04o}); an engine is code, so "
            f"it is refused: look at what is in it and chmod 700 it, or give another folder"
        )
    return folder
