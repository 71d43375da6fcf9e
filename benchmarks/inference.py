"""Run times side by side: the shipped network in ONNX Runtime, OpenVINO and torch eager, and our own overhead.

    python -m benchmarks.inference [--threads 2] [--rounds 40]

Each round runs every contender once, in turn, so that whatever else the machine does hits all of them alike; the
figures to trust are the ratios of one run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import back_project
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.core.preprocess import RawImage
from recon3d_ros.engines import EngineError, default_model_path, load_engine

CAMERA = CameraModel(1280, 720, 910.0, 910.0, 652.0, 348.0, "plumb_bob", (-0.25, 0.08, 0.001, -0.001, 0.0))
SIZE_720P = (CAMERA.height, CAMERA.width, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each run time")
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    engine_medians = compare_engines(args.threads, args.rounds)
    print_table("one frame", engine_medians, reference="torch eager")
    print_table("one 1280x720 frame", compare_overhead(args.threads, args.rounds), reference="network alone")


def compare_engines(threads: int, rounds: int) -> dict[str, float]:
    """Returns the median seconds of one inference of the same network in each run time that is installed."""
    engine = load_engine(threads=threads)
    images = np.random.default_rng(0).integers(0, 255, (1, engine.info.height, engine.info.width, 3), np.uint8)
    focals = np.array([400.0], np.float32)
    contenders: dict[str, Callable[[], object]] = {}
    try:
        import torch

        from training.models.depth_network import DepthNetwork, DepthNetworkConfig
        from training.torch_engine import TorchEngine

        torch.set_num_threads(threads)
        # Speed does not depend on the weights: the shipped architecture with fresh ones.
        network = DepthNetwork(DepthNetworkConfig())
        eager = TorchEngine(network, height=engine.info.height, width=engine.info.width)
        contenders["torch eager"] = lambda: eager.infer(images, focals)
    except ImportError as error:
        print(f"torch eager left out: {error}")
    contenders["ONNX Runtime"] = lambda: engine.infer(images, focals)
    try:
        openvino = load_engine(default_model_path(), "openvino", threads)
        contenders["OpenVINO"] = lambda: openvino.infer(images, focals)
    except EngineError as error:
        print(f"OpenVINO left out: {error}")
    return medians(contenders, rounds)


def compare_overhead(threads: int, rounds: int) -> dict[str, float]:
    """Returns the median seconds of the network, and of all that we add to it, for a distorted 720p image."""
    engine = load_engine(threads=threads)
    pipeline = DepthPipeline(engine, min_range=0.5, max_range=80.0)
    image = RawImage(np.random.default_rng(0).integers(0, 255, SIZE_720P, np.uint8), "bgr")
    rectifier = pipeline.rectifier(CAMERA)
    batch = rectifier(image)[None]
    focals = np.array([rectifier.camera.fx], np.float32)
    rays = rectifier.camera.rays()
    contenders: dict[str, Callable[[], object]] = {
        "network alone": lambda: engine.infer(batch, focals),
        "image to depth and points": lambda: back_project(pipeline([image], [CAMERA])[0].depth, rays),
    }
    try:
        contenders["message to messages"] = message_path(pipeline)
    except ImportError as error:
        print(f"message to messages left out: {error}")
    return medians(contenders, rounds)


def message_path(pipeline: DepthPipeline) -> Callable[[], object]:
    """Returns the node's whole way of a frame: an Image message in, depth, CameraInfo and an xyzrgb cloud out."""
    from sensor_msgs.msg import Image

    from recon3d_ros.ros import messages

    message = Image(height=CAMERA.height, width=CAMERA.width, encoding="bgr8", step=CAMERA.width * 3)
    message.data = np.random.default_rng(0).integers(0, 255, SIZE_720P, np.uint8).tobytes()
    rays = pipeline.rectifier(CAMERA).camera.rays()

    def run() -> object:
        frame = pipeline([messages.image_from_msg(message)], [CAMERA])[0]
        return (
            messages.depth_to_msg(frame.depth, message.header, "32FC1"),
            messages.camera_to_msg(frame.camera, message.header),
            messages.points_to_msg(back_project(frame.depth, rays), message.header, frame.image),
        )

    return run


def medians(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Returns the median seconds of each contender over interleaved rounds, after three to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(rounds + 3):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if round_number >= 3:
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def print_table(what: str, seconds: dict[str, float], *, reference: str) -> None:
    """Prints milliseconds and the ratio to the reference."""
    base = seconds.get(reference, float("nan"))
    print(f"\n| {what} | median ms | time / {reference} |\n|---|---:|---:|")
    for name, value in seconds.items():
        print(f"| {name} | {value * 1e3:.1f} | {value / base:.3f} |")


if __name__ == "__main__":
    main()
