"""The folder of what comes back: few files, each small, and never over another run's."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from recon3d_ros.core.atomic_file import open_atomically
from training.rental.machine import free_gb

WEIGHTS = "street_lite0.onnx"
PLAIN_WEIGHTS = "street_lite0.safetensors"  # in place of the model file until that can be written
STATE_FILES = ("state_network.safetensors", "state_moments.safetensors")
REPORT_JSON, REPORT_TEXT, LOGS = "report.json", "report.md", "logs.tar.gz"
PICTURES = ("pictures_drive.jpg", "pictures_rendered.jpg")
NAMES = (WEIGHTS, PLAIN_WEIGHTS, *STATE_FILES, REPORT_JSON, REPORT_TEXT, LOGS, *PICTURES)

MOST_FILES = 8
LARGEST_FILE = 16 * 2**20 - 1  # bytes
OUT_GB, WORK_GB = 0.08, 0.4  # room for the files and the new ones that replace them; for work


class FolderError(ValueError):
    """A folder that a rental cannot use as it was told to."""


def check_out(out: Path, resume: Path | None) -> None:
    """Checks that nothing of another run would be overwritten and that there is room.

    Raises:
        FolderError: Something would be, or there is none.
    """
    if os.path.lexists(out) and not out.is_dir():
        what = "a link to nothing" if not out.exists() else "a file"
        raise FolderError(f"{out}: is {what}; --out names a folder")
    parent = next(path for path in (out.absolute(), *out.absolute().parents) if os.path.lexists(path))
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        found = "cannot be written to" if parent.is_dir() else "is no folder"
        raise FolderError(f"{out}: cannot be written: {parent} {found}; name another --out")
    is_own = resume is not None and out.is_dir() and resume.resolve() == out.resolve()
    if not is_own and out.is_dir() and any(out.iterdir()):
        advice = f"go on with --resume {out}, or name another --out" if _holds_state(out) else "name a new folder"
        raise FolderError(f"{out}: is not empty; {advice}; nothing in it was touched")
    if (free := free_gb(out)) < OUT_GB:
        raise FolderError(
            f"{out}: {1000 * free:.0f} MB are free on its disk, expected {1000 * OUT_GB:.0f} MB; make room there "
            "or name another --out"
        )


def claim(out: Path, resume: Path | None) -> int:
    """Makes the output folder and takes it for this process and those that it forks, until all have ended.

    Returns:
        The descriptor that holds it.

    Raises:
        FolderError: It cannot be made, another rental has it, or something is in it by now: see check_out.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        held = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise FolderError(f"{out}: cannot be written ({error.strerror}); name another --out") from error
    try:
        _lock(out, held)
        check_out(out, resume)
    except FolderError:
        os.close(held)
        raise
    return held


def _lock(out: Path, held: int) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FolderError(
            f"{out}: another rental writes to it now; wait until that has ended, or name another --out"
        ) from error
    except OSError:
        pass  # a network disk without locks


def check_resume(folder: Path) -> None:
    """Checks that a folder holds the state of a rental; whether it is this network's shows when it is read.

    Raises:
        FolderError: It does not.
    """
    for name in STATE_FILES:
        if not (folder / name).is_file():
            raise FolderError(
                f"{folder / name}: no such file; --resume names the folder of an earlier rental, with "
                f"{' and '.join(STATE_FILES)}"
            )


def make_work_folder(out: Path) -> Path:
    """Returns a new folder on the roomiest of the disks at hand.

    Raises:
        FolderError: None has room.
    """
    found = [Path(tempfile.gettempdir()), Path("/var/tmp"), out.absolute().parent]
    usable = [folder for folder in found if folder.is_dir() and os.access(folder, os.W_OK)]
    best = max(usable, key=free_gb, default=None)
    if best is None or free_gb(best) < WORK_GB:
        rooms = ", ".join(f"{folder}: {1000 * free_gb(folder):.0f} MB" for folder in usable)
        raise FolderError(
            f"no disk has {1000 * WORK_GB:.0f} MB for work files ({rooms or 'none can be written'}); make room, "
            "or set TMPDIR"
        )
    return Path(tempfile.mkdtemp(prefix="rented_gpu_", dir=best))


def remove_partial(out: Path) -> None:
    """Removes what a run that was killed had begun to write."""
    for name in NAMES:
        for path in [*out.glob(f".{name}.*.partial"), *out.glob(f".{name}.part*.partial")]:
            path.unlink(missing_ok=True)


def write_parts(path: Path, content: bytes) -> list[str]:
    """Writes a file, in parts NAME.part1, NAME.part2, ... where it is too large for one.

    Returns:
        The names of the files.
    """
    names = part_names(path.name, len(content))
    for number, name in enumerate(names):
        with open_atomically(path.with_name(name)) as file:
            file.write(content[number * LARGEST_FILE : (number + 1) * LARGEST_FILE])
    for old in (path, *path.parent.glob(f"{path.name}.part*")):
        if old.name not in names:
            old.unlink(missing_ok=True)
    return names


def part_names(name: str, size: int) -> list[str]:
    """Returns the names of the files that a content of this size, bytes, is written to."""
    parts = -(-size // LARGEST_FILE)
    return [name] if parts <= 1 else [f"{name}.part{number + 1}" for number in range(parts)]


def join_line(names: Sequence[str]) -> str:
    """Returns the command that makes one file of the parts; empty where it is one already."""
    if len(names) <= 1:
        return ""
    whole = names[0].rpartition(".part")[0]
    return f"cat {' '.join(names)} > {whole}"


def too_large(out: Path) -> list[str]:
    """Returns what is wrong with the number and the sizes of the files, in sentences."""
    files = [path for path in out.iterdir() if path.is_file()]
    faults = [
        f"{path.name} has {path.stat().st_size} bytes, more than {LARGEST_FILE}"
        for path in files
        if path.stat().st_size > LARGEST_FILE
    ]
    if len(files) > MOST_FILES:
        faults.append(f"there are {len(files)} files, more than {MOST_FILES}")
    return faults


def _holds_state(out: Path) -> bool:
    return all((out / name).is_file() for name in STATE_FILES)
