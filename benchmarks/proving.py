"""How far each precision is from float32 on the self-test images, what wrong engines show, the watchdog's cost.

    python -m benchmarks.proving --calibration .training/rendered [--threads 2]

The limits of recon3d_ros.engines.check are set between the two. All runs on the CPU: float16 and int8 are the
exported graphs, bfloat16 is torch's autocast, TF32 is stood in for by weights rounded to its 10 bits of mantissa.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.inference import medians
from recon3d_ros.core.pipeline import Prediction
from recon3d_ros.core.self_test import SelfTest, read_self_test
from recon3d_ros.engines import Engine, default_model_path, load_engine
from recon3d_ros.engines.check import LIMITS, check_engine
from recon3d_ros.engines.watchdog import Watchdog
from training.checkpoints import load_network
from training.export import calibration_frames, export
from training.models.depth_network import DepthNetwork
from training.torch_engine import TorchEngine

COLUMNS = ("mean relative error of depth", "99th percentile of the error", "scale error of the worst image")


class Changed:
    """An engine whose input or run is changed."""

    def __init__(self, engine: Engine, run: Callable[..., Prediction]) -> None:
        self.info = engine.info
        self._run = run

    def infer(self, images: np.ndarray, focals: np.ndarray) -> Prediction:
        return self._run(images, focals)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calibration", type=Path, required=True, help="folder of rendered shards, for int8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    reference = load_engine(threads=args.threads)
    test = read_self_test(default_model_path(), reference.info)
    network = load_network(default_model_path()).eval()
    with tempfile.TemporaryDirectory() as folder:
        engines = contenders(network, reference, Path(folder), args.calibration, args.threads)
    print(
        f"| against ONNX Runtime fp32, {len(test.images)} images | mean | p99 | scale | confidence | passes as |"
    )
    print("|---|---:|---:|---:|---:|---|")
    for name, engine in engines.items():
        print(row(name, engine, reference, test), flush=True)
    share = watchdog_share(reference, test, args.rounds)
    print(f"\nwatchdog: {share:.4f} of the time of one inference")


def contenders(
    network: DepthNetwork, reference: Engine, folder: Path, calibration: Path, threads: int
) -> dict[str, Engine]:
    """Returns right and wrong engines by what they are."""
    height, width = reference.info.height, reference.info.width
    info = {"height": height, "width": width, "version": "0", "training_data": "none"}
    export(network, folder / "fp16.onnx", name="fp16", precision="fp16", **info)
    frames = calibration_frames(calibration)
    export(network, folder / "int8.onnx", name="int8", precision="int8", calibration=frames, **info)
    eager = TorchEngine(network, height=height, width=width)
    rounded = TorchEngine(with_rounded_weights(network), height=height, width=width)

    def in_bfloat16(images: np.ndarray, focals: np.ndarray) -> Prediction:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return eager.infer(images, focals)

    return {
        "OpenVINO fp32": load_engine("", "openvino", threads),
        "weights rounded to TF32": rounded,
        "ONNX Runtime fp16": load_engine(folder / "fp16.onnx", threads=threads),
        "torch autocast bf16": Changed(reference, in_bfloat16),
        "ONNX Runtime int8": load_engine(folder / "int8.onnx", threads=threads),
        "wrong: OpenVINO int8": load_engine(folder / "int8.onnx", "openvino", threads),
        "wrong: red and blue swapped": Changed(
            reference, lambda i, f: reference.infer(np.ascontiguousarray(i[..., ::-1]), f)
        ),
        "wrong: focal length ignored": Changed(reference, lambda i, f: reference.infer(i, np.full_like(f, 400.0))),
        "wrong: image one row down": Changed(reference, lambda i, f: reference.infer(np.roll(i, 1, axis=1), f)),
    }


def with_rounded_weights(network: DepthNetwork) -> DepthNetwork:
    network = copy.deepcopy(network)
    with torch.no_grad():
        for weights in network.parameters():
            bits = weights.view(torch.int32)
            bits.copy_(((bits + 0x1000) >> 13) << 13)
    return network


def row(name: str, engine: Engine, reference: Engine, test: SelfTest) -> str:
    """Returns what was found of an engine, and as which precisions it would pass."""
    reports = {p: check_engine(engine, reference, test.images, test.focals, p, 4) for p in LIMITS}
    found = {check.name: check.found for check in reports["fp32"].checks}
    values = [found[column] for column in (*COLUMNS, "mean difference of confidence")]
    passed = [precision for precision, report in reports.items() if report.is_good]
    return f"| {name} | {' | '.join(f'{value:.2g}' for value in values)} | {', '.join(passed) or 'none'} |"


def watchdog_share(engine: Engine, test: SelfTest, rounds: int) -> float:
    """Returns the watchdog's median time over that of one inference of one image."""
    image, focal = test.images[:1], test.focals[:1]
    depth = engine.infer(image, focal).depth
    watchdog = Watchdog(engine)
    seconds = medians(
        {"infer": lambda: engine.infer(image, focal), "look": lambda: watchdog.look(image, focal, depth)}, rounds
    )
    print(f"\ninfer {seconds['infer'] * 1e3:.2f} ms, watchdog {seconds['look'] * 1e3:.3f} ms (median)")
    return seconds["look"] / seconds["infer"]


if __name__ == "__main__":
    main()
