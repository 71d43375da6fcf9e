"""What float16 and int8 cost in accuracy: one checkpoint exported three times, judged on the same frames.

    python -m benchmarks.precision RUN/last.pt --shards .training/rendered_val --calibration .training/rendered

All run in ONNX Runtime. The int8 ranges come from other frames than those judged. Times are of one interleaved
run: trust their ratios.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.inference import medians
from recon3d_ros.core.evaluation import frame_score, mean_score
from recon3d_ros.core.metrics import WHOLE_RANGE, range_name
from recon3d_ros.engines import Engine, load_engine
from training.checkpoints import load_network
from training.datasets import ShardFrames
from training.export import MAX_DIFFERENCE, calibration_frames, export


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--shards", type=Path, required=True, help="folder of rendered shards to judge on")
    parser.add_argument("--calibration", type=Path, required=True, help="folder of other shards, for int8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    network = load_network(args.checkpoint)
    calibration = calibration_frames(args.calibration)
    height, width = calibration[0].image.shape[:2]
    frames = ShardFrames([args.shards])
    engines: dict[str, Engine] = {}
    sizes: dict[str, int] = {}
    for precision in MAX_DIFFERENCE:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{precision}.onnx"
            export(
                network,
                path,
                height=height,
                width=width,
                name=precision,
                version="0",
                training_data="none",
                precision=precision,
                calibration=calibration if precision == "int8" else (),
            )
            engines[precision] = load_engine(path, threads=args.threads)
            sizes[precision] = path.stat().st_size
    metrics = {precision: judge(engine, frames) for precision, engine in engines.items()}
    image, focal = frames[0].image[None], np.array([frames[0].camera.fx], np.float32)
    seconds = medians(
        {name: lambda e=engine: e.infer(image, focal) for name, engine in engines.items()}, args.rounds
    )
    print(f"{len(frames)} frames, {width}x{height}, {args.threads} threads")
    print("| precision | MB | abs_rel | drop | delta1 | median ms |\n|---|---:|---:|---:|---:|---:|")
    for name, found in metrics.items():
        drop = found["abs_rel"] - metrics["fp32"]["abs_rel"]
        print(
            f"| {name} | {sizes[name] / 1e6:.1f} | {found['abs_rel']:.4f} | {drop:+.4f} | {found['delta1']:.4f} "
            f"| {seconds[name] * 1e3:.1f} |"
        )


def judge(engine: Engine, frames: ShardFrames) -> dict[str, float]:
    """Returns the metrics from 1 to 80 m, averaged over frames."""
    scores = []
    for index in range(len(frames)):
        frame = frames[index]
        depth = engine.infer(frame.image[None], np.array([frame.camera.fx], np.float32)).depth[0]
        scores.append(frame_score(depth.ravel().astype(np.float64), frame.depth.ravel().astype(np.float64)))
    return mean_score(scores).metric[range_name(WHOLE_RANGE)]


if __name__ == "__main__":
    main()
