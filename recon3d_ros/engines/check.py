"""Proves an engine right before it drives: its answers on the model's self-test images against ONNX Runtime's.

An engine passes when its depth keeps within the limits of its precision, holds no NaN, and is the same twice and
in a batch of any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.pipeline import Engine, Prediction
from recon3d_ros.engines.base import EngineError

Depth = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """How far an engine's depth may be from the reference's; all relative, 0.01 is 1 %.

    Attributes:
        mean: mean over pixels of |depth / reference - 1|.
        p99: its 99th percentile, which single wrong regions raise and the rounding at objects' edges does not.
        scale: |median of depth / reference - 1| of any one image: what would move a whole frame.
        repeat: mean difference between two runs on the same images, and between batch 1 and batch N.
        confidence: mean absolute difference of the confidence, which is 0 to 1.
    """

    mean: float
    p99: float
    scale: float
    repeat: float
    confidence: float


# Between what right engines and wrong ones show (benchmarks.proving; docs/results.md): 2.5 to 8 times the error of
# the shipped network in that precision on a CPU. fp32 has room for TF32, which a run time may choose, and fp16 for
# sums in fp16. int8 is so coarse that red and blue swapped would pass as int8; no finer precision lets it through.
LIMITS = {
    "fp32": Limits(mean=0.002, p99=0.015, scale=0.002, repeat=0.001, confidence=0.002),
    "fp16": Limits(mean=0.004, p99=0.02, scale=0.004, repeat=0.002, confidence=0.004),
    "bf16": Limits(mean=0.02, p99=0.10, scale=0.015, repeat=0.01, confidence=0.015),
    "int8": Limits(mean=0.06, p99=0.40, scale=0.03, repeat=0.02, confidence=0.03),
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what was found, and the most that is allowed."""

    name: str
    found: float
    limit: float

    @property
    def is_good(self) -> bool:
        return self.found <= self.limit  # False for NaN

    def __str__(self) -> str:
        verdict = "ok" if self.is_good else "FAILED"
        return f"{verdict:<6} {self.name}: {self.found:.2g}, at most {self.limit:.2g}"


@dataclass(frozen=True)
class CheckReport:
    """What was found of an engine.

    Attributes:
        precision: whose limits were applied.
        checks: what was looked at, in order.
        failure: why the engine could not be run at all; "" where it ran.
    """

    precision: str
    checks: tuple[Check, ...]
    failure: str = ""

    @property
    def is_good(self) -> bool:
        return not self.failure and all(check.is_good for check in self.checks)

    @property
    def reason(self) -> str:
        """Why the engine must not be used; "" where it may."""
        bad = [f"{check.name} {check.found:.2g} (at most {check.limit:.2g})" for check in self.checks]
        bad = [text for text, check in zip(bad, self.checks, strict=True) if not check.is_good]
        return self.failure or "; ".join(bad)

    def lines(self) -> list[str]:
        """Returns the report as text, one line for each check."""
        verdict = "proved right" if self.is_good else "NOT to be used"
        failure = [f"FAILED {self.failure}"] if self.failure else []
        return [f"{self.precision}: {verdict}", *map(str, self.checks), *failure]


def check_engine(
    engine: Engine,
    reference: Engine,
    images: npt.NDArray[np.uint8],
    focals: npt.NDArray[np.float32],
    precision: str,
    max_batch: int = 1,
) -> CheckReport:
    """Compares an engine with the reference on the same images.

    Args:
        engine: what is to be proved.
        reference: the same model in ONNX Runtime, float32.
        images: (K, h, w, 3) uint8 RGB at the model's size.
        focals: (K,) float32 pixels.
        precision: a key of LIMITS.
        max_batch: the largest batch that the engine takes.

    Raises:
        EngineError: the precision is unknown, or the reference itself cannot answer: the model is at fault.
    """
    if precision not in LIMITS:
        raise EngineError(f"precision is '{precision}', expected one of {', '.join(LIMITS)}")
    limits = LIMITS[precision]
    expected = _one_by_one(reference, images, focals)
    if not np.isfinite(expected.depth).all() or not (expected.depth > 0).all():
        raise EngineError(f"{reference.info.name}: ONNX Runtime's own depth is not finite and positive")
    try:
        single = _one_by_one(engine, images, focals)
        again = _one_by_one(engine, images, focals)
        batches = {size: _in_batches(engine, images, focals, size) for size in _batch_sizes(max_batch)}
    except Exception as error:  # a run time may raise anything, and then the engine is not to be used
        return CheckReport(precision, (), failure=f"it cannot be run: {error}")

    every = {"": single, " (second run)": again, **{f" (batch {n})": batch for n, batch in batches.items()}}
    checks = [
        Check(f"share of depth that is not finite and positive{name}", _bad_share(found.depth), 0.0)
        for name, found in every.items()
    ]
    if all(check.is_good for check in checks):
        checks += _compare(single, expected, engine.info.max_depth, limits)
        for name, found in list(every.items())[1:]:
            difference = _relative(found.depth, single.depth, engine.info.max_depth)
            checks.append(
                Check(f"difference from the first answer{name}", float(difference.mean()), limits.repeat)
            )
    return CheckReport(precision, tuple(checks))


def _compare(found: Prediction, expected: Prediction, max_depth: float, limits: Limits) -> list[Check]:
    error = _relative(found.depth, expected.depth, max_depth)
    ratios = np.minimum(found.depth, max_depth) / np.minimum(expected.depth, max_depth)
    scale = np.abs(np.median(ratios.reshape(len(ratios), -1), axis=1) - 1)
    checks = [
        Check("mean relative error of depth", float(error.mean()), limits.mean),
        Check("99th percentile of the error", float(np.percentile(error, 99)), limits.p99),
        Check("scale error of the worst image", float(scale.max()), limits.scale),
    ]
    if expected.confidence is not None:
        if found.confidence is None:
            return [*checks, Check("confidence is missing", 1.0, limits.confidence)]
        difference = float(np.mean(np.abs(found.confidence - expected.confidence)))
        checks.append(Check("mean difference of confidence", difference, limits.confidence))
    return checks


def _relative(found: Depth, expected: Depth, max_depth: float) -> Depth:
    """Returns |found / expected - 1|; beyond max_depth both mean that nothing is in range."""
    return np.abs(np.minimum(found, max_depth) / np.minimum(expected, max_depth) - 1)


def _bad_share(depth: Depth) -> float:
    return float(np.mean(~(np.isfinite(depth) & (depth > 0))))


def _batch_sizes(max_batch: int) -> list[int]:
    """Returns the sizes to try beside 1: the largest, and one between."""
    return sorted({size for size in (max_batch, (max_batch + 1) // 2) if size > 1})


def _one_by_one(engine: Engine, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
    return _in_batches(engine, images, focals, 1)


def _in_batches(
    engine: Engine, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32], size: int
) -> Prediction:
    """Returns the answer on each image as one of a batch of others; the last batch is filled up."""
    depths, confidences = [], []
    for start in range(0, len(images), size):
        chosen = np.arange(start, start + size) % len(images)
        answer = engine.infer(images[chosen], focals[chosen])
        kept = min(size, len(images) - start)
        depths.append(answer.depth[:kept].copy())  # an engine may use its buffers again
        if answer.confidence is not None:
            confidences.append(answer.confidence[:kept].copy())
    return Prediction(np.concatenate(depths), np.concatenate(confidences) if confidences else None)
