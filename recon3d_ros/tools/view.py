"""recon3d view: image, depth, cloud, scale and timing on one time line, in rerun's viewer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recon3d_ros.core.mounting import Mounting
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.core.scale import GroundScale, ModelScale, Scale, apply
from recon3d_ros.core.shown_frame import ShownFrame
from recon3d_ros.tools.inputs import FrameSource, InputError, add_input_arguments, input_options, open_input
from recon3d_ros.tools.run import add_pipeline_arguments, make_pipeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `recon3d view`."""
    parser.add_argument("input", type=Path, nargs="?", metavar="BAG|VIDEO|IMAGES")
    parser.add_argument(
        "--live",
        nargs="+",
        metavar="CAMERA",
        help="show what a running node publishes of these cameras, until Ctrl-C",
    )
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
    """Shows a recording or a running node; returns 1 if frames could not be used or the recording is damaged."""
    if args.stride < 1:
        raise InputError(f"--stride is {args.stride}, expected 1 or more")
    if (args.input is None) == (args.live is None):
        raise InputError("give either a recording or --live and the cameras of a running node")
    return show_node(args) if args.live else show_recording(args)


def show_recording(args: argparse.Namespace) -> int:
    """Shows the frames of a bag, a video or a folder of images."""
    from recon3d_ros.tools.view_log import recording

    mounting = None if args.camera_height is None else Mounting.level(args.camera_height)
    pipeline = make_pipeline(args)
    source = open_input(args.input, input_options(args))
    for note in source.notes:
        print(f"note: {note}")
    with recording(args.input.name, source.camera_names, args.output) as sink:
        frames = tqdm(
            islice(shown_frames(source, pipeline, mounting), args.frames),
            total=args.frames or source.length,
            unit="frame",
            disable=None,
        )
        count = show(frames, sink, args)
        if not count:
            raise InputError(f"{args.input}: no image can be used: {'; '.join([*source.damage, *source.skipped])}")
    for reason, skipped in source.skipped.items():
        print(f"skipped: {skipped} x {reason}", file=sys.stderr)
    for sentence in source.damage:
        print(f"incomplete: {sentence}", file=sys.stderr)
    return 1 if source.skipped or source.damage else 0


def show_node(args: argparse.Namespace) -> int:
    """Shows what a running node publishes, until Ctrl-C or the last of --frames."""
    from recon3d_ros.ros.node_process import use_ros_environment
    from recon3d_ros.tools.view_log import recording

    use_ros_environment()
    from recon3d_ros.ros.live_frames import LiveFrames

    cameras = [camera.strip("/") for camera in args.live]
    print(f"waiting for a node's frames of {', '.join(cameras)}; Ctrl-C ends")
    with (
        recording("live", cameras, args.output) as sink,
        LiveFrames(cameras) as frames,
        suppress(KeyboardInterrupt),
    ):
        show(islice(frames, args.frames), sink, args)
    return 0


def show(frames: Iterable[ShownFrame], sink: Any, args: argparse.Namespace) -> int:
    """Writes frames into a recording as they come, says where it is, and returns how many there were."""
    from recon3d_ros.tools.view_log import ViewLog

    log = ViewLog(sink, stride=args.stride)
    count = 0
    for frame in frames:
        log.add(frame)
        count += 1
    if args.output and count:
        print(f"{args.output}: {count} frames; open it with 'rerun {args.output}', with --web-viewer in a browser")
    return count


def shown_frames(source: FrameSource, pipeline: DepthPipeline, mounting: Mounting | None) -> Iterator[ShownFrame]:
    """Yields what is shown of each image of a recording.

    Args:
        source: of the images.
        pipeline: with the network.
        mounting: of the cameras, for the scale from the road; None for the network's own.
    """
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
