"""Fusion against truth and against Open3D's own dense volume: distances of surfaces, frames a second, memory.

    python -m benchmarks.fusion ball                              a ball of known radius, exact depth
    python -m benchmarks.fusion room ../shared/data/rgbd_room     an RGB-D recording with poses
    python -m benchmarks.fusion drive recon3d_ros/demo_drive      the network's mesh beside that of exact depth
    python -m benchmarks.fusion drive ../shared/data/kitti_poses  the network's mesh and triangulated points
    python -m benchmarks.fusion picture MESH.ply OUT.jpg --eye X Y Z --target X Y Z --up X Y Z

Distances are from points spread evenly over one surface to the nearest point of the other. "complete" is the share
of the true points that have mesh within 0.5 m. Frames a second are of fusion alone: no files, no network.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import open3d as o3d

from benchmarks.triangulated import triangulated_frames
from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.drive import load_drive
from recon3d_ros.core.fusion import Volume
from recon3d_ros.core.fusion_mesh import extract_mesh, make_solid
from recon3d_ros.core.fusion_plan import make_plan
from recon3d_ros.core.fusion_settings import FusionSettings, PosedDepth
from recon3d_ros.core.lidar import transform
from recon3d_ros.core.mesh import Mesh, count_edges
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.core.poses import read_poses
from recon3d_ros.core.preprocess import RawImage
from recon3d_ros.engines import load_engine
from recon3d_ros.tools.inputs import InputOptions
from recon3d_ros.tools.posed_input import PosedOptions, Reading, open_posed

POINTS = 200_000  # spread over each surface
# Range in metres, truncation in voxels of 0.2 m, and levels of confidence: 0 leaves it out.
VARIANTS = ((20.0, 4.0, 0), (20.0, 4.0, 1), (20.0, 4.0, 4), (20.0, 8.0, 4), (12.0, 4.0, 4))
Points = npt.NDArray[np.float32]


def read(folder: Path, **options: Any) -> list[PosedDepth]:
    """Returns all frames of a recording."""
    pipeline = partial(_pipeline, options.pop("threads", 0))
    source = open_posed(folder, PosedOptions(InputOptions(), pipeline, **options))
    return list(source.read(Reading()))


def _pipeline(threads: int) -> DepthPipeline:
    return DepthPipeline(load_engine("", "onnxruntime", threads))


def fuse(frames: Sequence[PosedDepth], settings: FusionSettings) -> tuple[Volume, float]:
    """Returns the volume and frames a second."""
    samples = frames[:: max(1, len(frames) // 16)]
    volume = Volume(settings, expected_blocks=make_plan(samples, frames=len(frames), settings=settings).blocks)
    start = time.perf_counter()
    for frame in frames:
        volume.add(frame)
    return volume, len(frames) / (time.perf_counter() - start)


def fuse_dense(frames: Sequence[PosedDepth], settings: FusionSettings, around: Points) -> tuple[Any, float, float]:
    """Returns the mesh of Open3D's UniformTSDFVolume, frames a second, and megabytes (five float32 a voxel)."""
    low, high = around.min(axis=0) - 0.2, around.max(axis=0) + 0.2
    resolution = int(np.ceil((high - low).max() / settings.voxel))
    volume = o3d.pipelines.integration.UniformTSDFVolume(
        length=resolution * settings.voxel,
        resolution=resolution,
        sdf_trunc=settings.truncation,
        color_type=o3d.pipelines.integration.TSDFVolumeColorType.RGB8,
        origin=low.astype(np.float64),
    )
    seconds = 0.0
    for frame in frames:
        camera = frame.camera
        K = o3d.camera.PinholeCameraIntrinsic(camera.width, camera.height, camera.K)
        depth = np.where(np.isfinite(frame.depth), frame.depth, np.float32(0.0))
        color = np.zeros((*depth.shape, 3), np.uint8) if frame.color is None else np.ascontiguousarray(frame.color)
        start = time.perf_counter()
        image = o3d.geometry.RGBDImage.create_from_color_and_depth(
            o3d.geometry.Image(color),
            o3d.geometry.Image(depth),
            depth_scale=1.0,
            depth_trunc=settings.max_depth,
            convert_rgb_to_intensity=False,
        )
        volume.integrate(image, K, np.linalg.inv(frame.T_world_camera))
        seconds += time.perf_counter() - start
    return volume.extract_triangle_mesh(), len(frames) / seconds, resolution**3 * 20 / 1e6


def legacy(mesh: Mesh) -> Any:
    """Returns a mesh as Open3D's."""
    return o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(mesh.vertices.astype(np.float64)), o3d.utility.Vector3iVector(mesh.triangles)
    )


def spread(mesh: Any) -> Points:
    """Returns (POINTS, 3) points spread evenly over a mesh, the same ones each time."""
    o3d.utility.random.seed(0)
    return np.asarray(mesh.sample_points_uniformly(POINTS).points, dtype=np.float32)


