"""How far two point sets are apart, judged by SciPy's KD-tree: independent of the loss that trains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Points = npt.NDArray[np.floating]


def chamfer_distance(prediction: Points, target: Points, *, squared: bool = False, averaged: bool = True) -> float:
    """Returns the Chamfer distance of (N, 3) and (M, 3) points; see training.chamfer for its definitions.

    Raises:
        ValueError: A set is empty or holds NaN or Inf.
    """
    distances = _distances(prediction, target)
    terms = [d**2 if squared else d for d in distances]
    return float(sum(t.mean() if averaged else t.sum() for t in terms))


def f_score(prediction: Points, target: Points, *, threshold: float) -> float:
    """Returns the harmonic mean of precision and recall at a distance, 0..1.

    Precision is the part of the predicted points that lie within `threshold` of a true one, recall the part of
    the true points that lie within it of a predicted one. At 1 % the threshold is a hundredth of the side of the
    volume that the shapes fill, which is 1 for the shapes of training.shapes.
    Source: Tatarchenko et al. 2019 (What do single-view 3D reconstruction networks learn?), section 5.

    Raises:
        ValueError: A set is empty or holds NaN or Inf.
    """
    precision, recall = (float((d <= threshold).mean()) for d in _distances(prediction, target))
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _distances(prediction: Points, target: Points) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns the distances of predicted points to the nearest true ones (N,), and the other way round (M,)."""
    for name, points in (("predicted", prediction), ("true", target)):
        if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
            raise ValueError(f"{name} points have the shape {points.shape}, expected (N, 3) with N of 1 or more")
        bad = int((~np.isfinite(points).all(axis=1)).sum())
        if bad:
            raise ValueError(f"{bad} of {len(points)} {name} points are NaN or infinite; leave them out first")
    return cKDTree(target).query(prediction)[0], cKDTree(prediction).query(target)[0]
