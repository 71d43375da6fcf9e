"""Does the node stay the same over hours? Two cameras feed it, and its memory, files and latency are watched.

    python -m benchmarks.endurance --minutes 60 --out endurance

The bundled drive goes round and round, enlarged to KITTI's 1242x375, as raw images of two cameras at 30 Hz; depth
and clouds of both are received. A CPU drops most of these frames, which is part of what is tried. Writes
samples.csv and endurance.png. Ends with status 1 where memory grows by more than MAX_SLOPE after the warm-up, or
files, threads or shared memory grow at all.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tqdm import tqdm

from recon3d_ros.core.image_files import write_image
from recon3d_ros.ros.node_process import NodeProcess, ros_environment

CAMERAS = ("left", "right")
WIDTH, HEIGHT, FOCAL = 1242, 375, 721.5
SAMPLE_SECONDS = 5.0
WARM_UP_PART = 0.15
MAX_SLOPE = 1.0  # MB in 10 minutes
QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


@dataclass(frozen=True)
class Sample:
    """What the node's process held and did; latencies are those of the depth images since the last sample."""

    minutes: float
    memory_mb: float
    shared_memory_mb: float
    files: int
    threads: int
    segments: int
    depths_a_second: float
    latency_median_ms: float
    latency_p99_ms: float


class Drive(Node):
    """Two cameras and a consumer."""

    def __init__(self, rate: float) -> None:
        super().__init__("endurance")
        self._images = list(images())
        self._count = 0
        self._published: dict[tuple[str, int], float] = {}
        self._lock = threading.Lock()
        self._latencies: list[float] = []
        self._senders = {
            name: (
                self.create_publisher(Image, f"{name}/image_raw", QOS),
                self.create_publisher(CameraInfo, f"{name}/camera_info", QOS),
            )
            for name in CAMERAS
        }
        for name in CAMERAS:
            self.create_subscription(
                Image, f"{name}/depth/image_rect", lambda message, name=name: self._take(name, message), QOS
            )
            self.create_subscription(PointCloud2, f"{name}/points", lambda _: None, QOS)
        self.create_timer(1.0 / rate, self._publish)

    def take_latencies(self) -> list[float]:
        """Returns the seconds from publishing an image to having its depth, of all since the last call."""
        with self._lock:
            taken, self._latencies = self._latencies, []
            return taken

    def _publish(self) -> None:
        pixels = self._images[self._count % len(self._images)]
        self._count += 1
        stamp = self.get_clock().now().to_msg()
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        for name, (image_sender, info_sender) in self._senders.items():
            info = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob", d=[0.0] * 5)
            info.k = [FOCAL, 0.0, WIDTH / 2 - 11.0, 0.0, FOCAL, HEIGHT / 2 - 14.0, 0.0, 0.0, 1.0]
            image = Image(width=WIDTH, height=HEIGHT, encoding="rgb8", step=WIDTH * 3)
            image.data.frombytes(pixels.data)
            for message in (info, image):
                message.header.stamp = stamp
                message.header.frame_id = f"{name}_optical_frame"
            self._published[name, stamp_ns] = time.monotonic()
            info_sender.publish(info)
            image_sender.publish(image)
        while len(self._published) > 1000:
            self._published.pop(next(iter(self._published)))

    def _take(self, name: str, message: Image) -> None:
        stamp = message.header.stamp
        published = self._published.pop((name, stamp.sec * 1_000_000_000 + stamp.nanosec), None)
        if published is not None:
            with self._lock:
                self._latencies.append(time.monotonic() - published)


def images() -> Sequence[npt.NDArray[np.uint8]]:
    """Returns the bundled drive's images (HEIGHT, WIDTH, 3) uint8 RGB, cut and enlarged."""
    folder = Path(str(resources.files("recon3d_ros") / "demo_drive" / "image"))
    pictures = []
    for path in sorted(folder.glob("*.jpg")):
        image = cv2.imread(str(path))[80:273, :, ::-1]
        pictures.append(np.ascontiguousarray(cv2.resize(image, (WIDTH, HEIGHT))))
    return pictures


