"""Packs drives into one light folder to train on elsewhere: `python -m training.pack DRIVE[:WEIGHT]...`

Pictures become JPEG at the training size, depth becomes small numbers, and neighbouring moments are left out,
evenly in time, until all fits. A drive of twice the weight keeps twice the frames, as long as it has them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.config import TrainConfig
from training.datasets import Frames, open_frames
from training.datasets.packed import PACK_NAME, PackedDrive, PackedFrames, pack_overhead, write_pack
from training.stream import parse_weight
from training.thinning import MEGABYTE, SHARP_ZOOM, Drive, PackError, choose

QUALITY = 80
CREDIT_FILES = ("CREDITS.md", "CREDITS.txt", "CREDITS", "README.md", "README.txt")
CREDIT_LENGTH = 2000


def open_drive(text: str, credits: Mapping[str, str]) -> Drive:
    """Returns the drive that `PATH` or `PATH:WEIGHT` names.

    Args:
        text: As it stands on the command line.
        credits: Origin and licence by path or folder name; without one, the drive's own CREDITS or README file
            is taken, or that of the folder which holds it.

    Raises:
        DatasetError, DriveError, CameraError, LidarError, FileNotFoundError: As its adapter raises them.
    """
    path_text, weight = parse_weight(text)
    path = Path(path_text)
    frames = open_frames(path)
    name = path.resolve().name
    credit = credits.get(path_text, credits.get(name))
    return Drive(name, weight, frames, find_credit(path, frames) if credit is None else credit)


def find_credit(path: Path, frames: Frames) -> str:
    """Returns what a file beside the drive says of its origin and licence; "" where there is none."""
    if isinstance(frames, PackedFrames):
        return "\n".join(dict.fromkeys(drive.credit for drive in frames.drives if drive.credit))
    folder = path.resolve() if path.is_dir() else path.resolve().parent
    files = (place / name for place in (folder, folder.parent) for name in CREDIT_FILES)
    file = next((file for file in files if file.is_file()), None)
    return "" if file is None else file.read_text(encoding="utf-8", errors="replace")[:CREDIT_LENGTH].strip()


def pack(
    texts: Sequence[str],
    out: Path,
    *,
    limit: int,
    width: int = TrainConfig.width,
    height: int = TrainConfig.height,
    zoom: float = SHARP_ZOOM,
    quality: int = QUALITY,
    credits: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> PackedFrames:
    """Packs drives into a folder, and returns what lies in it.

    Args:
        texts: PATH or PATH:WEIGHT of each drive: whatever training.datasets.open_frames knows.
        out: The folder; it gets one file.
        limit: Bytes that the pack may take.
        width, height, zoom: See fit_frame.
        quality: Of the JPEGs, 1..100.
        credits: See open_drive.
        overwrite: Replace a pack that is there already, once the new one is whole.

    Raises:
        PackError: There is a pack already, the limit is too small, or a credit is of no drive.
        OSError: It cannot be written; a pack that was there before is still there.
    """
    credits = credits or {}
    if (out / PACK_NAME).exists() and not overwrite:
        raise PackError(f"{out / PACK_NAME}: exists already; give another -o, or --overwrite")
    drives = [open_drive(text, credits) for text in texts]
    known = {
        name for text, drive in zip(texts, drives, strict=True) for name in (parse_weight(text)[0], drive.name)
    }
    if strangers := sorted(set(credits) - known):
        raise PackError(f"--credit is given for {strangers}, but the drives are {sorted(known)}")
    # The numbers only get shorter than these.
    overhead = pack_overhead([_describe(drive, len(drive.frames), limit) for drive in drives])
    chosen = choose(drives, limit - overhead, width=width, height=height, zoom=zoom, quality=quality)
    described = [
        (_describe(drive, len(frames), sum(frame.size for frame in frames)), frames)
        for drive, frames in zip(drives, chosen, strict=True)
    ]
    write_pack(out, described)
    return PackedFrames(out)


def _describe(drive: Drive, frames: int, size: int) -> PackedDrive:
    return PackedDrive(drive.name, drive.weight, frames, len(drive.frames), size, drive.credit)


def report(frames: PackedFrames) -> str:
    """Returns what a pack holds, a line for each drive, and the credits of its drives."""
    drives = frames.drives
    lines = [
        f"{drive.name}: {drive.frames} of {drive.frames_of_drive} frames, {drive.bytes / MEGABYTE:.2f} MB, "
        f"weight {drive.weight}"
        for drive in drives
    ]
    for credit in dict.fromkeys(drive.credit for drive in drives):
        names = ", ".join(drive.name for drive in drives if drive.credit == credit)
        lines.append(f"\n{names}: {credit or 'no origin or licence given; add --credit NAME=TEXT'}")
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "drives", nargs="+", metavar="DRIVE[:WEIGHT]", help="recordings, as training.train takes them"
    )
    parser.add_argument("-o", "--out", type=Path, default=Path(".training/pack"), help="default: %(default)s")
    parser.add_argument("--limit-mb", type=float, default=16.0, help="10^6 bytes; default: %(default)g")
    parser.add_argument("--width", type=int, default=TrainConfig.width, help="of crops; default: %(default)s")
    parser.add_argument("--height", type=int, default=TrainConfig.height, help="of crops; default: %(default)s")
    parser.add_argument(
        "--zoom", type=float, default=SHARP_ZOOM,
        help="crops of this part of the picture are not enlarged; smaller takes more bytes; default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--quality", type=int, default=QUALITY, help="of the JPEGs; default: %(default)s")
    parser.add_argument(
        "--credit", action="append", default=[], metavar="DRIVE=TEXT",
        help="a drive's origin and licence; default: its CREDITS or README file, or that of the folder around it",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace the pack that is there")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if not 0 < options.limit_mb < float("inf") or min(options.width, options.height) < 1:
        parser.error("--limit-mb, --width and --height must be positive")
    if not 0 < options.zoom <= 1 or not 1 <= options.quality <= 100:
        parser.error(f"--zoom is {options.zoom}, expected 0..1; --quality is {options.quality}, expected 1..100")
    if wrong := [text for text in options.credit if "=" not in text]:
        parser.error(f"--credit is {wrong[0]!r}, expected DRIVE=TEXT")
    try:
        frames = pack(
            options.drives,
            options.out,
            limit=int(options.limit_mb * MEGABYTE),
            width=options.width,
            height=options.height,
            zoom=options.zoom,
            quality=options.quality,
            credits=dict(text.split("=", 1) for text in options.credit),
            overwrite=options.overwrite,
        )
    except (OSError, ValueError) as error:  # those of all adapters are ValueErrors
        parser.exit(1, f"{error}\n")
    size = (options.out / PACK_NAME).stat().st_size
    print(f"{options.out / PACK_NAME}: {len(frames)} frames, {size / MEGABYTE:.2f} MB\n{report(frames)}")


if __name__ == "__main__":
    main()
