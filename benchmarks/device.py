"""The shipped network in torch, and the device's own floor: what `recon3d bench --gpu` sets beside the engines.

    python -m benchmarks.device --sizes 192x640 384x1280 --batches 1 4 8     (prints JSON)

On a GPU: torch eager and as a CUDA graph, fp32 and fp16. Elsewhere: torch eager. The floor is the time that the
network's operations and bytes need at rates measured here: of a large matrix product, and of a large copy. Bytes
are the weights and each convolution's input and output once, which no fused kernel undercuts by much.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from training.adapt import SHIPPED_WEIGHTS
from training.checkpoints import load_network
from training.export import OneFileModel
from training.models.depth_network import DepthNetwork

WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["192x640"], metavar="HxW")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = load_network(SHIPPED_WEIGHTS).eval().to(device)
    precisions = {"fp32": network}
    if device.type == "cuda":
        precisions["fp16"] = copy.deepcopy(network).half_body()
    rates = {name: measured_rates(device, name) for name in precisions}
    rows, floors = [], []
    for size in args.sizes:
        height, width = map(int, size.split("x"))
        for batch in args.batches:
            shape = {"height": height, "width": width, "batch": batch}
            for name, body in precisions.items():
                for kind, call in contenders(OneFileModel(body), device, height, width, batch).items():
                    rows.append({"engine": f"{kind} {name}", **shape, **timed(call, device, args.rounds)})
                floors.append({"precision": name, **shape, **floor(network, device, shape, name, rates[name])})
    print(json.dumps({"device": device_name(device), "rates": rates, "rows": rows, "floors": floors}))


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, CUDA {torch.version.cuda}"
    return f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"


def contenders(
    model: OneFileModel, device: torch.device, height: int, width: int, batch: int
) -> dict[str, Callable[[], Any]]:
    """Returns calls that take a batch from host memory to host memory, as an engine does."""
    image = torch.randint(0, 255, (batch, height, width, 3), dtype=torch.uint8)
    focal = torch.full((batch,), 400.0)
    if device.type == "cpu":
        return {"torch eager": lambda: run(model, image, focal)[0].numpy()}
    image, focal = image.pin_memory(), focal.pin_memory()

    def eager() -> torch.Tensor:
        return run(model, image.to(device, non_blocking=True), focal.to(device, non_blocking=True))[0].cpu()

    still_image, still_focal = image.to(device), focal.to(device)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # the allocator and cuDNN must have settled before the capture
        for _ in range(WARM_UP):
            run(model, still_image, still_focal)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        depth = run(model, still_image, still_focal)[0]
    host = torch.empty(depth.shape, dtype=depth.dtype, pin_memory=True)

    def replayed() -> torch.Tensor:
        still_image.copy_(image, non_blocking=True)
        still_focal.copy_(focal, non_blocking=True)
        graph.replay()
        host.copy_(depth, non_blocking=True)
        torch.cuda.synchronize()
        return host

    return {"torch eager": eager, "torch CUDA graph": replayed}


@torch.inference_mode()
def run(model: OneFileModel, image: torch.Tensor, focal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    result: tuple[torch.Tensor, torch.Tensor] = model(image, focal)
    return result


def timed(call: Callable[[], Any], device: torch.device, rounds: int) -> dict[str, float]:
    """Returns the median and the 99th percentile of a call, milliseconds."""
    seconds = []
    for number in range(WARM_UP + rounds):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= WARM_UP:
            seconds.append(time.perf_counter() - start)
    median, p99 = np.percentile(np.array(seconds) * 1e3, [50, 99])
    return {"median_ms": float(median), "p99_ms": float(p99)}


def measured_rates(device: torch.device, precision: str) -> dict[str, float]:
    """Returns the operations and bytes a second of a large matrix product and a large copy."""
    dtype = torch.float16 if precision == "fp16" else torch.float32
    side = 8192 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=dtype)
    product = timed(lambda: a @ a, device, 10)["median_ms"] * 1e-3
    size = (1 << 30) if device.type == "cuda" else (1 << 27)
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copying = timed(lambda: target.copy_(source), device, 10)["median_ms"] * 1e-3
    return {"operations_per_second": 2 * side**3 / product, "bytes_per_second": 2 * size / copying}


def floor(
    network: DepthNetwork, device: torch.device, shape: dict[str, int], precision: str, rates: dict[str, float]
) -> dict[str, float]:
    """Returns the operations and bytes of the convolutions, and the milliseconds they need at the rates."""
    counts = {"operations": 0.0, "values": 0.0}

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        weight = module.weight
        counts["operations"] += 2 * output.numel() * weight[0].numel()
        counts["values"] += inputs[0].numel() + output.numel() + weight.numel() / shape["batch"]

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    image = torch.zeros((1, shape["height"], shape["width"], 3), dtype=torch.uint8, device=device)
    run(OneFileModel(network), image, torch.full((1,), 400.0, device=device))
    for hook in hooks:
        hook.remove()
    operations = counts["operations"] * shape["batch"]
    bytes_moved = counts["values"] * shape["batch"] * (2 if precision == "fp16" else 4)
    seconds = max(operations / rates["operations_per_second"], bytes_moved / rates["bytes_per_second"])
    return {"operations": operations, "bytes": bytes_moved, "floor_ms": seconds * 1e3}


if __name__ == "__main__":
    main()
