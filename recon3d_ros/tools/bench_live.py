"""The live node under load: rate, missed frames, latency, jitter, CPU and memory, under ros2_benchmark's names."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recon3d_ros.bags.cameras import find_cameras
from recon3d_ros.bags.reader import BagReader
from recon3d_ros.bags.topics import CameraTopics
from recon3d_ros.bags.writer import BagWriter

if TYPE_CHECKING:
    from recon3d_ros.ros.live_run import LiveRun

SAMPLE_SECONDS = 0.1
BASIC, PROCESS = "BasicPerformanceMetrics", "NodeProcessMetrics"


@dataclass
class ProcessSamples:
    """What /proc said of a process: monotonic seconds, CPU seconds so far, and resident memory in MB."""

    times: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def take(self, pid: int) -> None:
        stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        self.times.append(time.monotonic())
        self.cpu_seconds.append((int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"))
        self.memory_mb.append(int(stat[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6)


@contextmanager
def sampled(pid: int, samples: ProcessSamples) -> Iterator[None]:
    """Samples a process for as long as the context holds."""
    is_over = threading.Event()

    def sample_until_over() -> None:
        while not is_over.wait(SAMPLE_SECONDS):
            try:
                samples.take(pid)
            except OSError:  # the process has ended
                return

    thread = threading.Thread(target=sample_until_over, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def run_live(bag: Path, *, rate: float, model: str, parameters: dict[str, Any]) -> tuple[float, dict[str, float]]:
    """Plays a bag through a live node in its own process.

    Args:
        bag: a rosbag2 with a camera.
        rate: times the bag's own pace.
        model: the node's model file; "" for the one that ships with the package.
        parameters: others of the node.

    Returns:
        The rate of the images sent, Hz, and what was measured, see live_metrics.

    Raises:
        ChildProcessError, TimeoutError: the node ended, or did not connect.
    """
    from recon3d_ros.ros.live_run import play

    with BagReader(bag) as reader:
        camera = find_cameras(reader, ())[0]
    samples = ProcessSamples()
    with tempfile.TemporaryDirectory() as folder:
        with BagWriter(Path(folder) / "out") as recording:
            run = play(
                bag,
                camera,
                recording,
                model=model,
                rate=rate,
                log=Path(folder) / "node.log",
                parameters=parameters,
                watch=lambda pid: sampled(pid, samples),
            )
    metrics = live_metrics(run, camera, samples)
    return metrics[f"{BASIC}.MEAN_PLAYBACK_FRAME_RATE"], metrics


def live_metrics(run: LiveRun, camera: CameraTopics, samples: ProcessSamples) -> dict[str, float]:
    """Returns what ros2_benchmark reports of a run, times in milliseconds, and what the node's process used.

    A frame's latency runs from the publishing of its image to the arrival of its depth in another process. Jitter
    is how far the time between two arrivals differs from that between the sending of the same two images. CPU_UTIL
    is in percent of one core, while images were sent.
    """
    sent = run.published.get(camera.image, {})
    arrived = run.arrived.get(f"/{camera.name}/depth/image_rect", {})
    stamps = sorted(stamp for stamp in arrived if stamp in sent)
    sending = [min(sent.values()), max(sent.values())]
    metrics = {
        f"{BASIC}.MEAN_PLAYBACK_FRAME_RATE": (len(sent) - 1) / (sending[1] - sending[0]),
        f"{BASIC}.NUM_FRAMES_SENT": len(sent),
        f"{BASIC}.NUM_MISSED_FRAMES": len(sent) - len(stamps),
    }
    if len(stamps) > 1:
        ends = np.array([arrived[stamp] for stamp in stamps])
        starts = np.array([sent[stamp] for stamp in stamps])
        metrics |= {
            f"{BASIC}.RECEIVED_DURATION": float(ends[-1] - ends[0]) * 1e3,
            f"{BASIC}.MEAN_FRAME_RATE": (len(ends) - 1) / float(ends[-1] - ends[0]),
            f"{BASIC}.FIRST_SENT_RECEIVED_LATENCY": float(ends[0] - starts[0]) * 1e3,
            f"{BASIC}.LAST_SENT_RECEIVED_LATENCY": float(ends[-1] - starts[-1]) * 1e3,
            **_spread("LATENCY", (ends - starts) * 1e3),
            **_spread("JITTER", np.abs(np.diff(ends) - np.diff(starts)) * 1e3),
        }
    return metrics | _process_metrics(samples, *sending)


def _spread(name: str, values: npt.NDArray[np.float64]) -> dict[str, float]:
    return {
        f"{BASIC}.MIN_{name}": float(values.min()),
        f"{BASIC}.MEAN_{name}": float(values.mean()),
        f"{BASIC}.P50_{name}": float(np.median(values)),
        f"{BASIC}.P99_{name}": float(np.percentile(values, 99)),
        f"{BASIC}.MAX_{name}": float(values.max()),
        f"{BASIC}.STD_DEV_{name}": float(values.std()),
    }


def _process_metrics(samples: ProcessSamples, start: float, end: float) -> dict[str, float]:
    times = np.array(samples.times)
    inside = np.flatnonzero((times >= start) & (times <= end))
    if len(inside) < 2:
        return {}
    cpu = np.array(samples.cpu_seconds)[inside]
    percent = np.diff(cpu) / np.diff(times[inside]) * 100
    return {
        f"{PROCESS}.MEAN_CPU_UTIL": float((cpu[-1] - cpu[0]) / (times[inside[-1]] - times[inside[0]]) * 100),
        f"{PROCESS}.MAX_CPU_UTIL": float(percent.max()),
        f"{PROCESS}.MAX_MEMORY_MB": max(samples.memory_mb),
    }


def data_hash(bag: Path) -> str:
    """Returns the sha256 of the topics, stamps and bytes of all messages: the same hash is the same input."""
    digest = hashlib.sha256()
    with BagReader(bag) as reader:
        for message in reader.messages(list(reader.topics)):
            digest.update(f"{message.topic} {message.stamp_ns} ".encode())
            digest.update(message.data)
    return digest.hexdigest()


def live_table(runs: Sequence[tuple[float, dict[str, float]]]) -> str:
    """Returns the runs as a Markdown table."""
    columns = {
        "sent": (f"{BASIC}.NUM_FRAMES_SENT", "{:.0f}"),
        "missed": (f"{BASIC}.NUM_MISSED_FRAMES", "{:.0f}"),
        "Hz out": (f"{BASIC}.MEAN_FRAME_RATE", "{:.1f}"),
        "latency ms": (f"{BASIC}.P50_LATENCY", "{:.1f}"),
        "p99": (f"{BASIC}.P99_LATENCY", "{:.1f}"),
        "jitter ms": (f"{BASIC}.MEAN_JITTER", "{:.1f}"),
        "CPU % of a core": (f"{PROCESS}.MEAN_CPU_UTIL", "{:.0f}"),
        "memory MB": (f"{PROCESS}.MAX_MEMORY_MB", "{:.0f}"),
    }
    rows = [f"| Hz in | {' | '.join(columns)} |", f"|---:{'|---:' * len(columns)}|"]
    for rate, metrics in runs:
        cells = [form.format(metrics[key]) if key in metrics else "-" for key, form in columns.values()]
        rows.append(f"| {rate:.1f} | {' | '.join(cells)} |")
    return "\n".join(rows)
