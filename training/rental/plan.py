"""What a rental is to do, and how its minutes are shared out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

SHORTEST_MINUTES = 0.5


@dataclass(frozen=True)
class Plan:
    """One rental.

    Attributes:
        minutes: After which everything has ended.
        ends: When the last stage must have ended, by time.monotonic(), which all processes share.
        out: Folder of what comes back.
        work: Folder of what does not.
        data: What to train on, as training.train takes it: PATH[:WEIGHT] or live[:WEIGHT].
        device: cpu or cuda.
        resume: Folder with the state of an earlier rental.
        config: File with values of training.config.TrainConfig that differ from the rental's own.
        save_seconds: Between two saves of the state: what is lost at most if the machine goes away.
    """

    minutes: float
    ends: float
    out: Path
    work: Path
    data: tuple[str, ...]
    device: str
    resume: Path | None = None
    config: Path | None = None
    save_seconds: float = 60.0

    @property
    def logs(self) -> Path:
        return self.work / "logs"

    @property
    def seconds_left(self) -> float:
        return self.ends - time.monotonic()


def margin_seconds(minutes: float) -> float:
    """Returns the seconds before the end that are kept for the report and for leaving."""
    return min(max(3.0, 0.03 * 60 * minutes), 15.0)


@dataclass(frozen=True)
class Share:
    """A stage's part of the rental.

    Attributes:
        part: Of all seconds, 0..1.
        least: Seconds below which the stage is not worth starting.
        most: Seconds above which it gains nothing.
    """

    part: float
    least: float
    most: float

    def seconds(self, minutes: float) -> float:
        """Returns the seconds of the stage in a rental of this length."""
        return min(self.part * 60 * minutes, self.most)


# Training gets what these leave; the least of the weights is kept for them whatever the length.
SHARES = {
    "facts": Share(0.5, 0.0, 90.0),
    "tests": Share(0.2, 60.0, 300.0),
    "trials": Share(0.12, 5.0, 150.0),
    "training": Share(1.0, 3.0, float("inf")),
    "weights": Share(0.06, 4.0, 60.0),
    "held_out": Share(0.12, 4.0, 240.0),
    "bench": Share(0.1, 5.0, 150.0),
}
AFTER_TRAINING = ("weights", "held_out", "bench")


def stage_seconds(name: str, plan: Plan) -> float:
    """Returns the seconds that a stage may take if it starts now; what later stages need is not among them."""
    share, left = SHARES[name], plan.seconds_left
    if name == "training":
        later = sum(SHARES[later].seconds(plan.minutes) for later in AFTER_TRAINING)
        return left - max(later, SHARES["weights"].least)
    if name == "weights":
        return left  # nothing is worth more than the weights
    if name == "held_out":
        return left - SHARES["bench"].seconds(plan.minutes)
    return min(share.seconds(plan.minutes), left)
