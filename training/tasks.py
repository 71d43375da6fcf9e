"""What a run can learn: depth from images, points from images, labels of points. One trainer serves all three.

A task is the network's configuration and class, what of a batch the network is given, and its losses by name.
What else differs lies where it is used: samples in training.stream, the judging of checkpoints in
training.validation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training import losses
from training.chamfer import chamfer_of_pairs, matched
from training.models.depth_network import DepthNetwork, DepthNetworkConfig
from training.models.image_to_points import ImageToPoints, ImageToPointsConfig
from training.models.pointnet import PointNet, PointNetConfig, orthogonality

Batch = dict[str, Tensor]
NetworkConfig = DepthNetworkConfig | ImageToPointsConfig | PointNetConfig
# Each loss by name, not computed yet: one of weight 0 never is.
Terms = dict[str, Callable[[], Tensor]]


@dataclass(frozen=True)
class Task:
    """One thing to learn.

    Attributes:
        config: Class of the network's configuration.
        network: Class of the network; it has an `encoder` whose learning rate is set apart.
        inputs: Returns what of a batch the network is called with.
        losses: Names of its losses; each has a NAME_weight in TrainConfig.
        terms: Returns those losses for the network's output, the batch and the network's configuration.
    """

    config: type[Any]
    network: type[nn.Module]
    inputs: Callable[[Batch], tuple[Tensor, ...]]
    losses: tuple[str, ...]
    terms: Callable[[Any, Batch, Any], Terms]


def depth_terms(output: tuple[Tensor, Tensor], batch: Batch, network: DepthNetworkConfig) -> Terms:
    """Returns the losses of depth.

    Args:
        output: log_depth and log_error, (B, H, W).
        batch: depth, valid_mask (B, H, W) and K (B, 3, 3).
        network: Gives the depth from which on all is sky.
    """
    log_depth, log_error = (x.float() for x in output)
    depth, valid_mask, K = torch.exp(log_depth), batch["valid_mask"], batch["K"]
    target = losses.one_sided_target(depth, batch["depth"], network.max_depth)
    surface = valid_mask & (batch["depth"] < network.max_depth)  # the sky has no normal
    return {
        "silog": lambda: losses.silog(depth, target, valid_mask),
        "log_l1": lambda: losses.log_l1(depth, target, valid_mask),
        "gradient": lambda: losses.gradient(depth, target, valid_mask),
        # Detached: an unsure network must not be allowed to stop learning depth where it is unsure.
        "error": lambda: losses.laplace_nll(depth.detach(), target, valid_mask, log_error),
        "mae": lambda: losses.mae(depth, target, valid_mask),
        "mse": lambda: losses.mse(depth, target, valid_mask),
        "cosine": lambda: losses.cosine(depth, target, valid_mask),
        "normal": lambda: losses.normal_cosine(depth, target, surface, K),
    }


def point_terms(points: Tensor, batch: Batch, network: ImageToPointsConfig) -> Terms:
    """Returns the losses of a point set; MAE, MSE and cosine are those of the coordinates of matched points.

    Args:
        points: (B, N, 3).
        batch: points (B, M, 3).
        network: Says nothing here.
    """
    N = points.shape[1]
    pairs = cache(lambda: matched(points, batch["points"]))

    def of_pairs(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        ours, theirs = pairs()
        return loss(ours, theirs, torch.ones_like(ours, dtype=torch.bool))

    return {
        "chamfer": lambda: chamfer_of_pairs(*pairs(), predicted=N, squared=False, averaged=True),
        "chamfer_squared": lambda: chamfer_of_pairs(*pairs(), predicted=N, squared=True, averaged=True),
        "mae": lambda: of_pairs(losses.mae),
        "mse": lambda: of_pairs(losses.mse),
        "cosine": lambda: of_pairs(losses.cosine),
    }


def label_terms(output: tuple[Tensor, Tensor], batch: Batch, network: PointNetConfig) -> Terms:
    """Returns the losses of labels; MAE, MSE and cosine compare probabilities with 0 and 1.

    Args:
        output: Logits (B, C) or (B, N, C), and the feature transform (B, k, k).
        batch: labels (B,) or (B, N) int64; -1 is unknown and costs nothing.
        network: Names the C labels.
    """
    logits, transform = output
    labels, C = batch["labels"], len(network.labels)

    def of_probabilities(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        known = (labels >= 0)[..., None].expand_as(logits)
        return loss(logits.softmax(dim=-1), F.one_hot(labels.clamp(min=0), C).float(), known)

    def cross_entropy() -> Tensor:
        total = F.cross_entropy(logits.reshape(-1, C), labels.reshape(-1), ignore_index=-1, reduction="sum")
        return total / (labels >= 0).sum().clamp(min=1)

    return {
        "cross_entropy": cross_entropy,
        "orthogonality": lambda: orthogonality(transform),
        "mae": lambda: of_probabilities(losses.mae),
        "mse": lambda: of_probabilities(losses.mse),
        "cosine": lambda: of_probabilities(losses.cosine),
    }


TASKS: dict[str, Task] = {
    "depth": Task(
        DepthNetworkConfig,
        DepthNetwork,
        lambda batch: (batch["image"], batch["K"][:, 0, 0]),
        ("silog", "log_l1", "gradient", "error", "mae", "mse", "cosine", "normal"),
        depth_terms,
    ),
    "points": Task(
        ImageToPointsConfig,
        ImageToPoints,
        lambda batch: (batch["image"],),
        ("chamfer", "chamfer_squared", "mae", "mse", "cosine"),
        point_terms,
    ),
    "labels": Task(
        PointNetConfig,
        PointNet,
        lambda batch: (batch["points"],),
        ("cross_entropy", "orthogonality", "mae", "mse", "cosine"),
        label_terms,
    ),
}


def task_of(config: NetworkConfig) -> str:
    """Returns the name of the task whose networks have this configuration."""
    return next(name for name, task in TASKS.items() if isinstance(config, task.config))
