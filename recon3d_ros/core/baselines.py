"""Depths that never look at the image, fitted to the very frames that judge them: any network must beat them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recon3d_ros.core.evaluation import JudgedPixels
from recon3d_ros.core.metrics import MAX_DEPTH, Depths

CAPS = np.arange(2.0, MAX_DEPTH + 0.25, 0.5)  # metres; tried for the ground plane


def best_constant(frames: Sequence[JudgedPixels]) -> float:
    """Returns the one depth with the least mean abs_rel over these very frames, metres.

    sum |c - t| / t is least at the median of t weighted by 1 / t; each frame weighs the same.
    """
    target = np.concatenate([frame.target for frame in frames])
    weight = np.concatenate([1 / (frame.target * len(frame.target)) for frame in frames])
    order = np.argsort(target)
    total = np.cumsum(weight[order])
    return float(target[order][np.searchsorted(total, total[-1] / 2)])


def ground_plane(frame: JudgedPixels, *, cap: float = np.inf) -> Depths:
    """Returns z = fy * height / (v - cy) of a level camera above flat ground, `cap` above the horizon, metres."""
    if frame.camera_height is None:
        raise ValueError("the flat ground needs the camera's height")
    below = np.maximum(frame.row - frame.camera.cy, 1e-9)
    return np.asarray(np.minimum(frame.camera.fy * frame.camera_height / below, cap), dtype=np.float64)


def best_cap(frames: Sequence[JudgedPixels]) -> float:
    """Returns the cap of the ground plane with the least mean abs_rel over these very frames, metres."""
    # In single precision a frame's arrays stay in the cache while all caps are tried.
    parts = [
        tuple(np.asarray(values, dtype=np.float32) for values in (ground_plane(f), f.target, 1 / f.target))
        for f in frames
    ]

    def error(cap: float) -> float:
        limit = np.float32(cap)
        return float(np.mean([np.abs(np.minimum(p, limit) - t) @ w / len(t) for p, t, w in parts]))

    return float(min(CAPS, key=error))
