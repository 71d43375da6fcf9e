"""The sentences of a report that its reader should not miss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.rental.folder import PLAIN_WEIGHTS, WEIGHTS
from training.rental.plan import Plan
from training.rental.processes import Outcome
from training.rental.report_text import is_better


def start_notes(plan: Plan, content: Mapping[str, Any]) -> list[str]:
    """Returns what is particular about a rental before it trains."""
    start, gpus = content["start"], content["machine"].get("gpus", ())
    notes = [
        f"Trained on {', '.join(plan.data)}, images of {start['size']}; streets are rendered by "
        f"{start['renderer']}; starting weights: {start['weights']}."
    ]
    if plan.device == "cpu":
        notes.append("This is a rehearsal on a CPU: few images, and small ones.")
    if len(gpus) > 1:
        notes.append(f"1 of {len(gpus)} GPUs was used; for all of them see torchrun in training/README.md.")
    if start["workers"] < start["workers_wanted"]:
        notes.append(
            f"{start['workers']} of {start['workers_wanted']} loading processes fit into /dev/shm, memory and the "
            "GPU; give the container more (docker: --shm-size 16g)."
        )
    if plan.resume is not None:
        notes.append(f"Goes on from {plan.resume}.")
    return notes


def end_notes(plan: Plan) -> list[str]:
    """Returns what is particular about the files that come back."""
    if not (plan.out / PLAIN_WEIGHTS).is_file():
        return []
    command = f"python -m training.export {PLAIN_WEIGHTS} {WEIGHTS}"
    return [f"There was no time to make a model file of the weights; make it with '{command}'."]


def stage_notes(outcome: Outcome) -> list[str]:
    """Returns what is particular about a stage's outcome."""
    result = outcome.result
    if outcome.name == "training":
        notes = [f"While training, a save failed: {fault}" for fault in result.get("save_faults", ())]
        if outcome.outcome == "done" and not result.get("new_samples"):
            notes.append("Not one training step fitted: weights and state are those it started from.")
        return notes
    if outcome.name == "trials":
        return [f"Out of memory at batch {trial['batch_size']}." for trial in result.get("trials", ())
                if trial["fault"] == "out of memory"]  # fmt: skip
    if outcome.name == "held_out" and result.get("is_shipped") and (verdict := is_better(result)) is not None:
        return [
            "The new network is better than the shipped one on rendered and on bundled frames."
            if verdict
            else "The new network is not better than the shipped one on both rendered and bundled frames."
        ]
    return []
