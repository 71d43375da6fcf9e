"""Depth error against ground truth, as the KITTI depth literature defines it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

MIN_DEPTH, MAX_DEPTH = 1.0, 80.0  # metres along z; the cap is that of KITTI's literature
WHOLE_RANGE = (MIN_DEPTH, MAX_DEPTH)
RANGES = (WHOLE_RANGE, (MIN_DEPTH, 10.0), (10.0, 30.0), (30.0, MAX_DEPTH))

Depths = npt.NDArray[np.float64]
# By range ("1-80 m", "1-10 m", ...), then by metric.
RangeTable = dict[str, dict[str, float]]


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


def range_name(limits: tuple[float, float]) -> str:
    """Returns "10-30 m" for (10.0, 30.0)."""
    return f"{limits[0]:g}-{limits[1]:g} m"


def split_by_range(target: Depths) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Yields the name of each range and which of the (N,) TRUE depths, metres, lie in it.

    A bucket holds its lower bound and not its upper one, except 80 m: each depth is in one bucket.
    """
    for low, high in RANGES:
        below = target <= high if high == MAX_DEPTH else target < high
        yield range_name((low, high)), (target >= low) & below


def metrics_by_range(prediction: Depths, target: Depths) -> RangeTable:
    """Returns depth_metrics in each range of true depth that has pixels; the first is the whole of 1-80 m.

    Args:
        prediction: (N,) metres, positive and not NaN; what is farther than 80 m counts as 80 m, as in KITTI's
            literature (after median scaling, where there is any).
        target: (N,) metres.
    """
    prediction = np.minimum(prediction, MAX_DEPTH)
    return {
        name: depth_metrics(prediction[inside], target[inside])
        for name, inside in split_by_range(target)
        if inside.any()
    }


def median_scaled(prediction: Depths, target: Depths) -> Depths:
    """Returns the prediction scaled to the truth's median: what is left of the error if the scale is given.

    Args:
        prediction: (N,) metres or any unit; +Inf stays.
        target: (N,) metres.
    """
    ratio = np.median(target) / np.median(prediction)
    return prediction * ratio if np.isfinite(ratio) and ratio > 0 else prediction


def mean_metrics(frames: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the per-frame average of each metric."""
    if not frames:
        raise ValueError("no frame to average")
    return {name: float(np.mean([frame[name] for frame in frames])) for name in frames[0]}


def mean_by_range(frames: Sequence[RangeTable]) -> RangeTable:
    """Returns mean_metrics in each range, over the frames that have pixels there."""
    tables = {name: [frame[name] for frame in frames if name in frame] for name in map(range_name, RANGES)}
    return {name: mean_metrics(rows) for name, rows in tables.items() if rows}
