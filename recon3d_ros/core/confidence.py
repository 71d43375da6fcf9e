"""Does the network know where it is wrong? Sparsification and reliability of its confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.metrics import Depths

DROPPED = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # shares of a frame's pixels
TOLERANCE = 1.25  # the confidence states the probability that the true depth lies within this factor
BINS = 10


@dataclass(frozen=True, eq=False)
class FrameConfidence:
    """What the confidence of one frame is worth.

    Attributes:
        by_confidence: abs_rel of what is left when the least sure share is dropped, for each of DROPPED.
        oracle: the same when the worst pixels are dropped: no confidence can do better.
        bins: (BINS, 3) by stated probability: pixels, sum of what was stated, pixels within the tolerance.
    """

    by_confidence: Depths
    oracle: Depths
    bins: Depths


@dataclass(frozen=True)
class Bin:
    """The pixels whose stated probability lies in one bin.

    Attributes:
        share: of all pixels.
        stated: mean probability that the network stated.
        within: share of these pixels whose depth is within the tolerance. Honest is within = stated.
    """

    share: float
    stated: float
    within: float


@dataclass(frozen=True)
class ConfidenceScore:
    """What the confidence is worth over many frames.

    Attributes:
        dropped: DROPPED.
        by_confidence, oracle: abs_rel for each of them, averaged over frames; see FrameConfidence.
        random: abs_rel when pixels are dropped at random, which does not change its mean.
        gain: (random - by_confidence) / (random - oracle): 1 is perfect, 0 no better than chance.
        reliability: bins of stated probability that hold pixels, over all frames together.
        expected_calibration_error: mean over pixels of |stated - within| of the bin that they are in.
    """

    dropped: tuple[float, ...]
    by_confidence: tuple[float, ...]
    oracle: tuple[float, ...]
    random: tuple[float, ...]
    gain: tuple[float, ...]
    reliability: tuple[Bin, ...]
    expected_calibration_error: float


def frame_confidence(confidence: Depths, prediction: Depths, target: Depths) -> FrameConfidence:
    """Returns what the confidence of one frame's pixels is worth.

    Args:
        confidence: (N,) 0..1, N at least 1.
        prediction, target: (N,) metres, finite and positive.

    Source: Ilg et al., "Uncertainty estimates and multi-hypotheses networks for optical flow", ECCV 2018
        (sparsification); Guo et al., "On calibration of modern neural networks", ICML 2017 (reliability).
    """
    error = np.abs(prediction - target) / target
    is_within = np.maximum(prediction / target, target / prediction) < TOLERANCE
    number = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    weights = (np.ones_like(confidence), confidence, is_within.astype(np.float64))
    return FrameConfidence(
        by_confidence=_sparsification(error[np.argsort(-confidence, kind="stable")]),
        oracle=_sparsification(np.sort(error)),
        bins=np.stack([np.bincount(number, weight, BINS) for weight in weights], axis=1),
    )


def _sparsification(error: Depths) -> Depths:
    """Returns the mean of the first 100 %, 90 %, ... of the (N,) errors, at least of one."""
    kept = np.maximum(np.rint((1.0 - np.array(DROPPED)) * len(error)).astype(int), 1)
    mean: npt.NDArray[np.float64] = np.cumsum(error)[kept - 1] / kept
    return mean


def mean_confidence(frames: Sequence[FrameConfidence]) -> ConfidenceScore:
    """Returns the sparsification averaged over frames, and the reliability of all their pixels."""
    by_confidence = np.mean([frame.by_confidence for frame in frames], axis=0)
    oracle = np.mean([frame.oracle for frame in frames], axis=0)
    random = np.full_like(oracle, oracle[0])
    possible = random - oracle
    gain = np.divide(random - by_confidence, possible, out=np.zeros_like(possible), where=possible > 0)
    pixels, stated, within = np.sum([frame.bins for frame in frames], axis=0).T
    filled = np.flatnonzero(pixels)
    return ConfidenceScore(
        dropped=DROPPED,
        by_confidence=tuple(by_confidence.tolist()),
        oracle=tuple(oracle.tolist()),
        random=tuple(random.tolist()),
        gain=tuple(gain.tolist()),
        reliability=tuple(
            Bin(float(pixels[b] / pixels.sum()), float(stated[b] / pixels[b]), float(within[b] / pixels[b]))
            for b in filled
        ),
        expected_calibration_error=float(np.abs(stated - within).sum() / pixels.sum()),
    )
