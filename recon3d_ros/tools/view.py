"""recon3d view: image, depth, cloud, scale and timing of a recording on one time line, in rerun's viewer."""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from recon3d_ros.core.mounting import Mounting
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.core.scale import GroundScale, ModelScale, Scale, apply
from recon3d_ros.tools.inputs import FrameSource, InputError, add_input_arguments, input_options, open_input
from recon3d_ros.tools.run import add_pipeline_arguments, make_pipeline

if TYPE_CHECKING:
    from recon3d_ros.tools.view_log import ShownFrame

MAX_DEPTH = 80.0  # metres, the end of the depth's colours


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `recon3d view`."""
    parser.add_argument("input", type=Path, metavar="BAG|VIDEO|IMAGES")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE.rrd", help="write a file for the viewer instead of opening it"
    )
    add_pipeline_arguments(parser)
    add_input_arguments(parser)
    parser.add_argument("--image-topic", action="append", metavar="TOPIC", help="of a bag; one for each camera")
    parser.add_argument("--rectified", action="store_true", help="the images have no lens distortion any more")
    parser.add_argument("--stride", type=int, default=2, metavar="N", help="every n-th pixel becomes a point")
    parser.add_argument(
        "--camera-height",
        type=float,
        metavar="M",
        help="above the road: take the scale from it (default: the model's)",
    )
    parser.add_argument("--frames", type=int, metavar="N", help="stop after so many")


def main(args: argparse.Namespace) -> int:
    """Shows a recording; returns 1 if frames could not be used or the recording is damaged."""
    from recon3d_ros.tools.view_log import ViewLog

    if args.stride < 1:
        raise InputError(f"--stride is {args.stride}, expected 1 or more")
    pipeline = make_pipeline(args)
    source = open_input(args.input, input_options(args))
    for note in source.notes:
        print(f"note: {note}")
    mounting = None if args.camera_height is None else Mounting.level(args.camera_height)
    count = 0
    with recording(args.input.name, source.camera_names, args.output) as sink:
        log = ViewLog(sink, stride=args.stride, max_depth=MAX_DEPTH)
        for frame in tqdm(
            shown_frames(source, pipeline, mounting),
            total=args.frames or source.length,
            unit="frame",
            disable=None,
        ):
            log.add(frame)
            count += 1
            if count == args.frames:
                break
        if not count:
            raise InputError(f"{args.input}: no image can be used: {'; '.join([*source.damage, *source.skipped])}")
    if args.output:
        print(f"{args.output}: {count} frames; open it with 'rerun {args.output}', with --web-viewer in a browser")
    for reason, skipped in source.skipped.items():
        print(f"skipped: {skipped} x {reason}", file=sys.stderr)
    for sentence in source.damage:
        print(f"incomplete: {sentence}", file=sys.stderr)
    return 1 if source.skipped or source.damage else 0


def shown_frames(source: FrameSource, pipeline: DepthPipeline, mounting: Mounting | None) -> Iterator[ShownFrame]:
    """Yields what is shown of each image of a recording.

    Args:
        source: of the images.
        pipeline: with the network.
        mounting: of the cameras, for the scale from the road; None for the network's own.
    """
    from recon3d_ros.tools.view_log import ShownFrame

    scales: dict[str, Scale] = {}
    for raw in source:
        [frame] = pipeline([raw.image], [raw.camera])
        scale = scales.setdefault(raw.camera_name, GroundScale(mounting) if mounting else ModelScale())
        estimate = scale.update(frame, raw.stamp_ns * 1e-9)
        figures = {"scale": estimate.scale}
        if estimate.measured is not None:  # a gap in its line shows where the scale is held
            figures["single_frame"] = estimate.measured
        yield ShownFrame(
            camera_name=raw.camera_name,
            stamp_ns=raw.stamp_ns,
            image=frame.image,
            depth=apply(frame.depth, estimate),
            camera=frame.camera,
            scales=figures,
            latency=frame.latency,
        )


@contextmanager
def recording(name: str, camera_names: list[str], output: Path | None) -> Iterator[Any]:
    """Opens a rerun recording that goes into a file, which appears whole or not at all, or into a new viewer."""
    import rerun as rr

    from recon3d_ros.tools.view_log import layout

    stream = rr.RecordingStream("recon3d_ros", recording_id=name)
    blueprint = layout(camera_names, MAX_DEPTH)
    if output is None:
        stream.connect_grpc(_open_viewer(), default_blueprint=blueprint)
        yield stream
        stream.flush()
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    try:
        stream.save(partial, default_blueprint=blueprint)
        yield stream
        stream.disconnect()
        partial.replace(output)
    finally:
        stream.disconnect()
        partial.unlink(missing_ok=True)


def _open_viewer() -> str:
    """Starts rerun's viewer, which outlives this command, and returns its address; only this host can reach it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "rerun", "--bind", "127.0.0.1", "--port", str(port), "--expect-data-soon"]
    subprocess.Popen(command, start_new_session=True)
    return f"rerun+http://127.0.0.1:{port}/proxy"
