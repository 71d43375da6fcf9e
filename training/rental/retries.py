"""What to change after a training that failed, so that a rental is not lost to one fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.rental.processes import Outcome
from training.stream import LIVE, parse_weight

MOST_TRIES = 6
NO_ROOM = ("bus error", "shared memory", "no space left on device", "cannot allocate memory")


@dataclass(frozen=True)
class Change:
    """Settings for the next try, what the report says of it, and what to train on where that is to change."""

    settings: dict[str, Any]
    sentence: str
    data: tuple[str, ...] = ()


def next_try(outcome: Outcome, data: Sequence[str]) -> Change | None:
    """Returns what to change before the training is tried again; None where it is done, or nothing is left to do.

    Args:
        outcome: Of the last try.
        data: What is trained on.
    """
    if outcome.outcome not in ("failed", "crashed"):
        return None
    result, config = outcome.result, outcome.result.get("config")
    if config is None:
        return None
    batch, workers = config["batch_size"], config["workers"]
    if result.get("out_of_memory") and not (result.get("is_in_worker") and workers > 1):
        if batch == 1:
            return None
        return Change({"batch_size": batch // 2}, f"Out of memory at batch {batch}: halved to {batch // 2}.")
    if result.get("out_of_memory") or any(words in outcome.reason.lower() for words in NO_ROOM):
        if workers == 0:
            return None
        return Change(
            {"workers": workers // 2},
            f"{workers} loading processes had no room in memory or /dev/shm ({outcome.reason}): halved to "
            f"{workers // 2}.",
        )
    if outcome.reason.startswith("DivergedError"):
        rate = config["learning_rate"] / 2
        return Change(
            {"learning_rate": rate}, f"{outcome.reason}; on from the last state at half the learning rate."
        )
    left = tuple(text for text in data if not _is_named(text, outcome.reason))
    if 0 < len(left) < len(data):
        gone = ", ".join(text for text in data if text not in left)
        return Change({}, f"{gone} was left out from here on ({outcome.reason}).", left)
    if config["compile"]:
        return Change({"compile": False}, f"The compiled training failed ({outcome.reason}): run eagerly.")
    if config["renderer"] == "cuda" and any(text.partition(":")[0] == "live" for text in data):
        return Change(
            {"renderer": "cpu"},
            f"Training failed with streets rendered on the GPU ({outcome.reason}): on the CPU now.",
        )
    return None


def _is_named(text: str, reason: str) -> bool:
    """Says whether an error names a file of what `PATH[:WEIGHT]` stands for."""
    path = parse_weight(text)[0]
    return path != LIVE and any(f"{path.rstrip('/')}{end}" in reason for end in ("/", ":"))
