"""recon3d run: depth and point clouds of a bag, a video or a folder of images, without ROS."""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from recon3d_ros.bags.writer import BagWriter
from recon3d_ros.core.network_size import DEFAULT_NETWORK_PIXELS, MAX_NETWORK_PIXELS
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.engines import BACKENDS, EngineOptions
from recon3d_ros.engines.fallback import load_proved
from recon3d_ros.tools.inputs import (
    CameraFrame,
    FrameSource,
    InputError,
    add_input_arguments,
    input_options,
    open_input,
)
from recon3d_ros.tools.run_output import CLOUD_WRITERS, CameraOutput, output_folder, write_summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `recon3d run`."""
    parser.add_argument("input", type=Path, metavar="BAG|VIDEO|IMAGES")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace the output of an earlier run")
    add_pipeline_arguments(parser)
    add_input_arguments(parser)
    parser.add_argument("--image-topic", action="append", metavar="TOPIC", help="of a bag; one for each camera")
    parser.add_argument("--rectified", action="store_true", help="the images have no lens distortion any more")
    parser.add_argument(
        "--cloud", choices=[*CLOUD_WRITERS, "none"], default="ply", help="cloud files (default: %(default)s)"
    )
    parser.add_argument("--stride", type=int, default=1, metavar="N", help="every n-th pixel becomes a point")


def add_pipeline_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that make_pipeline reads."""
    parser.add_argument("--model", default="", metavar="FILE", help="one-file model (default: the one that ships)")
    parser.add_argument(
        "--network-pixels",
        type=int,
        default=DEFAULT_NETWORK_PIXELS,
        metavar="N",
        help="of the network's input, about, in the camera's shape; 0: the model's default size "
        "(default: %(default)s)",
    )
    parser.add_argument("--backend", choices=list(BACKENDS), default=next(iter(BACKENDS)))
    parser.add_argument("--threads", type=int, default=0, help="for inference; 0 lets the run time choose")
    parser.add_argument("--min-range", type=float, metavar="M", help="nearer depth is invalid")
    parser.add_argument("--max-range", type=float, metavar="M", help="farther depth is out of range")


def make_pipeline(args: argparse.Namespace) -> DepthPipeline:
    """Returns the pipeline that the command line describes."""
    limits = {name: getattr(args, name) for name in ("min_range", "max_range") if getattr(args, name) is not None}
    low, high = limits.get("min_range", 0.0), limits.get("max_range", float("inf"))
    if not 0 <= low < high:
        raise InputError(
            f"--min-range is {low:g} and --max-range {high:g}, expected 0 or more, and the second larger"
        )
    if not 0 <= args.network_pixels <= MAX_NETWORK_PIXELS:
        raise InputError(f"--network-pixels is {args.network_pixels}, expected 0 to {MAX_NETWORK_PIXELS}")
    engine = load_proved(args.model, EngineOptions(backend=args.backend, threads=args.threads))
    return DepthPipeline(engine, network_pixels=args.network_pixels, **limits)


@dataclass
class Progress:
    """Frames done so far and the seconds that each stage took."""

    stamps_ns: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    latency: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0

    def add(self, frame: CameraFrame, latency: dict[str, float]) -> None:
        """Counts a frame."""
        self.stamps_ns[frame.camera_name].append(frame.stamp_ns)
        for stage, seconds in latency.items():
            self.latency[stage].append(seconds)

    @property
    def frames(self) -> int:
        return sum(len(stamps) for stamps in self.stamps_ns.values())

    @property
    def recording_rate_hz(self) -> float:
        """Frames of all cameras per second of the recording; 0 where its stamps do not say."""
        spans = [(max(stamps) - min(stamps)) * 1e-9 for stamps in self.stamps_ns.values()]
        counts = [len(stamps) - 1 for stamps in self.stamps_ns.values()]
        return sum(count / span for count, span in zip(counts, spans, strict=True) if span > 0)

    @property
    def median_ms(self) -> dict[str, float]:
        return {stage: 1e3 * statistics.median(seconds) for stage, seconds in self.latency.items()}


def main(args: argparse.Namespace) -> int:
    """Runs the pipeline over a recording; returns 1 if frames could not be used or the recording is damaged."""
    if args.stride < 1:
        raise InputError(f"--stride is {args.stride}, expected 1 or more")
    pipeline = make_pipeline(args)
    source = open_input(args.input, input_options(args))
    for note in source.notes:
        print(f"note: {note}")
    with output_folder(args.output, overwrite=args.overwrite) as folder:
        progress = process(source, pipeline, folder, cloud=args.cloud, stride=args.stride)
        if not progress.frames:
            raise InputError(f"{args.input}: no image can be used: {'; '.join([*source.damage, *source.skipped])}")
        info = pipeline.engine.info
        summary = {
            "input": str(args.input),
            "model": {
                "name": info.name,
                "version": info.version,
                "sha256": info.sha256,
                "is_metric": info.is_metric,
            },
            "frames": progress.frames,
            "seconds": progress.seconds,
            "recording_rate_hz": progress.recording_rate_hz,
            "median_ms": progress.median_ms,
            "skipped": dict(source.skipped),
            "damage": source.damage,
        }
        write_summary(folder, summary)
    _report(progress, source, args.output)
    return 1 if source.skipped or source.damage else 0


def process(source: FrameSource, pipeline: DepthPipeline, folder: Path, *, cloud: str, stride: int) -> Progress:
    """Writes the depth of every frame into the folder, one camera in itself, several in sub-folders."""
    outputs: dict[str, CameraOutput] = {}
    progress = Progress()
    start = time.perf_counter()
    with (
        BagWriter(folder / "output") as bag,
        tqdm(total=source.length, unit="frame", disable=None) as bar,
    ):
        waited = time.perf_counter()
        for frame in source:
            read = time.perf_counter()
            if not outputs:
                for message in source.static_transforms:
                    bag.write("/tf_static", message, frame.stamp_ns)
            if frame.camera_name not in outputs:
                home = folder / frame.camera_name.replace("/", "_") if len(source.camera_names) > 1 else folder
                outputs[frame.camera_name] = CameraOutput(home, bag, cloud=cloud, stride=stride)
            depth_frame = pipeline([frame.image], [frame.camera])[0]
            inferred = time.perf_counter()
            outputs[frame.camera_name].write(frame, depth_frame)
            written = time.perf_counter()
            progress.add(frame, {"read": read - waited, **depth_frame.latency, "write": written - inferred})
            bar.update()
            waited = time.perf_counter()
    for output in outputs.values():
        output.write_preview()
    progress.seconds = time.perf_counter() - start
    return progress


def _report(progress: Progress, source: FrameSource, output: Path) -> None:
    rate = progress.frames / progress.seconds
    pace = progress.recording_rate_hz
    against = f" ({rate / pace:.1f} times the recording's own {pace:.1f}/s)" if pace > 0 else ""
    stages = ", ".join(f"{stage} {milliseconds:.1f}" for stage, milliseconds in progress.median_ms.items())
    print(f"{output}: {progress.frames} frames in {progress.seconds:.1f} s, {rate:.1f} frames/s{against}")
    print(f"median ms a frame: {stages}")
    for reason, count in source.skipped.items():
        print(f"skipped: {count} x {reason}")
    for sentence in source.damage:
        print(f"incomplete: {sentence}")
