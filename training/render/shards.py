"""Renders a data set: `python -m training.render.shards OUT --frames N`."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from training.render.image import render
from training.render.photo import develop, random_camera_settings
from training.render.raycast import Caster, Pinhole, cast_depth
from training.render.scene import StreetScene, make_scene
from training.render.stock import NO_FOLDERS, Folders, make_stock
from training.render.views import random_camera

logger = logging.getLogger(__name__)
FRAMES_A_SHARD = 200
FRAMES_A_SCENE = 20
# A view is judged by every eighth pixel before it is rendered.
GLANCE = 8


@dataclass(frozen=True)
class ShardPlan:
    """What one data set is made of.

    Attributes:
        out: the folder of the shards.
        width, height: pixels of a frame.
        seed: shards of another seed share no scene with these.
        frames_a_shard: frames in each shard.
        folders: the user's own meshes and pictures, if any.
    """

    out: Path
    width: int
    height: int
    seed: int
    frames_a_shard: int = FRAMES_A_SHARD
    folders: Folders = NO_FOLDERS


def scene_frames(
    seed: int, count: int, *, width: int, height: int, folders: Folders = NO_FOLDERS
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns frames of one scene: image (H, W, 3) uint8, depth (H, W) float32 metres (inf: sky), K (3, 3)."""
    scene = make_scene(seed, folders=folders)
    caster = Caster(scene.mesh)
    rng = np.random.default_rng([seed, 1])
    frames = []
    for _ in range(count):
        camera = usable_camera(scene, caster, rng, width=width, height=height)
        radiance, depth = render(caster, camera, scene.section, scene.lighting, rng)
        settings = random_camera_settings(rng, wet=scene.lighting.wet > 0)
        frames.append((develop(radiance, rng, camera=settings), depth, camera.K))
    return frames


def usable_camera(
    scene: StreetScene, caster: Caster, rng: np.random.Generator, *, width: int, height: int
) -> Pinhole:
    """Returns a random camera whose view is one that a vehicle could have; the last drawn if none of 12 is."""
    for _ in range(12):
        camera = random_camera(scene, rng, width=width, height=height)
        shrink = np.diag([1 / GLANCE, 1 / GLANCE, 1.0])
        glance = Pinhole(width // GLANCE, height // GLANCE, shrink @ camera.K, camera.T_world_camera)
        if is_usable(cast_depth(caster, glance)):
            break
    return camera


def is_usable(depth: np.ndarray) -> bool:
    """Returns whether a view (H, W) in metres is neither inside a thing nor right before it, nor mostly sky.

    Of the random views 94 % are; 1 % of these have an upper half mostly filled by something nearer than 10 m.
    """
    return bool(
        np.quantile(depth, 0.02) > 1.0
        and np.mean(depth < 3.0) <= 0.35
        and np.median(depth[len(depth) // 2 :]) < 40
        and np.isinf(depth).mean() < 0.45
    )


def write_shard(plan: ShardPlan, index: int) -> float:
    """Renders one shard unless it exists; returns the seconds it took. A reader only ever sees a whole shard."""
    final = plan.out / f"shard_{index:05d}"
    if final.exists():
        return 0.0
    start = time.monotonic()
    cv2.setNumThreads(1)
    n, H, W = plan.frames_a_shard, plan.height, plan.width
    images, depths = np.empty((n, H, W, 3), np.uint8), np.empty((n, H, W), np.float16)
    K = np.empty((n, 3, 3), np.float32)
    for first in range(0, n, FRAMES_A_SCENE):
        seed = (plan.seed * 100_000 + index) * 1_000 + first // FRAMES_A_SCENE
        frames = scene_frames(seed, min(FRAMES_A_SCENE, n - first), width=W, height=H, folders=plan.folders)
        for k, frame in enumerate(frames):
            images[first + k], depths[first + k], K[first + k] = frame
    temporary = plan.out / f".shard_{index:05d}.{os.getpid()}"
    temporary.mkdir(parents=True)
    try:
        for name, array in (("images", images), ("depths", depths), ("K", K)):
            np.save(temporary / f"{name}.npy", array)
        temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return time.monotonic() - start


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Render street scenes with exact depth into shards to train on.")
    parser.add_argument("out", type=Path, help="folder of the shards; those already there are kept")
    parser.add_argument("--frames", type=int, default=6000)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--frames-a-shard", type=int, default=FRAMES_A_SHARD)
    parser.add_argument("--meshes", type=Path, help="folder with vehicles/, people/, objects/ of .glb, .obj, ...")
    parser.add_argument("--textures", type=Path, help="folder of pictures for lorries, billboards and walls")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folders = Folders(args.meshes, args.textures)
    try:
        make_stock(0, folders)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    plan = ShardPlan(args.out, args.width, args.height, args.seed, args.frames_a_shard, folders)
    plan.out.mkdir(parents=True, exist_ok=True)
    shards = -(-args.frames // args.frames_a_shard)
    with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
        for done, seconds in enumerate(pool.imap(partial(write_shard, plan), range(shards)), 1):
            rate = args.frames_a_shard / seconds if seconds else 0.0
            logger.info("%d of %d shards, %.2f frames/s in this worker", done, shards, rate)


if __name__ == "__main__":
    main()
