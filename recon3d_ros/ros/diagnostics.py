"""Health of one camera: what came in, what went out, what was lost and why, and how long each stage took."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

LATENCY_SAMPLES = 512  # the newest frames that median and p95 are taken over
WARNING_PERIOD = 5.0  # seconds between two warnings of the same kind
ENGINE_NOT_READY = "engine_not_ready"  # why frames are rejected while an engine is built
PROBLEM_PERIOD = 1.0  # seconds between two warnings of the same problem of outputs


class CameraHealth:
    """Counts the frames of one camera. Every frame received is published, dropped, unwanted or rejected.

    Attributes:
        received: images that arrived.
        lost: images that were published and never arrived (counted from Jazzy on).
        published: frames of which at least one output was published.
        dropped: images replaced by a newer one before the network was free.
        unwanted: images that nobody's subscription asked for.
        rejected: images refused, by reason.
        problems: frames that were published in part or not as asked for, by reason.
        conditions: what is wrong with the newest frame, by a short name; replaced as a whole.
        time_jumps: stamps that went backward (a bag that loops, two publishers on one topic).
        facts: more to report, by key; replaced as a whole, never changed in place.
    """

    def __init__(self, name: str, stale_after: float) -> None:
        self.name = name
        self.stale_after = stale_after
        self.received = 0
        self.lost = 0
        self.published = 0
        self.dropped = 0
        self.unwanted = 0
        self.rejected: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.conditions: dict[str, str] = {}
        self.time_jumps = 0
        self.facts: dict[str, str] = {}
        self._lock = threading.Lock()
        self._latency: dict[str, deque[float]] = {}
        self._last_received = -float("inf")
        self._last_warning: dict[str, float] = {}
        self._last_error = ""
        self._last_report = (time.monotonic(), self._counts())

    def count_received(self) -> None:
        with self._lock:
            self.received += 1
            self._last_received = time.monotonic()

    def count_lost(self, number: int) -> None:
        """Counts images that were published and never arrived."""
        with self._lock:
            self.lost += number

    def count_dropped(self) -> None:
        with self._lock:
            self.dropped += 1

    def count_unwanted(self) -> None:
        with self._lock:
            self.unwanted += 1

    def count_published(self, latency: Mapping[str, float]) -> None:
        """Counts a published frame and the seconds that each of its stages took."""
        with self._lock:
            self.published += 1
            for stage, seconds in latency.items():
                self._latency.setdefault(stage, deque(maxlen=LATENCY_SAMPLES)).append(seconds)

    def count_rejected(self, reason: str, message: str) -> bool:
        """Counts a refused frame; returns whether its message is due to be logged (throttled by reason)."""
        with self._lock:
            self.rejected[reason] += 1
            self._last_error = message
        return self.is_due(reason)

    def count_problem(self, reason: str) -> bool:
        """Counts a frame published in part or not as asked for; returns whether that is due to be logged."""
        with self._lock:
            self.problems[reason] += 1
        return self.is_due(reason, PROBLEM_PERIOD)

    def count_time_jump(self) -> bool:
        """Counts a stamp that went backward; returns whether a warning is due."""
        with self._lock:
            self.time_jumps += 1
        return self.is_due("time_jump")

    def is_due(self, kind: str, period: float = WARNING_PERIOD) -> bool:
        """Returns whether a warning of this kind is due, and if so starts its period anew."""
        now = time.monotonic()
        with self._lock:
            if now - self._last_warning.get(kind, -float("inf")) < period:
                return False
            self._last_warning[kind] = now
            return True

    def report(self, *, is_active: bool) -> DiagnosticStatus:
        """Returns the camera's state since the last report, with totals and latencies (milliseconds)."""
        with self._lock:
            now = time.monotonic()
            then, before = self._last_report
            counts = self._counts()
            self._last_report = now, counts
            new = counts - before  # of a Counter: what did not grow is 0
            elapsed = max(now - then, 1e-6)
            level, message = self._judge(new, is_active=is_active, silence=now - self._last_received)
            values = {
                "received": self.received,
                "lost": self.lost,
                "published": self.published,
                "dropped": self.dropped,
                "unwanted": self.unwanted,
                "rejected": counts["rejected"],
                **{f"rejected.{reason}": count for reason, count in sorted(self.rejected.items())},
                **{f"problems.{reason}": count for reason, count in sorted(self.problems.items())},
                "time_jumps": self.time_jumps,
                "rate_in_hz": f"{new['received'] / elapsed:.2f}",
                "rate_out_hz": f"{new['published'] / elapsed:.2f}",
                **self._latency_values(),
                **self.facts,
                "last_error": self._last_error,
            }
        return DiagnosticStatus(
            level=level, name=f"recon3d_depth: {self.name}", message=message, values=key_values(values)
        )

    def _counts(self) -> Counter[str]:
        names = ("received", "lost", "published", "dropped", "unwanted")
        counts = Counter({name: getattr(self, name) for name in names})
        counts["rejected"], counts[ENGINE_NOT_READY] = self.rejected.total(), self.rejected[ENGINE_NOT_READY]
        return counts

    def _judge(self, new: Counter[str], *, is_active: bool, silence: float) -> tuple[bytes, str]:
        """Returns level and message by the counts since the last report and the seconds since the last image."""
        if not is_active:
            return DiagnosticStatus.OK, "not active"
        if silence > self.stale_after:
            last = "no image yet" if self.received == 0 else f"no image for {silence:.1f} s"
            return DiagnosticStatus.STALE, f"{last}; is the camera's topic right and its QoS compatible?"
        if new[ENGINE_NOT_READY] and new[ENGINE_NOT_READY] == new["rejected"]:
            return DiagnosticStatus.WARN, f"the engine is being built: {self._last_error}"
        if new["rejected"] and not new["published"]:
            return DiagnosticStatus.ERROR, f"every frame is rejected: {self._last_error}"
        if new["rejected"]:
            return DiagnosticStatus.WARN, f"{new['rejected']} frames rejected: {self._last_error}"
        if new["unwanted"] and not new["published"]:
            return DiagnosticStatus.OK, "nobody subscribes"
        if self.conditions:
            return DiagnosticStatus.WARN, "; ".join(self.conditions.values())
        if new["lost"]:
            lost = new["lost"]
            return DiagnosticStatus.WARN, f"{lost} frames lost on their way here: does the camera use fastdds.xml?"
        if new["dropped"]:
            dropped = new["dropped"]
            return DiagnosticStatus.WARN, f"{dropped} frames dropped: the camera is faster than the network"
        if new["published"]:
            return DiagnosticStatus.OK, "publishing"
        return DiagnosticStatus.OK, "the network is at work" if new[
            "received"
        ] else "no image since the last report"

    def _latency_values(self) -> dict[str, str]:
        values = {}
        for stage, samples in self._latency.items():
            median, p95 = np.percentile(np.array(samples) * 1e3, [50, 95])
            values[f"latency.{stage}.median_ms"] = f"{median:.2f}"
            values[f"latency.{stage}.p95_ms"] = f"{p95:.2f}"
        return values


def key_values(values: Mapping[str, object]) -> list[KeyValue]:
    """Returns a mapping as diagnostic_msgs/KeyValue."""
    return [KeyValue(key=key, value=str(value)) for key, value in values.items()]
