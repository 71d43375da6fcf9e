"""Scores of predicted depth: of one frame, and their average over frames. Every evaluation here rests on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.confidence import ConfidenceScore, FrameConfidence, frame_confidence, mean_confidence
from recon3d_ros.core.lidar import Points, project
from recon3d_ros.core.metrics import (
    MAX_DEPTH,
    MIN_DEPTH,
    RANGES,
    WHOLE_RANGE,
    Depths,
    RangeTable,
    mean_by_range,
    median_scaled,
    metrics_by_range,
    range_name,
    split_by_range,
)
from recon3d_ros.core.pipeline import DepthFrame


@dataclass(frozen=True, eq=False)
class JudgedPixels:
    """The pixels of one frame where the true depth is known and within 1-80 m.

    Attributes:
        target: (N,) true depths, metres along z.
        prediction: (N,) the network's, metres; NaN is invalid, +Inf nothing in range.
        confidence: (N,) the network's, 0..1, or None.
        row, column: (N,) pixels.
        camera: of the depth image.
        camera_height: of the camera above the ground, metres, where it is known.
    """

    target: Depths
    prediction: Depths
    confidence: Depths | None
    row: npt.NDArray[np.intp]
    column: npt.NDArray[np.intp]
    camera: CameraModel
    camera_height: float | None = None


def judged_pixels(frame: DepthFrame, points: Points, *, camera_height: float | None = None) -> JudgedPixels:
    """Returns a frame's depth at the pixels nearest to the projections of known points.

    Args:
        frame: the pipeline's output.
        points: (N, 3) metres, the camera's optical frame; those outside the image or 1-80 m are left out.
        camera_height: above the ground, metres, where it is known.
    """
    returns = project(in_range(points), frame.camera)
    row, column = returns.row, returns.column
    confidence = None if frame.confidence is None else frame.confidence[row, column].astype(np.float64)
    prediction = frame.depth[row, column].astype(np.float64)
    return JudgedPixels(returns.z, prediction, confidence, row, column, frame.camera, camera_height)


def in_range(points: Points) -> Points:
    """Returns those of the (N, 3) points whose depth is 1-80 m."""
    return points[(points[:, 2] >= MIN_DEPTH) & (points[:, 2] <= MAX_DEPTH)]


@dataclass(frozen=True, eq=False)
class FrameScore:
    """The error of one frame.

    Attributes:
        pixels: with known depth, by range.
        invalid: of all of them, how many the network calls invalid; they are left out of the metrics.
        metric, median_scaled: metrics by range, as predicted and after scaling to the true median.
        confidence: None where the network states none.
    """

    pixels: dict[str, int]
    invalid: int
    metric: RangeTable
    median_scaled: RangeTable
    confidence: FrameConfidence | None


@dataclass(frozen=True)
class Score:
    """The error over frames: each counts the same, whatever its number of pixels. Fields as in FrameScore."""

    frames: int
    pixels: dict[str, int]
    invalid_share: float
    metric: RangeTable
    median_scaled: RangeTable
    confidence: ConfidenceScore | None


def frame_score(prediction: Depths, target: Depths, confidence: Depths | None = None) -> FrameScore:
    """Returns the error of one frame at the pixels whose true depth is within 1-80 m.

    Args:
        prediction: (N,) metres, positive; NaN is invalid, +Inf nothing in range (it counts as 80 m).
        target: (N,) metres; NaN and Inf are left out.
        confidence: (N,) 0..1, or None.
    """
    known = (target >= MIN_DEPTH) & (target <= MAX_DEPTH)
    valid = known & ~np.isnan(prediction)
    p, t = prediction[valid], target[valid]
    is_judged = len(p) > 0
    return FrameScore(
        pixels={name: int(inside.sum()) for name, inside in split_by_range(target)},
        invalid=int(known.sum() - valid.sum()),
        metric=metrics_by_range(p, t),
        median_scaled=metrics_by_range(median_scaled(p, t), t) if is_judged else {},
        confidence=None
        if confidence is None or not is_judged
        else frame_confidence(confidence[valid], np.minimum(p, MAX_DEPTH), t),
    )


def mean_score(frames: Sequence[FrameScore]) -> Score:
    """Returns the average over frames.

    Raises:
        ValueError: if no frame has a pixel with known depth.
    """
    pixels = {name: sum(frame.pixels[name] for frame in frames) for name in map(range_name, RANGES)}
    total = pixels[range_name(WHOLE_RANGE)]
    if not total:
        raise ValueError(
            f"none of {len(frames)} frames has a pixel with a known depth of {MIN_DEPTH:g}-{MAX_DEPTH:g} m"
        )
    confidences = [frame.confidence for frame in frames if frame.confidence is not None]
    return Score(
        frames=len(frames),
        pixels=pixels,
        invalid_share=sum(frame.invalid for frame in frames) / total,
        metric=mean_by_range([frame.metric for frame in frames]),
        median_scaled=mean_by_range([frame.median_scaled for frame in frames]),
        confidence=mean_confidence(confidences) if confidences else None,
    )
