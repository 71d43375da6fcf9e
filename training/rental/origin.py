"""What a model file says of the data it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.datasets.packed import PACK_NAME, PackedFrames
from training.stream import LIVE, parse_weight

CREDIT_LENGTH = 300


def data_text(data: Sequence[str]) -> str:
    """Returns what was trained on, with the credits of packed drives, and without paths of this machine.

    Args:
        data: PATH[:WEIGHT] or live[:WEIGHT].
    """
    return "; ".join(_source_text(*parse_weight(text)) for text in data)


def _source_text(name: str, weight: int) -> str:
    parts = f"{weight} part{'s' if weight > 1 else ''}"
    if name == LIVE:
        return f"rendered streets (training.render), {parts}"
    path = Path(name)
    if not (path / PACK_NAME).is_file():
        return f"{path.name}, {parts}"
    drives = [
        f"{drive.name} ({' '.join(drive.credit.split())[:CREDIT_LENGTH] or 'no credit given'})"
        for drive in PackedFrames(path).drives
    ]
    return f"{', '.join(drives)}, {parts}"
