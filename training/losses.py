"""Training losses: pure functions of (prediction, target, valid_mask).

Depths are (B, H, W) float32 metres, positive wherever the mask is true; masks are (B, H, W) bool. Every loss
is computed for each image over its valid pixels and then averaged over the batch, so that an image with few
valid pixels (LiDAR) weighs as much as one with many.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def _image_mean(values: Tensor, valid_mask: Tensor) -> Tensor:
    """Returns (B,): the mean of the valid values of each image, 0 for an image without any."""
    mask = valid_mask.flatten(1)
    total = torch.where(mask, values.flatten(1), 0.0).sum(dim=1)
    return total / mask.sum(dim=1).clamp(min=1)


def _error(prediction: Tensor, target: Tensor, valid_mask: Tensor) -> Tensor:
    """Returns prediction - target, 0 where invalid: masked first, for the gradient of |NaN| is NaN."""
    return torch.where(valid_mask, prediction - target, 0.0)


def _log_error(prediction: Tensor, target: Tensor, valid_mask: Tensor) -> Tensor:
    """Returns log(prediction) - log(target), 0 where invalid."""
    safe_prediction = torch.where(valid_mask, prediction, 1.0)
    safe_target = torch.where(valid_mask, target, 1.0)
    return torch.log(safe_prediction) - torch.log(safe_target)


def one_sided_target(prediction: Tensor, target: Tensor, max_depth: float) -> Tensor:
    """Returns a target that asks of far pixels only that they be predicted beyond `max_depth`.

    Where the target is max_depth or farther (or +Inf: sky), any prediction beyond max_depth is as right as
    another: the target becomes the prediction itself there, and max_depth where the prediction is nearer.
    """
    return torch.where(target >= max_depth, prediction.detach().clamp(min=max_depth), target)


def mae(prediction: Tensor, target: Tensor, valid_mask: Tensor) -> Tensor:
    """Returns the mean absolute error, metres."""
    return _image_mean(_error(prediction, target, valid_mask).abs(), valid_mask).mean()


def mse(prediction: Tensor, target: Tensor, valid_mask: Tensor) -> Tensor:
    """Returns the mean squared error, square metres."""
    return _image_mean(_error(prediction, target, valid_mask) ** 2, valid_mask).mean()


def cosine(prediction: Tensor, target: Tensor, valid_mask: Tensor) -> Tensor:
    """Returns 1 - sum(y * p) / (|y| |p|) on the vector of an image's valid depths: blind to its scale."""
    y = torch.where(valid_mask, target, 0.0).flatten(1)
    p = torch.where(valid_mask, prediction, 0.0).flatten(1)
    norms = y.norm(dim=1) * p.norm(dim=1)
    similarity = (y * p).sum(dim=1) / norms.clamp(min=1e-12)
    return torch.where(norms > 0, 1.0 - similarity, 0.0).mean()


def surface_normals(depth: Tensor, K: Tensor) -> Tensor:
    """Returns the unit normals of the surface that a depth image shows, towards the camera.

    The normal at a pixel is the cross product of the steps to its neighbour below and to its neighbour on
    the right.

    Args:
        depth: (B, H, W) metres along z.
        K: (B, 3, 3), of a pinhole camera.

    Returns:
        (B, H-1, W-1, 3) in the optical frame: the ground of a level camera has (0, -1, 0), a wall that it
        faces (0, 0, -1).
    """
    _, H, W = depth.shape
    fx, fy, cx, cy = (K[:, i, j, None, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    u = torch.arange(W, device=depth.device, dtype=depth.dtype)
    v = torch.arange(H, device=depth.device, dtype=depth.dtype)[:, None]
    points = torch.stack([(u - cx) / fx * depth, (v - cy) / fy * depth, depth], dim=-1)
    # Times the focal length: steps of a metre's order, whose product float32 can hold.
    right = (points[:, :-1, 1:] - points[:, :-1, :-1]) * fx[..., None]
    down = (points[:, 1:, :-1] - points[:, :-1, :-1]) * fy[..., None]
    return functional.normalize(torch.linalg.cross(down, right), dim=-1)


def normal_cosine(prediction: Tensor, target: Tensor, valid_mask: Tensor, K: Tensor) -> Tensor:
    """Returns the mean of 1 - cos(angle) between the surface normals of prediction and target: 0..2.

    A normal counts where its pixel and the neighbours below and on the right are valid.

    Args:
        prediction: (B, H, W) metres.
        target: (B, H, W) metres.
        valid_mask: (B, H, W).
        K: (B, 3, 3), of a pinhole camera.
    """
    normals = (surface_normals(torch.where(valid_mask, depth, 1.0), K) for depth in (prediction, target))
    similarity = torch.linalg.vecdot(*normals)
    all_valid = valid_mask[:, :-1, :-1] & valid_mask[:, 1:, :-1] & valid_mask[:, :-1, 1:]
    return _image_mean(1.0 - similarity, all_valid).mean()


def silog(prediction: Tensor, target: Tensor, valid_mask: Tensor, variance_focus: float = 0.85) -> Tensor:
    """Returns sqrt(mean(d^2) - variance_focus * mean(d)^2), d the log error.

    With variance_focus 1 the common scale of an image costs nothing; with 0 it is the RMSE of the logs.
    Source: Eigen et al. 2014; the root and 0.85 as in Lee et al. 2019 (BTS).
    """
    error = _log_error(prediction, target, valid_mask)
    variance = _image_mean(error**2, valid_mask) - variance_focus * _image_mean(error, valid_mask) ** 2
    return torch.sqrt(variance.clamp(min=0.0) + 1e-8).mean()


def log_l1(prediction: Tensor, target: Tensor, valid_mask: Tensor) -> Tensor:
    """Returns the mean absolute log error: to first order the mean relative error."""
    return _image_mean(_log_error(prediction, target, valid_mask).abs(), valid_mask).mean()


def gradient(prediction: Tensor, target: Tensor, valid_mask: Tensor, scales: int = 4) -> Tensor:
    """Returns the mean absolute difference of neighbouring log errors, summed over scales.

    It keeps edges sharp and surfaces smooth. A difference counts where both pixels are valid; each scale
    takes every second pixel of the one before.
    Source: Li and Snavely 2018 (MegaDepth), the multi-scale gradient matching term.
    """
    error = _log_error(prediction, target, valid_mask)
    total = torch.zeros((), dtype=error.dtype, device=error.device)
    for scale in range(scales):
        step = 2**scale
        e, mask = error[:, ::step, ::step], valid_mask[:, ::step, ::step]
        for axis in (1, 2):
            pairs = mask.shape[axis] - 1
            both_valid = mask.narrow(axis, 0, pairs) & mask.narrow(axis, 1, pairs)
            total = total + _image_mean(e.diff(dim=axis).abs(), both_valid).mean()
    return total


def laplace_nll(prediction: Tensor, target: Tensor, valid_mask: Tensor, log_error: Tensor) -> Tensor:
    """Returns the negative log likelihood of the log error under Laplace(0, exp(log_error)), less log 2.

    Args:
        prediction: (B, H, W) metres.
        target: (B, H, W) metres.
        valid_mask: (B, H, W).
        log_error: (B, H, W), logarithm of the Laplace scale that the network predicts.
    """
    residual = _log_error(prediction, target, valid_mask).abs()
    return _image_mean(residual * torch.exp(-log_error) + log_error, valid_mask).mean()
