"""The Chamfer distance of point sets, in all of its published definitions.

Papers differ in two ways, and their figures cannot be compared across them: distances are squared (Fan et al.
2017) or not, and summed over a set's points (Fan et al.) or averaged. All add the two directions up.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_index(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the index of each point's nearest other (B, N) and of each other's nearest point (B, M), int64.

    Without a gradient: that of a distance flows through the chosen points, not through the choice, and
    differentiating all N * M distances takes twice as long.

    Args:
        points: (B, N, 3).
        others: (B, M, 3).
    """
    with torch.no_grad():
        distance = torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")
        return distance.argmin(dim=2), distance.argmin(dim=1)


def matched(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Returns predicted points and the true points that each is judged by, (B, N + M, 3) twice.

    The first N pairs are predicted points with their nearest true ones, the last M true points with their nearest
    predicted ones.

    Args:
        prediction: (B, N, 3).
        target: (B, M, 3).
    """
    of_prediction, of_target = nearest_index(prediction, target)
    ours = torch.cat([prediction, _taken(prediction, of_target)], dim=1)
    return ours, torch.cat([_taken(target, of_prediction), target], dim=1)


def chamfer(prediction: Tensor, target: Tensor, *, squared: bool, averaged: bool) -> Tensor:
    """Returns the Chamfer distance, averaged over the batch.

    Args:
        prediction: (B, N, 3).
        target: (B, M, 3).
        squared: Add up squared distances.
        averaged: Take the mean over the points of each set rather than the sum.
    """
    pairs = matched(prediction, target)
    return chamfer_of_pairs(*pairs, predicted=prediction.shape[1], squared=squared, averaged=averaged)


def chamfer_of_pairs(ours: Tensor, theirs: Tensor, *, predicted: int, squared: bool, averaged: bool) -> Tensor:
    """Returns the Chamfer distance of the pairs of `matched`; the first `predicted` are of predicted points."""
    difference = ours - theirs
    distance = (difference**2).sum(dim=2) if squared else torch.linalg.vector_norm(difference, dim=2)
    forward, backward = distance[:, :predicted], distance[:, predicted:]
    if averaged:
        return (forward.mean(dim=1) + backward.mean(dim=1)).mean()
    return (forward.sum(dim=1) + backward.sum(dim=1)).mean()


def _taken(points: Tensor, index: Tensor) -> Tensor:
    return torch.gather(points, 1, index[..., None].expand(-1, -1, 3))
