"""What a live run shows: counts, latencies, depth error and a picture, read from its recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recon3d_ros.bags.reader import BagReader
from recon3d_ros.bags.topics import CameraTopics
from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.camera_info import camera_from_info
from recon3d_ros.core.cloud import back_project
from recon3d_ros.core.evaluation import frame_score, judged_pixels
from recon3d_ros.core.image_message import depth_of, image_of
from recon3d_ros.core.metrics import MAX_DEPTH, MIN_DEPTH, WHOLE_RANGE, mean_metrics, range_name
from recon3d_ros.core.pipeline import DepthFrame

if TYPE_CHECKING:
    from recon3d_ros.ros.live_run import LiveRun

STAGES = ("wait", "decode", "rectify", "infer", "limit", "publish", "total")


@dataclass(frozen=True)
class DepthImage:
    """A depth image of a bag: (H, W) float32 metres, and the camera that it belongs to."""

    depth: npt.NDArray[np.float32]
    camera: CameraModel


def read_frames(
    recording: Path, camera: str, *, stamps: set[int] | None = None
) -> Iterator[tuple[int, DepthFrame]]:
    """Yields the recorded depth frames of a camera with their stamps, nanoseconds.

    Args:
        recording: a bag of the node's outputs.
        camera: the camera's namespace.
        stamps: only these; None for all.
    """
    image_topic, depth_topic = f"/{camera}/image_rect", f"/{camera}/depth/image_rect"
    info_topic = f"/{camera}/depth/camera_info"
    parts: dict[int, dict[str, Any]] = {}
    with BagReader(recording) as reader:
        for message in reader.messages([image_topic, depth_topic, info_topic]):
            if stamps is not None and message.stamp_ns not in stamps:
                continue
            frame = parts.setdefault(message.stamp_ns, {})
            frame[message.topic] = reader.deserialise(message)
            if len(frame) == 3:
                del parts[message.stamp_ns]
                image = image_of(frame[image_topic])
                depth = depth_of(frame[depth_topic])
                yield (
                    message.stamp_ns,
                    DepthFrame(image.data, depth, None, camera_from_info(frame[info_topic]), {}),
                )


def read_true_depth(bag: Path, camera: str) -> dict[int, DepthImage]:
    """Returns the exact depth that a rendered drive has, by stamp in nanoseconds; empty where there is none."""
    depth_topic, info_topic = f"/{camera}/ground_truth/depth", f"/{camera}/ground_truth/camera_info"
    truth: dict[int, DepthImage] = {}
    with BagReader(bag) as reader:
        if depth_topic not in reader.topics or info_topic not in reader.topics:
            return truth
        model = camera_from_info(reader.deserialise(next(reader.messages([info_topic]))))
        for message in reader.messages([depth_topic]):
            depth = depth_of(reader.deserialise(message))
            truth[message.stamp_ns] = DepthImage(depth, model)
    return truth


def depth_error(frame: DepthFrame, truth: DepthImage) -> dict[str, float] | None:
    """Returns the metrics of a frame against its true depth; None where they share no valid pixel."""
    points = back_project(truth.depth, truth.camera.rays()).reshape(-1, 3).astype(np.float64)
    pixels = judged_pixels(frame, points[np.isfinite(points[:, 2])])
    return frame_score(pixels.prediction, pixels.target).metric.get(range_name(WHOLE_RANGE))


def frame_table(run: LiveRun, said: dict[str, str], camera: CameraTopics) -> str:
    """Returns what became of every image; `said` is the node's last diagnostics of the camera."""
    published = len(run.published.get(camera.image, ()))
    received = int(said.get("received", 0))
    rows = [
        ("images in the replay", published),
        ("lost on the way to the node", published - received),
        ("received by the node", received),
        ("dropped, a newer one had come", int(said.get("dropped", 0))),
        ("rejected", int(said.get("rejected", 0))),
        ("depth images out", len(run.arrived.get(f"/{camera.name}/depth/image_rect", ()))),
        ("point clouds out", len(run.arrived.get(f"/{camera.name}/points", ()))),
    ]
    table = "\n".join(f"| {name:<30} | {count:>6} |" for name, count in rows)
    last_error = said.get("last_error", "")
    return f"\n| frames {'':<23} | {'count':>6} |\n|{'-' * 32}|{'-' * 7}:|\n{table}\n" + (
        f"last rejection: {last_error}\n" if last_error else ""
    )


def latency_table(run: LiveRun, said: dict[str, str], camera: CameraTopics) -> str:
    """Returns median and p95 of each stage inside the node (`said`), and from the replay to the recorder."""
    rows = [
        (f"node: {stage}", float(said[f"latency.{stage}.median_ms"]), float(said[f"latency.{stage}.p95_ms"]))
        for stage in STAGES
        if f"latency.{stage}.median_ms" in said
    ]
    sent = run.published.get(camera.image, {})
    for topic in ("depth/image_rect", "points"):
        arrived = run.arrived.get(f"/{camera.name}/{topic}", {})
        delays = [(arrived[stamp] - sent[stamp]) * 1e3 for stamp in arrived if stamp in sent]
        if delays:
            median, p95 = np.percentile(delays, [50, 95])
            rows.append((f"end to end: {topic}", float(median), float(p95)))
    table = "\n".join(f"| {name:<30} | {median:>7.1f} | {p95:>7.1f} |" for name, median, p95 in rows)
    return f"| latency, ms {'':<18} | {'median':>7} | {'p95':>7} |\n|{'-' * 32}|{'-' * 8}:|{'-' * 8}:|\n{table}\n"


def truth_table(recording: Path, bag: Path, camera: CameraTopics) -> str:
    """Returns the depth error against the bag's exact depth, averaged per frame; says so where it has none."""
    truth = read_true_depth(bag, camera.name)
    if not truth:
        return "depth error: not measured, the bag holds no exact depth\n"
    errors = [
        error
        for stamp, frame in read_frames(recording, camera.name, stamps=set(truth))
        if (error := depth_error(frame, truth[stamp])) is not None
    ]
    if not errors:
        return "depth error: not measured, no published frame has exact depth\n"
    mean = mean_metrics(errors)
    names = ("abs_rel", "rmse", "silog", "delta1")
    title = f"depth error, {MIN_DEPTH:.0f}-{MAX_DEPTH:.0f} m, {len(errors)} frames"
    return (
        f"| {title:<30} | {' | '.join(f'{name:>7}' for name in names)} |\n"
        f"|{'-' * 32}|{'--------:|' * len(names)}\n"
        f"| {'against the exact depth':<30} | {' | '.join(f'{mean[name]:7.3f}' for name in names)} |\n"
    )


def last_diagnostics(recording: Path, camera: str) -> dict[str, str]:
    """Returns the node's last words about a camera, by key; empty where it said none."""
    values: dict[str, str] = {}
    with BagReader(recording) as reader:
        for message in reader.messages(["/diagnostics"]):
            for status in reader.deserialise(message).status:
                if status.name.endswith(f": {camera}"):
                    values = {item.key: item.value for item in status.values}
    return values