def sample(process: int, start: float, seconds: float, latencies: Sequence[float]) -> Sample:
    """Returns what a process holds now, read from /proc."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    memory = {key: int(status[key].split()[0]) / 1024 for key in ("RssAnon", "RssFile", "RssShmem")}
    maps = Path(f"/proc/{process}/maps").read_text().splitlines()
    milliseconds = np.array(latencies or [np.nan]) * 1e3
    return Sample(
        minutes=(time.monotonic() - start) / 60,
        memory_mb=memory["RssAnon"] + memory["RssFile"],
        shared_memory_mb=memory["RssShmem"],
        files=len(list(Path(f"/proc/{process}/fd").iterdir())),
        threads=int(status["Threads"]),
        segments=len({line.split()[-1] for line in maps if "/dev/shm/" in line}),
        depths_a_second=len(latencies) / seconds,
        latency_median_ms=float(np.median(milliseconds)),
        latency_p99_ms=float(np.percentile(milliseconds, 99)),
    )


def slope(samples: Sequence[Sample], name: str) -> float:
    """Returns how much a value grows in 10 minutes, by least squares over the samples."""
    minutes = [item.minutes for item in samples]
    return float(np.polyfit(minutes, [getattr(item, name) for item in samples], 1)[0]) * 10


def plot(samples: Sequence[Sample]) -> npt.NDArray[np.uint8]:
    """Returns a picture (H, W, 3) uint8 BGR of the samples over time, a panel for each kind."""
    panels = [
        ("memory, MB", ["memory_mb", "shared_memory_mb"]),
        ("files, threads, shared segments", ["files", "threads", "segments"]),
        ("depth images a second", ["depths_a_second"]),
        ("latency, ms: median and 99 %", ["latency_median_ms", "latency_p99_ms"]),
    ]
    return np.vstack([_panel(samples, title, names) for title, names in panels])


def _panel(samples: Sequence[Sample], title: str, names: Sequence[str]) -> npt.NDArray[np.uint8]:
    height, width, left, top, bottom = 190, 900, 60, 28, 24
    picture = np.full((height, width, 3), 255, dtype=np.uint8)
    values = np.array([[getattr(item, name) for name in names] for item in samples], dtype=float)
    highest, last = max(float(np.nanmax(values)) * 1.1, 1e-6), max(samples[-1].minutes, 1e-6)
    colors = [(160, 80, 20), (40, 120, 220), (60, 150, 60)]

    def text(words: str, x: int, y: int, color: tuple[int, int, int] = (60, 60, 60)) -> None:
        cv2.putText(picture, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, color, 1, cv2.LINE_AA)

    text(title, left, 16)
    for share in (0.0, 0.5, 1.0):
        y = round(height - bottom - share * (height - bottom - top))
        cv2.line(picture, (left, y), (width - 10, y), (220, 220, 220), 1)
        text(f"{share * highest:.0f}", 8, y + 4)
    for index, name in enumerate(names):
        x = left + np.array([item.minutes for item in samples]) / last * (width - left - 20)
        y = height - bottom - np.nan_to_num(values[:, index]) / highest * (height - bottom - top)
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        cv2.polylines(picture, [points], False, colors[index], 1, cv2.LINE_AA)
        text(name, width - 190, top + 14 * index, colors[index])
    text(f"{last:.0f} min", width - 70, height - 8)
    return picture


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=30.0, help="images a second of each camera")
    parser.add_argument("--out", type=Path, default=Path("endurance"))
    args = parser.parse_args()
    if not set(ros_environment()) <= set(os.environ):  # they act at the start of a process
        command = [sys.executable, "-m", "benchmarks.endurance", *sys.argv[1:]]
        os.execve(sys.executable, command, {**ros_environment(), **os.environ})
    args.out.mkdir(parents=True, exist_ok=True)
    rclpy.init()
    drive = Drive(args.rate)
    executor = SingleThreadedExecutor()
    executor.add_node(drive)
    threading.Thread(target=executor.spin, daemon=True).start()
    samples: list[Sample] = []
    parameters = {"cameras": list(CAMERAS), "cloud_stride": 2}
    with NodeProcess(parameters, log=args.out / "node.log") as node, (args.out / "samples.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Sample))
        start = time.monotonic()
        for _ in tqdm(range(max(round(args.minutes * 60 / SAMPLE_SECONDS), 2)), unit="sample", disable=None):
            time.sleep(SAMPLE_SECONDS)
            if node.poll() is not None:
                print(f"the node ended with status {node.poll()}; see {args.out / 'node.log'}")
                return 1
            samples.append(sample(node.pid, start, SAMPLE_SECONDS, drive.take_latencies()))
            writer.writerow(
                f"{value:.3f}" if isinstance(value, float) else value for value in astuple(samples[-1])
            )
            file.flush()
    executor.shutdown()
    rclpy.try_shutdown()
    write_image(args.out / "endurance.png", plot(samples))
    return report([item for item in samples if item.minutes > WARM_UP_PART * args.minutes])


def report(samples: Sequence[Sample]) -> int:
    """Prints how the samples after the warm-up begin, end and grow; returns 1 where the node leaks."""
    print("| after the warm-up | first | last | in 10 minutes |\n|---|---:|---:|---:|")
    grown = {name: slope(samples, name) for name in list(asdict(samples[0]))[1:]}
    for name, growth in grown.items():
        print(f"| {name} | {getattr(samples[0], name):.1f} | {getattr(samples[-1], name):.1f} | {growth:+.2f} |")
    leaks = [
        name for name in ("files", "threads", "segments") if getattr(samples[-1], name) > getattr(samples[0], name)
    ]
    leaks += ["memory_mb"] if grown["memory_mb"] > MAX_SLOPE else []
    print(f"grows: {', '.join(leaks)}" if leaks else "nothing grows")
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
