"""Judges networks that give points, or labels of points: `python -m training.evaluate_points RUN/best.pt DATA`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from recon3d_ros.core.atomic_file import open_atomically
from training.checkpoints import load_network
from training.labels.blocks import label_cloud
from training.labels.samples import StreetClouds, labelled_clouds
from training.models.image_to_points import ImageToPoints
from training.models.pointnet import PointNet
from training.point_metrics import chamfer_distance, f_score
from training.shapes import open_shapes
from training.shapes.picture import reconstructions
from training.shapes.samples import ShapeSamples

TRUE_POINTS = 10_000  # a surface is judged by: with the few that are predicted, chance alone would set the F-score
F_THRESHOLD = 0.01  # of the longest side of the shape's bounding box


def evaluate_points(network: ImageToPoints, folder: Path, *, limit: int = 0, view: int = 0) -> dict[str, float]:
    """Returns the mean Chamfer distance and F-score of a network over views of a folder's shapes.

    Args:
        network: What to judge.
        folder: See open_shapes.
        limit: Judge this many shapes, evenly chosen; 0 takes all.
        view: Which view of each; training on the same shapes shows those below training.shapes.samples.VIEWS.

    Returns:
        chamfer, the sum of both directions' mean distances, chamfer_squared of squared ones, and f_score at 1 % of
        the longest side; each beside what as many points of the true surface itself would get (_of_truth).

    Raises:
        DatasetError: The folder holds no shapes, or a damaged one.
    """
    shapes = open_shapes(folder)
    size, N = network.config.image_size, network.config.points
    samples = ShapeSamples(shapes, width=size, height=size, seed=0, points=TRUE_POINTS)
    predict = predicted_points(network)
    rows = []
    for index in _evenly(len(shapes), limit):
        sample = samples.view(index, view)
        found, truth = predict(sample["image"].numpy()), sample["points"].numpy()
        # Points of the true surface that the judged ones are not drawn from.
        ideal = samples.view(index, view, points_seed=1)["points"].numpy()[:N]
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


def predicted_points(
    network: ImageToPoints,
) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    """Returns a function from an image (H, W, 3) to points (N, 3), of a network where its weights are."""
    device = next(network.parameters()).device

    @torch.inference_mode()
    def predict(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return network(torch.from_numpy(image)[None].to(device))[0].cpu().numpy()

    return predict


def _evenly(count: int, limit: int) -> list[int]:
    """Returns at most `limit` of the numbers below count, evenly chosen; all for a limit of 0."""
    return [int(i) for i in np.linspace(0, count - 1, min(limit or count, count)).round()]


def evaluate_labels(network: PointNet, folder: Path, *, limit: int = 0) -> dict[str, float]:
    """Returns accuracy, mean_iou and the IoU of each label (iou_NAME) on a folder's clouds.

    Args:
        network: What to judge.
        folder: See training.labels.samples.labelled_clouds.
        limit: Judge this many clouds, evenly chosen; 0 takes all.

    Raises:
        DatasetError: The folder holds no clouds, or a damaged one.
    """
    clouds = labelled_clouds(folder, network.config)
    scores_of = point_scores(network)
    C = len(network.config.labels)
    confusion = np.zeros((C, C), np.int64)
    for index in _evenly(len(clouds), limit):
        points, truth = clouds[index]
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


def write_picture(network: ImageToPoints, folder: Path, path: Path, *, columns: int) -> None:
    """Writes reconstructions of a folder's shapes; see training.shapes.picture.

    Raises:
        DatasetError: The folder holds no shapes, or a damaged one.
        OSError: The file cannot be written.
    """
    shapes, size = open_shapes(folder), network.config.image_size
    samples = ShapeSamples(shapes, width=size, height=size, seed=0, points=network.config.points)
    page = reconstructions(samples, _evenly(len(shapes), columns), predicted_points(network))
    options = [cv2.IMWRITE_JPEG_QUALITY, 75] if path.suffix == ".jpg" else []
    _, data = cv2.imencode(path.suffix, np.ascontiguousarray(page[..., ::-1]), options)
    with open_atomically(path) as file:
        file.write(data.tobytes())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Judges a network that gives points, or labels of points.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path, help="shapes; or for labels clouds, see training.labels.samples")
    parser.add_argument("--limit", type=int, default=0, help="how many shapes or clouds; default: all")
    parser.add_argument("--view", type=int, default=0, help="of each shape; from 24 on none was trained on")
    parser.add_argument("--picture", type=Path, help="write reconstructions of shapes there, a .jpg or .png file")
    parser.add_argument("--columns", type=int, default=10, help="shapes in the picture")
    options = parser.parse_args(arguments)
    try:
        network = load_network(options.checkpoint, None)
        if not isinstance(network, ImageToPoints | PointNet):
            parser.exit(1, f"{options.checkpoint}: is a network of depth; use 'python -m training.evaluate'\n")
        if options.picture is not None:
            if not isinstance(network, ImageToPoints) or options.picture.suffix not in (".jpg", ".png"):
                parser.error("--picture is for networks that give points, and takes a .jpg or .png file")
            write_picture(network, options.data, options.picture, columns=options.columns)
        if isinstance(network, ImageToPoints):
            metrics = evaluate_points(network, options.data, limit=options.limit, view=options.view)
        else:
            metrics = evaluate_labels(network, options.data, limit=options.limit)
    except (OSError, ValueError) as error:  # those of checkpoints and data sets are ValueErrors
        parser.exit(1, f"{error}\n")
    for name, value in metrics.items():
        print(f"{name:20} {value:.4f}")


if __name__ == "__main__":
    main()
