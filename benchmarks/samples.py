"""What a training sample costs: CPU time of one process, by source.

    python -m benchmarks.samples .training/pack live live:cpu --samples 80

A source is whatever training.train takes; live:RENDERER renders streets by embree, cpu or cuda (see
TrainConfig.renderer). Rendered samples come in groups that share scenes, so take several dozen.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import cv2
import torch

from training.config import TrainConfig
from training.render.renderers import RENDERERS
from training.stream import MixedSamples, depth_source

BATCH = 20  # as a loading process draws them: views of a scene together


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sources", nargs="+", metavar="SOURCE")
    parser.add_argument("--samples", type=int, default=80)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    print("| source | CPU ms a sample | samples/s on a core of its own |\n|---|---:|---:|")
    for text in args.sources:
        seconds = seconds_a_sample(text, samples=args.samples, seed=args.seed)
        print(f"| {text} | {1e3 * seconds:.1f} | {1 / seconds:.1f} |", flush=True)


def seconds_a_sample(text: str, *, samples: int, seed: int) -> float:
    """Returns the CPU seconds of a sample of 640x192 after the first two, which compile and open files."""
    name, _, renderer = text.partition(":")
    open_source: Any = partial(depth_source, renderer=renderer) if renderer in RENDERERS else depth_source
    source = open_source(name if renderer in RENDERERS else text, 1)
    stream = MixedSamples([source], width=TrainConfig.width, height=TrainConfig.height, seed=seed)
    stream.__getitems__([0, 1])
    start = time.process_time()
    for first in range(2, samples + 2, BATCH):
        stream.__getitems__(list(range(first, min(first + BATCH, samples + 2))))
    return (time.process_time() - start) / samples


if __name__ == "__main__":
    main()
