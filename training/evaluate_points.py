"""Judges networks that give points, or labels of points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from training.models.image_to_points import ImageToPoints
from training.models.pointnet import PointNet
from training.point_metrics import chamfer_distance, f_score
from training.shapes import open_shapes

TRUE_POINTS = 10_000  # a surface is judged by: with the few that are predicted, chance alone would set the F-score
F_THRESHOLD = 0.01  # of the longest side of the shape's bounding box


def evaluate_points(network: ImageToPoints, folder: Path, *, limit: int = 0) -> dict[str, float]:
    """Returns the mean Chamfer distance and F-score of a network over views of a folder's shapes.

    Args:
        network: What to judge.
        folder: See open_shapes.
        limit: Judge this many shapes, evenly chosen; 0 takes all.

    Returns:
        chamfer, the sum of both directions' mean distances, chamfer_squared of squared ones, and f_score at 1 % of
        the longest side; each beside what as many points of the true surface itself would get (_of_truth).

    Raises:
        DatasetError: The folder holds no shapes, or a damaged one.
    """
    from training.shapes.samples import ShapeSamples  # the ray caster is not needed to import this

    shapes = open_shapes(folder)
    size, N = network.config.image_size, network.config.points
    samples = ShapeSamples(shapes, width=size, height=size, seed=0, points=TRUE_POINTS)
    chosen = np.linspace(0, len(shapes) - 1, min(limit or len(shapes), len(shapes)))
    device = next(network.parameters()).device
    rows = []
    for index in chosen.round().astype(int):
        sample = samples.view(int(index), 0)
        truth = sample["points"].numpy()
        with torch.inference_mode():
            found = network(sample["image"][None].to(device))[0].cpu().numpy()
        # Points of the true surface that the judged ones are not drawn from.
        ideal = samples.view(int(index), 0, points_seed=1)["points"].numpy()[:N]
        rows.append(
            {
                "chamfer": chamfer_distance(found, truth),
                "chamfer_squared": chamfer_distance(found, truth, squared=True),
                "f_score": f_score(found, truth, threshold=F_THRESHOLD),
                "chamfer_of_truth": chamfer_distance(ideal, truth),
                "f_score_of_truth": f_score(ideal, truth, threshold=F_THRESHOLD),
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def evaluate_labels(network: PointNet, folder: Path, *, limit: int = 0) -> dict[str, float]:
    """Returns accuracy, mean_iou and the IoU of each label (iou_NAME) on a folder's clouds.

    Args:
        network: What to judge.
        folder: See training.labels.samples.labelled_clouds.
        limit: Judge this many clouds, evenly chosen; 0 takes all.

    Raises:
        DatasetError: The folder holds no clouds, or a damaged one.
    """
    from training.labels.blocks import label_cloud
    from training.labels.samples import StreetClouds, labelled_clouds

    clouds = labelled_clouds(folder, network.config)
    scores_of = point_scores(network)
    C = len(network.config.labels)
    confusion = np.zeros((C, C), np.int64)
    for index in np.linspace(0, len(clouds) - 1, min(limit or len(clouds), len(clouds))).round().astype(int):
        points, truth = clouds[int(index)]
        whole = isinstance(clouds, StreetClouds)
        found = label_cloud(points, scores_of) if whole else scores_of(points).argmax(axis=-1)
        confusion += np.bincount(np.ravel(truth * C + found), minlength=C * C).reshape(C, C)
    return label_metrics(confusion, network.config.labels)


def point_scores(network: PointNet) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """Returns a function from points (N, 3) to scores, (N, C) or (C,), of a network where its weights are."""
    device = next(network.parameters()).device

    @torch.inference_mode()
    def scores_of(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return network(torch.from_numpy(points)[None].to(device))[0][0].cpu().numpy()

    return scores_of


def label_metrics(confusion: np.ndarray, labels: tuple[str, ...]) -> dict[str, float]:
    """Returns accuracy, mean_iou and iou_NAME for each label that occurs in the truth or in the prediction.

    Args:
        confusion: (C, C) how many points of a true label (row) were given a label (column).
        labels: Their names.
    """
    hit = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hit
    of_label = {f"iou_{name}": float(hit[k] / union[k]) for k, name in enumerate(labels) if union[k]}
    accuracy = float(hit.sum() / max(confusion.sum(), 1))
    return {"accuracy": accuracy, "mean_iou": float(np.mean(list(of_label.values()) or [0.0])), **of_label}