def distances(points: Points, mesh: Any) -> npt.NDArray[np.float32]:
    """Returns each point's distance to a mesh, metres."""
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(mesh))
    return np.asarray(scene.compute_distance(o3d.core.Tensor(points)).numpy(), dtype=np.float32)


def summary(values: npt.NDArray[np.float32], unit: str = "mm") -> str:
    """Returns the median and the 95th percentile in "mm" or "m"."""
    scale, digits = (1000, 1) if unit == "mm" else (1, 2)
    return " | ".join(f"{scale * np.percentile(values, part):.{digits}f}" for part in (50, 95))


def ball() -> None:
    """A ball of 0.4 m radius from 60 views 1.5 m away."""
    camera = CameraModel(640, 480, 585.0, 585.0, 319.5, 239.5)
    rays = camera.rays().astype(np.float64)
    frames = []
    for row in np.arange(60) + 0.5:
        polar, turn = np.arccos(1 - row / 30), np.pi * (1 + 5**0.5) * row
        forward = -np.array([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)])
        right = np.cross(forward, [0, 0, 1]) / np.linalg.norm(np.cross(forward, [0, 0, 1]))
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = np.stack([right, np.cross(forward, right), forward], axis=1), -1.5 * forward
        a, b, c = (rays**2).sum(-1), rays @ np.array([0, 0, 1.5]), 1.5**2 - 0.4**2
        with np.errstate(invalid="ignore"):
            depth = (b - np.sqrt(b**2 - a * c)) / a
        frames.append(PosedDepth(depth.astype(np.float32), camera, pose))
    print("| voxel mm | median mm | p95 mm | volume error % | free edges | frames/s | MB |")
    print("|---" * 7 + "|")
    for voxel in (0.02, 0.01, 0.005):
        volume, rate = fuse(frames, FusionSettings(voxel=voxel, max_depth=3.0))
        mesh = extract_mesh(volume)
        error = np.abs(np.linalg.norm(spread(legacy(mesh)), axis=1) - 0.4)
        corners = mesh.vertices[mesh.triangles].astype(np.float64)
        size = np.linalg.det(corners).sum() / 6  # of the tetrahedra between the triangles and the origin
        true_size = 4 / 3 * np.pi * 0.4**3
        print(
            f"| {1000 * voxel:g} | {summary(error)} | {100 * (size / true_size - 1):+.2f} | "
            f"{count_edges(mesh.triangles).free} | {rate:.0f} | {volume.blocks * 10240 / 1e6:.1f} |"
        )


