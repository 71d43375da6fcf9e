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
import torch
from numba import cuda

from training.render.frames import scene_frames
from training.render.stock import NO_FOLDERS, Folders, make_stock

logger = logging.getLogger(__name__)
FRAMES_A_SHARD = 200
FRAMES_A_SCENE = 20


@dataclass(frozen=True)
class ShardPlan:
    """What one data set is made of.

    Attributes:
        out: the folder of the shards.
        width, height: pixels of a frame.
        seed: shards of another seed share no scene with these.
        frames_a_shard: frames in each shard.
        folders: the user's own meshes and pictures, if any.
        device: "cpu" casts rays with Embree, "cuda" rasterises on a GPU.
    """

    out: Path
    width: int
    height: int
    seed: int
    frames_a_shard: int = FRAMES_A_SHARD
    folders: Folders = NO_FOLDERS
    device: str = "cpu"


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
        frames = scene_frames(seed, count, width=W, height=H, folders=plan.folders, device=plan.device)
        for k, frame in enumerate(frames, first):
            images[k], depths[k], K[k] = frame.image, frame.depth, frame.K
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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda needs a GPU and numba-cuda")
    args = parser.parse_args()
    if args.device == "cuda" and not (torch.cuda.is_available() and cuda.is_available()):
        parser.error(
            f"--device cuda: torch finds a GPU: {torch.cuda.is_available()}, numba: {cuda.is_available()}; "
            "both must (pip install 'numba-cuda[cu13]'), or leave it out to render on the CPU"
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folders = Folders(args.meshes, args.textures)
    try:
        make_stock(0, folders)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    plan = ShardPlan(args.out, args.width, args.height, args.seed, args.frames_a_shard, folders, args.device)
    plan.out.mkdir(parents=True, exist_ok=True)
    shards = -(-args.frames // args.frames_a_shard)
    with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
        for done, seconds in enumerate(pool.imap(partial(write_shard, plan), range(shards)), 1):
            rate = args.frames_a_shard / seconds if seconds else 0.0
            logger.info("%d of %d shards, %.2f frames/s in this worker", done, shards, rate)


if __name__ == "__main__":
    main()
