"""recon3d mesh: depth with poses, or a drive through the network, fused into a mesh."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recon3d_ros.core.fusion import Volume
from recon3d_ros.core.fusion_mesh import MIN_TRIANGLES, extract_mesh, make_solid
from recon3d_ros.core.fusion_plan import RANGE_IN_MEDIAN_DEPTHS, make_plan, median_depth, suggest_voxel
from recon3d_ros.core.fusion_settings import FusionError, FusionSettings, PosedDepth
from recon3d_ros.core.mesh import Edges, Mesh, count_edges
from recon3d_ros.core.mesh_files import UNITS, check_suffix, write_mesh
from recon3d_ros.core.poses import check_units, up_axis
from recon3d_ros.tools.inputs import InputError, add_input_arguments, input_options
from recon3d_ros.tools.point_files import write_ply
from recon3d_ros.tools.posed_input import PosedOptions, PosedSource, Reading, open_posed
from recon3d_ros.tools.posed_network import NETWORK_RANGE, SCALES
from recon3d_ros.tools.run import add_pipeline_arguments, make_pipeline

SAMPLES = 16  # frames that are looked at before the start
NETWORK_LEVELS = 4  # steps of confidence where the network says how sure it is


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `recon3d mesh`."""
    parser.add_argument("input", type=Path, metavar="FOLDER|BAG", help="depth or images, with poses")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help=f"the mesh: {', '.join(UNITS)}"
    )
    parser.add_argument("--cloud", type=Path, metavar="FILE.ply", help="write the cleaned point cloud there too")
    fusion = parser.add_argument_group("fusion")
    fusion.add_argument("--voxel", type=float, metavar="M", help="default: a hundredth of the median depth")
    fusion.add_argument(
        "--max-depth",
        type=float,
        metavar="M",
        help=f"farther depth is left out (default: {RANGE_IN_MEDIAN_DEPTHS:g} times the median depth; of the "
        f"network {NETWORK_RANGE:g} m at most)",
    )
    defaults = {field.name: field.default for field in dataclasses.fields(FusionSettings)}
    fusion.add_argument(
        "--truncation",
        type=float,
        default=defaults["truncation_voxels"],
        metavar="VOXELS",
        help="several times the depth's error (default: %(default)g)",
    )
    fusion.add_argument(
        "--confidence-levels",
        type=int,
        metavar="N",
        help=f"steps in which the network's confidence weighs (default: {NETWORK_LEVELS} where it has one)",
    )
    fusion.add_argument(
        "--min-views", type=float, default=3, metavar="N", help="what is seen less often is left out (default: 3)"
    )
    fusion.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")
    fusion.add_argument(
        "--memory", type=float, default=defaults["memory_mb"], metavar="MB", help="limit (default: %(default)g)"
    )
    shape = parser.add_argument_group("mesh")
    shape.add_argument(
        "--min-triangles", type=int, default=MIN_TRIANGLES, metavar="N", help="of a part (default: %(default)s)"
    )
    shape.add_argument("--parts", type=int, metavar="N", help="keep only the N largest parts")
    shape.add_argument("--fill-holes", type=float, default=0.0, metavar="M", help="close holes up to this radius")
    shape.add_argument(
        "--solid",
        action=argparse.BooleanOptionalAction,
        help="a closed body behind the surface (default: for an .stl whose surface is not closed)",
    )
    shape.add_argument("--watertight", action="store_true", help="fail where the mesh is not closed")
    source = parser.add_argument_group("input")
    add_input_arguments(parser)
    source.add_argument("--poses", type=Path, metavar="FILE", help="instead of the folder's poses.txt")
    source.add_argument("--depth-topic", default="", metavar="TOPIC", help="of a bag")
    source.add_argument("--color-topic", default="", metavar="TOPIC", help="of a bag: images of the depth's view")
    source.add_argument("--image-topic", action="append", metavar="TOPIC", help="of a bag, for the network")
    source.add_argument("--rectified", action="store_true", help="the images have no lens distortion any more")
    source.add_argument("--depth-scale", type=float, metavar="M", help="metres a unit of recorded depth")
    source.add_argument("--pose-scale", type=float, default=1.0, metavar="M", help="metres a unit of the poses")
    network = parser.add_argument_group("network")
    network.add_argument("--infer", action="store_true", help="the network's depth even where depth is recorded")
    network.add_argument("--scale", choices=SCALES, default="model", help="ground: by the camera's height")
    network.add_argument("--camera-height", type=float, metavar="M", help="above the road")
    add_pipeline_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Fuses and writes; returns 1 if frames were lost, or a mesh for printing is not closed."""
    suffix = check_suffix(args.output)
    source = open_posed(args.input, _options(args))
    settings, blocks, up = _plan(source, args)
    reading = Reading()
    volume = Volume(settings, expected_blocks=blocks)
    frames, seconds = _fuse(volume, source, reading)
    if not frames:
        raise _nothing_usable(args, reading)
    print(
        f"{frames} frames in {seconds:.1f} s, {frames / seconds:.1f} frames/s; {volume.memory_bytes / 1e6:.0f} MB"
    )
    mesh, edges = _mesh(volume, args, suffix)
    if args.watertight and not edges.is_watertight:
        raise FusionError(f"{_not_closed(edges)}; not written; try --fill-holes M, --parts 1 or --solid")
    write_mesh(args.output, mesh, up=up)
    size = " x ".join(f"{length:.2f}" for length in mesh.size)
    closed = "closed" if edges.is_watertight else f"{edges.free} free edges"
    print(
        f"{args.output}: {len(mesh.triangles)} triangles, {len(mesh.vertices)} vertices, {size} m, {closed}; "
        f"unit {UNITS[suffix]}"
    )
    if args.cloud is not None:
        colors = np.full(mesh.vertices.shape, 255, np.uint8) if mesh.colors is None else mesh.colors
        write_ply(args.cloud, mesh.vertices, colors, comment="points of the fused surface, metres, world frame")
        print(f"{args.cloud}: {len(mesh.vertices)} points")
    is_unprintable = suffix == ".stl" and not edges.is_watertight
    if is_unprintable:
        print(
            f"warning: {_not_closed(edges)}; a slicer may refuse it: try --fill-holes M or --solid",
            file=sys.stderr,
        )
    for reason, count in reading.skipped.items():
        print(f"skipped: {count} x {reason}", file=sys.stderr)
    for sentence in reading.damage:
        print(f"incomplete: {sentence}", file=sys.stderr)
    return 1 if reading.skipped or reading.damage or is_unprintable else 0


def _options(args: argparse.Namespace) -> PosedOptions:
    return PosedOptions(
        input=input_options(args),
        pipeline=partial(make_pipeline, args),
        infer=args.infer,
        depth_scale=args.depth_scale,
        pose_scale=args.pose_scale,
        scale=args.scale,
        camera_height=args.camera_height,
        poses=args.poses,
        depth_topic=args.depth_topic,
        color_topic=args.color_topic,
    )


def _plan(source: PosedSource, args: argparse.Namespace) -> tuple[FusionSettings, int, tuple[int, int]]:
    """Looks at a few frames and says what will be done; returns settings, blocks, and the axis that is up."""
    print(source.description)
    for note in source.notes:
        print(f"note: {note}")
    reading = Reading()
    rows = np.unique(np.linspace(0, source.length - 1, min(SAMPLES, source.length)).round().astype(int))
    samples: list[PosedDepth] = list(source.read(reading, set(rows.tolist())))
    if not samples:
        raise _nothing_usable(args, reading)
    poses = np.stack([frame.T_world_camera for frame in samples])
    depth = median_depth(samples)
    check_units(poses, depth, frames_apart=max(1.0, (source.length - 1) / max(len(samples) - 1, 1)))
    usual_range = min(RANGE_IN_MEDIAN_DEPTHS * depth, source.usual_range)
    levels = args.confidence_levels or (NETWORK_LEVELS if source.has_confidence else 1)
    settings = FusionSettings(
        voxel=suggest_voxel(depth) if args.voxel is None else args.voxel,
        max_depth=usual_range if args.max_depth is None else args.max_depth,
        truncation_voxels=args.truncation,
        confidence_levels=levels,
        memory_mb=args.memory,
        device=args.device,
    )
    plan = make_plan(samples, frames=source.length, settings=settings)
    up = up_axis(poses)
    sign = "-" if up[1] < 0 else "+"
    print(
        f"voxel {settings.voxel:g} m, depth up to {settings.max_depth:.1f} m, band {settings.truncation:g} m; "
        f"up {sign}{'xyz'[up[0]]}; about {plan.memory_bytes / 1e6:.0f} MB, at most {settings.memory_mb:.0f}, on "
        f"{settings.device}"
    )
    return settings, plan.blocks, up


def _fuse(volume: Volume, source: PosedSource, reading: Reading) -> tuple[int, float]:
    """Adds all frames; returns how many there were, and the seconds that this took, reading included."""
    start = time.perf_counter()
    count = 0
    with tqdm(total=source.length, unit="frame", disable=None) as bar:
        for frame in source.read(reading):
            volume.add(frame)
            count += 1
            bar.update()
    return count, time.perf_counter() - start


def _mesh(volume: Volume, args: argparse.Namespace, suffix: str) -> tuple[Mesh, Edges]:
    extract = partial(extract_mesh, volume, min_triangles=args.min_triangles, parts=args.parts)
    if not args.solid:
        mesh = extract(min_views=args.min_views, fill_holes=args.fill_holes)
        edges = count_edges(mesh.triangles)
        if args.solid is False or suffix != ".stl" or edges.is_watertight:
            return mesh, edges
        print(
            f"the surface has {edges.free} free edges: written as a solid, {volume.settings.truncation:g} m thick "
            "behind it (--no-solid: as it is)"
        )
    make_solid(volume, min_views=args.min_views)
    mesh = extract(min_views=args.min_views)
    return mesh, count_edges(mesh.triangles)


def _nothing_usable(args: argparse.Namespace, reading: Reading) -> InputError:
    reasons = "; ".join([*reading.skipped, *reading.damage])
    return InputError(f"{args.input}: no frame can be used: {reasons}")


def _not_closed(edges: Edges) -> str:
    return (
        f"the mesh is not closed: {edges.free} free edges, {edges.shared} shared by more than two triangles, "
        f"{edges.reversed} between triangles that face opposite ways"
    )
