"""How fast streets are rendered: frames/s by worker, CPU seconds by stage, and the device path beside them.

    python -m benchmarks.rendering --scenes 3 --workers 1 2

CPU seconds are the steadier figure on a machine that does other work too.
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import pstats
import time
from functools import partial

import torch

from training.render.frames import scene_frames
from training.render.renderers import check_renderer

STAGES = {
    "scene": ("scene.py", "make_scene"),
    "ray caster's tree": ("raycast.py", "__init__"),
    "choice of views": ("views.py", "usable_cameras"),
    "first hits": ("image.py", "_hits"),
    "soft light": ("image.py", "_openness"),
    "shadows and shading": ("image.py", "_shade"),
    "photograph": ("photo.py", "develop"),
}
FIRST_SEED = 77 * 10**6
FRAMES_A_SCENE = 20


def render_scene(number: int, *, width: int, height: int) -> float:
    """Renders one scene; returns the CPU seconds."""
    start = time.process_time()
    for _ in scene_frames(FIRST_SEED + number, FRAMES_A_SCENE, width=width, height=height):
        pass
    return time.process_time() - start


def measure_workers(workers: int, scenes: int, *, width: int, height: int) -> None:
    """Prints frames/s of some workers, each with one scene of warm-up."""
    work = partial(render_scene, width=width, height=height)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(work, range(workers), chunksize=1)
        start = time.monotonic()
        cpu = sum(pool.imap_unordered(work, range(10, 10 + scenes * workers)))
        wall = time.monotonic() - start
    frames = scenes * workers * FRAMES_A_SCENE
    print(
        f"{workers} worker(s): {frames / wall:5.1f} frames/s by the clock, {cpu / frames:.3f} CPU s a frame "
        f"= {workers * frames / cpu:.1f} frames/s on {workers} core(s) of their own"
    )


def measure_stages(scenes: int, *, width: int, height: int) -> None:
    """Prints each stage's share of the CPU time of one worker."""
    render_scene(0, width=width, height=height)
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    for number in range(10, 10 + scenes):
        render_scene(number, width=width, height=height)
    profile.disable()
    entries = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    frames = scenes * FRAMES_A_SCENE
    total = sum(entry[2] for entry in entries.values())
    rest = total
    for stage, (home, function) in STAGES.items():
        seconds = sum(
            entry[3]
            for (file, _, name), entry in entries.items()
            if name == function and file.endswith(f"render/{home}")
        )
        rest -= seconds
        print(f"  {stage:20s} {1000 * seconds / frames:6.1f} ms a frame  {100 * seconds / total:3.0f} %")
    print(f"  {'edges and the rest':20s} {1000 * rest / frames:6.1f} ms a frame  {100 * rest / total:3.0f} %")


def measure_device(name: str, scenes: int, *, width: int, height: int) -> None:
    """Prints frames/s of the rasteriser, shadow map and views included."""
    check_renderer(name)
    list(scene_frames(FIRST_SEED, 1, width=width, height=height, renderer=name))
    start, cpu = time.monotonic(), time.process_time()
    for number in range(10, 10 + scenes):
        list(scene_frames(FIRST_SEED + number, FRAMES_A_SCENE, width=width, height=height, renderer=name))
    frames = scenes * FRAMES_A_SCENE
    wall, cpu = time.monotonic() - start, time.process_time() - cpu
    print(f"device path on {name}: {frames / wall:.1f} frames/s by the clock, {cpu / frames:.3f} CPU s a frame")


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=3, help=f"a worker, of {FRAMES_A_SCENE} frames each")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--device", default="cpu", help="of the device path: cpu or cuda")
    args = parser.parse_args()
    size = {"width": args.width, "height": args.height}
    torch.set_num_threads(1)
    measure_stages(args.scenes, **size)
    for workers in args.workers:
        measure_workers(workers, args.scenes, **size)
    measure_device(args.device, 1, **size)


if __name__ == "__main__":
    main()
