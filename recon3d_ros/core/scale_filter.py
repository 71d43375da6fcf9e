"""A depth's scale over time: a Kalman filter of its logarithm."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ScaleState:
    """What is known of the scale at a moment.

    Attributes:
        scale: metric depth / depth as it comes.
        sigma: standard deviation of log(scale).
    """

    scale: float
    sigma: float


class ScaleFilter:
    """One number, log(scale), that wanders slowly and is measured now and then.

    Args:
        drift: how far it wanders: standard deviation of log(scale) after 1 s; after t seconds sqrt(t) times.
        gate: a measurement farther off than this many standard deviations is an outlier.
        patience: seconds; where nothing but outliers came for so long, the filter was wrong, and starts anew.
        max_gap: seconds without a frame after which it starts anew, as it does where time jumps back.
        prior_sigma: of log(scale) before the first measurement: how far a network's scale may be off.
    """

    def __init__(
        self,
        *,
        drift: float = 0.05,
        gate: float = 3.0,
        patience: float = 1.0,
        max_gap: float = 5.0,
        prior_sigma: float = 0.3,
    ) -> None:
        self.drift = drift
        self.gate = gate
        self.patience = patience
        self.max_gap = max_gap
        self.prior_sigma = prior_sigma
        self.reset()

    def reset(self) -> None:
        """Forgets everything: scale 1, as uncertain as before the first measurement."""
        self._log_scale = 0.0
        self._variance = self.prior_sigma**2
        self._stamp: float | None = None
        self._outlier_since: float | None = None

    @property
    def state(self) -> ScaleState:
        return ScaleState(math.exp(self._log_scale), math.sqrt(self._variance))

    def predict(self, stamp: float) -> bool:
        """Moves to a moment; returns whether time jumped, so that everything was forgotten.

        Args:
            stamp: seconds.
        """
        jumped = self._stamp is not None and not 0.0 <= stamp - self._stamp <= self.max_gap
        if jumped:
            self.reset()
        if self._stamp is not None:
            self._variance = min(self._variance + self.drift**2 * (stamp - self._stamp), self.prior_sigma**2)
        self._stamp = stamp
        return jumped

    def correct(self, scale: float, sigma: float) -> bool:
        """Takes a measurement of the moment that `predict` moved to; returns whether it was used.

        Args:
            scale: positive.
            sigma: standard deviation of log(scale).
        """
        stamp = self._stamp
        if stamp is None:
            raise ValueError("correct() before predict(): when was it measured?")
        innovation = math.log(scale) - self._log_scale
        variance = self._variance + sigma**2
        if innovation**2 > self.gate**2 * variance:
            if self._outlier_since is None:
                self._outlier_since = stamp
            if stamp - self._outlier_since < self.patience:
                return False
            self._log_scale, self._variance = math.log(scale), sigma**2
        else:
            gain = self._variance / variance
            self._log_scale += gain * innovation
            self._variance *= 1.0 - gain
        self._outlier_since = None
        return True
