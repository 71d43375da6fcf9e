"""Depth error against ground truth, as the KITTI depth literature defines it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def depth_metrics(prediction: npt.ArrayLike, target: npt.ArrayLike) -> dict[str, float]:
    """Returns the error of predicted depths against true ones.

    Args:
        prediction: (N,) metres, finite and positive.
        target: (N,) metres, finite and positive.

    Returns:
        abs_rel, sq_rel (metres), rmse (metres), rmse_log, silog (100 times the standard deviation of the log
        error), log10, and delta1, delta2, delta3: the share of pixels whose ratio to the truth is
        below 1.25, 1.25^2, 1.25^3.

    Raises:
        ValueError: if the sizes differ, nothing is left to compare, or a depth is not finite and positive.

    Source: Eigen, Puhrsch, Fergus, "Depth map prediction from a single image using a multi-scale deep
        network", NIPS 2014; silog as in the KITTI depth benchmark.
    """
    p = np.asarray(prediction, dtype=np.float64).reshape(-1)
    t = np.asarray(target, dtype=np.float64).reshape(-1)
    if p.shape != t.shape or p.size == 0:
        raise ValueError(f"got {p.size} predicted and {t.size} true depths, expected equal and at least one")
    for name, values in (("predicted", p), ("true", t)):
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"a {name} depth is not finite and positive; compare valid pixels only")
    log_error = np.log(p) - np.log(t)
    ratio = np.maximum(p / t, t / p)
    return {
        "abs_rel": float(np.mean(np.abs(p - t) / t)),
        "sq_rel": float(np.mean((p - t) ** 2 / t)),
        "rmse": float(np.sqrt(np.mean((p - t) ** 2))),
        "rmse_log": float(np.sqrt(np.mean(log_error**2))),
        "silog": float(100.0 * np.std(log_error)),
        "log10": float(np.mean(np.abs(log_error)) / np.log(10.0)),
        "delta1": float(np.mean(ratio < 1.25)),
        "delta2": float(np.mean(ratio < 1.25**2)),
        "delta3": float(np.mean(ratio < 1.25**3)),
    }


def mean_metrics(frames: list[dict[str, float]]) -> dict[str, float]:
    """Returns the per-frame average of each metric."""
    if not frames:
        raise ValueError("no frame to average")
    return {name: float(np.mean([frame[name] for frame in frames])) for name in frames[0]}
