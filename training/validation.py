"""How a run judges its network with each checkpoint, for each task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.evaluate import evaluate_shards


@dataclass(frozen=True)
class Validation:
    """How the networks of a task are judged.

    Attributes:
        evaluate: Returns metrics of a network on a folder, of at most `limit` samples.
        error: Returns the error that those metrics stand for: the smaller the better.
    """

    evaluate: Callable[..., dict[str, float]]
    error: Callable[[dict[str, float]], float]

    def __call__(self, network: Any, folder: Path, *, limit: int) -> tuple[dict[str, float], float]:
        """Returns the metrics and the error of a network."""
        metrics = self.evaluate(network, folder, limit=limit)
        return metrics, self.error(metrics)


def _evaluate_points(network: Any, folder: Path, *, limit: int) -> dict[str, float]:
    from training.evaluate_points import evaluate_points  # which needs trimesh and SciPy; runs of depth need not

    return evaluate_points(network, folder, limit=limit)


def _evaluate_labels(network: Any, folder: Path, *, limit: int) -> dict[str, float]:
    from training.evaluate_points import evaluate_labels  # as above

    return evaluate_labels(network, folder, limit=limit)


VALIDATIONS = {
    "depth": Validation(evaluate_shards, lambda metrics: metrics["abs_rel"]),
    "points": Validation(_evaluate_points, lambda metrics: metrics["chamfer"]),
    "labels": Validation(_evaluate_labels, lambda metrics: 1.0 - metrics["mean_iou"]),
}
