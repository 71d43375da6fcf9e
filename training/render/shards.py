"""Renders a data set: `python -m training.render.shards OUT --frames N`."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from training.render.frames import scene_frames
from training.render.renderers import RENDERERS, check_renderer
from training.render.stock import NO_FOLDERS, Folders, make_stock
from training.render.workers import map_in_workers

logger = logging.getLogger(__name__)
FRAMES_A_SHARD = 200
FRAMES_A_SCENE = 20
# Scenes of shards are numbered below 10**13, so seeds end here.
SEEDS = 100_000
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class ShardPlan:
    """What one data set is made of.

    Attributes:
        out: the folder of the shards.
        width, height: pixels of a frame.
        seed: shards of another seed share no scene with these.
        frames_a_shard: frames in each shard.
        folders: the user's own meshes and pictures, if any.
        renderer: embree, cpu or cuda; see training.render.frames.open_scene.
    """

    out: Path
    width: int
    height: int
    seed: int
    frames_a_shard: int = FRAMES_A_SHARD
    folders: Folders = NO_FOLDERS
    renderer: str = "embree"


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
        count = min(FRAMES_A_SCENE, n - first)
        frames = scene_frames(seed, count, width=W, height=H, folders=plan.folders, renderer=plan.renderer)
        for k, frame in enumerate(frames, first):
            images[k], depths[k], K[k] = frame.image, frame.depth, frame.K
    temporary = plan.out / f".shard_{index:05d}.{os.getpid()}"
    temporary.mkdir(parents=True, exist_ok=True)
    try:
        for name, array in (("images", images), ("depths", depths), ("K", K)):
            with open(temporary / f"{name}.npy", "wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())
        try:
            temporary.rename(final)
        except OSError:
            # Another process has finished the same shard meanwhile.
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return time.monotonic() - start


def remove_partial(out: Path) -> None:
    """Removes what this process has begun to write into the folder of the shards."""
    for partial_shard in out.glob(f".shard_*.{os.getpid()}"):
        shutil.rmtree(partial_shard, ignore_errors=True)


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the command with a sentence where an option cannot be."""
    for name in ("frames", "frames_a_shard", "workers"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: give 1 or more")
    for name in ("width", "height"):
        if getattr(args, name) < SMALLEST_SIDE:
            parser.error(f"--{name} {getattr(args, name)}: give {SMALLEST_SIDE} or more")
    if not 0 <= args.seed < SEEDS:
        parser.error(f"--seed {args.seed}: give 0 to {SEEDS - 1}")
    try:
        check_renderer(args.renderer)
    except ValueError as error:
        parser.error(str(error))


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Render street scenes with exact depth into shards to train on.")
    parser.add_argument("out", type=Path, help="folder of the shards; those already there are kept")
    parser.add_argument(
        "--frames", type=int, default=6000, help="rounded up to whole shards; default: %(default)s"
    )
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--frames-a-shard", type=int, default=FRAMES_A_SHARD)
    parser.add_argument("--meshes", type=Path, help="folder with vehicles/, people/, objects/ of .glb, .obj, ...")
    parser.add_argument("--textures", type=Path, help="folder of pictures for lorries, billboards and walls")
    parser.add_argument(
        "--renderer",
        choices=RENDERERS,
        default="embree",
        help="rays, or triangles on the CPU or a GPU; default: %(default)s",
    )
    args = parser.parse_args()
    _check(parser, args)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folders = Folders(args.meshes, args.textures)
    try:
        make_stock(0, folders)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    plan = ShardPlan(args.out, args.width, args.height, args.seed, args.frames_a_shard, folders, args.renderer)
    shards = -(-args.frames // args.frames_a_shard)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
        rendered = map_in_workers(
            partial(write_shard, plan), range(shards), workers=args.workers, tidy=partial(remove_partial, plan.out)
        )
        for done, seconds in enumerate(rendered, 1):
            rate = args.frames_a_shard / seconds if seconds else 0.0
            logger.info("%d of %d shards, %.2f frames/s in this worker", done, shards, rate)
    except KeyboardInterrupt:
        parser.exit(130, f"stopped; {plan.out} holds whole shards only, the same command goes on\n")
    except BrokenProcessPool:
        parser.exit(1, "a worker was killed, perhaps for lack of memory; try fewer --workers\n")
    except OSError as error:
        parser.exit(1, f"{plan.out}: {error}\n")


if __name__ == "__main__":
    main()
