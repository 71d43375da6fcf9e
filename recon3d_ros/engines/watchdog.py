"""A cheap look at every answer of an engine in service: did it turn to NaN, or did the scale jump?

A scene may jump as well (a door opens, a lorry pulls in), so nothing is concluded from the answer alone: what
looks wrong is put to ONNX Runtime on the same image, and only where the two disagree is the engine at fault.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.pipeline import Engine

SAMPLE_ROWS, SAMPLE_COLUMNS = 16, 32  # of the depth image that is looked at; see benchmarks.watchdog for the cost
MAX_BAD_SHARE = 0.01  # of the sample: not finite, or not positive
MAX_JUMP = math.log(1.5)  # of the frame's median depth, against each of the last frames with that focal length
MAX_DISAGREEMENT = math.log(1.25)  # median over pixels, against ONNX Runtime; twice what int8 is allowed
HISTORY = 8  # frames that a new one is compared with
PAUSE = 10  # frames between two runs of the reference, so that odd input cannot bring the rate down for long
MAX_FOCALS = 64


class Watchdog:
    """Remembers the scale of the last frames.

    Frames of several cameras come in batches of changing make-up, without names. They are told apart by their
    focal lengths, and a frame is suspicious only where its median is unlike that of all the last frames with its
    focal length: of two cameras with the very same lens, each has its like among them.

    Args:
        reference: the same model in ONNX Runtime.

    Attributes:
        frames: looked at.
        referrals: put to the reference.
    """

    def __init__(self, reference: Engine) -> None:
        self.frames = 0
        self.referrals = 0
        self._reference = reference
        self._max_depth = reference.info.max_depth
        self._medians: dict[float, deque[float]] = {}
        self._next_referral = 0

    def look(
        self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32], depth: npt.NDArray[np.float32]
    ) -> str:
        """Returns why the engine that gave this depth must not be used any longer; "" where nothing is wrong.

        Args:
            images: (B, h, w, 3) uint8 RGB, what the engine saw.
            focals: (B,) float32 pixels.
            depth: (B, h, w) float32 metres, what it answered.
        """
        B, h, w = depth.shape
        rows, columns = max(h // SAMPLE_ROWS, 1), max(w // SAMPLE_COLUMNS, 1)
        samples = depth[:, rows // 2 :: rows, columns // 2 :: columns].reshape(B, -1)
        for index in range(B):
            self.frames += 1
            median = self._median(samples[index])
            last = self._last_medians(float(focals[index]))
            is_suspicious = median is None or (bool(last) and all(abs(median - x) > MAX_JUMP for x in last))
            if is_suspicious:
                if self.frames < self._next_referral:
                    continue  # not told yet whether it is right: it must not become what others are compared with
                self._next_referral = self.frames + PAUSE
                self.referrals += 1
                one = slice(index, index + 1)
                if reason := self._judge(depth[index], self._reference.infer(images[one], focals[one]).depth[0]):
                    return reason
            if median is not None:
                last.append(median)
        return ""

    def _median(self, sample: npt.NDArray[np.float32]) -> float | None:
        """Returns the log of a sample's median depth, metres; None where too much of it is no depth at all."""
        is_good = np.isfinite(sample) & (sample > 0)
        count = int(np.count_nonzero(is_good))
        if count == 0 or count < len(sample) * (1 - MAX_BAD_SHARE):
            return None
        median = float(np.median(sample if count == len(sample) else sample[is_good]))
        return math.log(min(median, self._max_depth))

    def _last_medians(self, focal: float) -> deque[float]:
        if focal not in self._medians and len(self._medians) >= MAX_FOCALS:
            self._medians.pop(next(iter(self._medians)))
        return self._medians.setdefault(focal, deque(maxlen=HISTORY))

    def _judge(self, found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> str:
        """Returns what is wrong with a depth image that the reference's of the same image has not."""
        is_expected = np.isfinite(expected) & (expected > 0)
        is_found = np.isfinite(found) & (found > 0)
        if not is_expected.any():
            return ""  # the model itself has no answer to this image
        bad_share = float(np.mean(~is_found[is_expected]))
        if bad_share > MAX_BAD_SHARE:
            return f"{bad_share:.0%} of its depth is not finite and positive where ONNX Runtime's is"
        both = is_found & is_expected
        ratio = np.minimum(found[both], self._max_depth) / np.minimum(expected[both], self._max_depth)
        factor = float(np.median(ratio))
        if abs(math.log(factor)) > MAX_DISAGREEMENT:
            return f"its scale jumped to {factor:.2f} times ONNX Runtime's on the same image"
        return ""