def room(folder: Path) -> None:
    """The recorded depth and poses of a room, ours beside Open3D's dense volume."""
    frames = read(folder)
    print("| voxel mm | ours to Open3D: median mm | p95 mm | Open3D to ours: median mm | p95 mm | "
          "ours frames/s | MB | Open3D frames/s | MB |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for voxel in (0.04, 0.02):
        settings = FusionSettings(voxel=voxel, max_depth=5.0)
        volume, rate = fuse(frames, settings)
        ours = legacy(extract_mesh(volume, min_views=1, min_triangles=1))
        dense, dense_rate, dense_mb = fuse_dense(frames, settings, np.asarray(ours.vertices, dtype=np.float32))
        print(
            f"| {1000 * voxel:g} | {summary(distances(spread(ours), dense))} | "
            f"{summary(distances(spread(dense), ours))} | {rate:.1f} | {volume.blocks * 10240 / 1e6:.0f} | "
            f"{dense_rate:.1f} | {dense_mb:.0f} |"
        )
    make_solid(volume)
    solid = extract_mesh(volume)
    print(f"\nsolid at 20 mm: {len(solid.triangles)} triangles, {count_edges(solid.triangles)}")
    truth = legacy(extract_mesh(fuse(frames, settings)[0]))
    network = legacy(extract_mesh(fuse(list(network_depth(frames)), replace(settings, voxel=0.04))[0]))
    away = summary(distances(spread(network), truth), "m")
    print(
        f"network's depth, scaled by each frame's median to the recorded one: to its mesh, median | p95 m: {away}"
    )


def network_depth(frames: Sequence[PosedDepth]) -> Iterator[PosedDepth]:
    """Yields the frames with the network's depth, scaled so that its median is that of the recorded depth."""
    pipeline = _pipeline(1)
    for frame in frames:
        seen = pipeline([RawImage(frame.color, "rgb")], [frame.camera])[0]
        # The recorded depth at the network's pixels.
        columns = (seen.camera.rays()[..., 0] * frame.camera.fx + frame.camera.cx).astype(np.float32)
        rows = (seen.camera.rays()[..., 1] * frame.camera.fy + frame.camera.cy).astype(np.float32)
        recorded = cv2.remap(np.nan_to_num(frame.depth), columns, rows, cv2.INTER_NEAREST)
        known = (recorded > 0) & np.isfinite(seen.depth)
        depth = seen.depth * np.float32(np.median(recorded[known]) / np.median(seen.depth[known]))
        yield replace(frame, depth=depth, camera=seen.camera, color=seen.image, confidence=seen.confidence)


def drive(folder: Path, threads: int) -> None:
    """The network's mesh of a drive beside the mesh of its exact depth, or else beside triangulated points."""
    truth = None
    if (folder / "depth").is_dir():
        truth = legacy(extract_mesh(fuse(read(folder), FusionSettings(voxel=0.1, max_depth=20.0))[0]))
        true_points = spread(truth)
    else:
        true_points = triangulated(folder, max_depth=20.0)
        print(f"{len(true_points)} triangulated points up to 20 m\n")
    print("| scale | range m | truncation m | confidence | mesh to truth: median m | p95 m | "
          "truth to mesh: median m | p95 m | complete % | frames/s |\n" + "|---" * 10 + "|")  # fmt: skip
    for scale in ("model", "ground"):
        frames = read(folder, infer=True, scale=scale, threads=threads)
        plain = [replace(frame, confidence=None) for frame in frames]
        for max_depth, truncation, levels in VARIANTS:
            settings = FusionSettings(0.2, max_depth, truncation, max(levels, 1))
            volume, rate = fuse(frames if levels else plain, settings)
            mesh = legacy(extract_mesh(volume))
            away = "- | -" if truth is None else summary(distances(spread(mesh), truth), "m")
            near = distances(true_points, mesh)
            used = {0: "not used", 1: "below 0.5 dropped"}.get(levels, f"weighs, {levels} steps")
            print(
                f"| {scale} | {max_depth:g} | {settings.truncation:g} | {used} | {away} | {summary(near, 'm')} | "
                f"{100 * np.mean(near < 0.5):.0f} | {rate:.0f} |"
            )


def triangulated(folder: Path, max_depth: float) -> Points:
    """Returns the (N, 3) points triangulated from a drive's images and poses, metres, world frame."""
    recording = load_drive(folder)
    poses = {
        path.stem: pose for path, pose in zip(recording.images, read_poses(folder / "poses.txt"), strict=True)
    }
    points = []
    for frame in triangulated_frames(recording, None):
        near = frame.points[frame.points[:, 2] < max_depth]
        points.append(transform(near, poses[frame.name]))
    return np.concatenate(points).astype(np.float32)


def picture(args: argparse.Namespace) -> None:
    """Draws a mesh in its colours, shaded by the light at the eye."""
    mesh = o3d.t.io.read_triangle_mesh(str(args.mesh))
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(mesh)
    width, height = args.size
    down = [-x for x in args.up]  # Open3D's up points down the picture (seen in 0.20)
    rays = scene.create_rays_pinhole(
        fov_deg=args.fov,
        center=args.target,
        eye=args.eye,
        up=down,
        width_px=width,
        height_px=height,
    )
    hits = scene.cast_rays(rays)
    seen = np.isfinite(hits["t_hit"].numpy())
    directions = rays.numpy()[..., 3:]
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    light = 0.35 + 0.65 * np.abs((hits["primitive_normals"].numpy() * directions).sum(-1))
    corners = mesh.triangle.indices.numpy()[hits["primitive_ids"].numpy()[seen].astype(int)]
    uv = hits["primitive_uvs"].numpy()[seen]
    weights = np.concatenate([1 - uv.sum(1, keepdims=True), uv], axis=1)
    colors = mesh.vertex.colors.numpy() if "colors" in mesh.vertex else np.full(mesh.vertex.positions.shape, 0.7)
    image = np.full((height, width, 3), 255.0)
    image[seen] = 255 * (colors[corners] * weights[..., None]).sum(1) * light[seen][:, None]
    cv2.imwrite(str(args.output), image.clip(0, 255).astype(np.uint8)[..., ::-1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("ball")
    parts.add_parser("room").add_argument("folder", type=Path)
    drive_parser = parts.add_parser("drive")
    drive_parser.add_argument("folder", type=Path)
    drive_parser.add_argument("--threads", type=int, default=1)
    drawing = parts.add_parser("picture")
    drawing.add_argument("mesh", type=Path)
    drawing.add_argument("output", type=Path)
    for name in ("--eye", "--target", "--up"):
        drawing.add_argument(name, type=float, nargs=3, required=True)
    drawing.add_argument("--size", type=int, nargs=2, default=(1200, 700))
    drawing.add_argument("--fov", type=float, default=60.0)
    args = parser.parse_args(arguments)
    if args.part == "ball":
        ball()
    elif args.part == "room":
        room(args.folder)
    elif args.part == "drive":
        drive(args.folder, args.threads)
    else:
        picture(args)


if __name__ == "__main__":
    main()
