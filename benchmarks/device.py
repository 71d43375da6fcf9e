"""The shipped network in torch, and the device's own floor: what `recon3d bench --gpu` sets beside the engines.

    python -m benchmarks.device --sizes 192x640 384x1280 --batches 1 4 8     (prints JSON)

On a GPU: torch eager, as a CUDA graph and compiled, in fp32 (torch's own choice: convolutions in TF32), fp16 and
bf16, NCHW or NHWC (channels_last). On a CPU: torch eager in fp32, and compiled with --compile. Beside both ONNX
Runtime on the CPU.

The floor is the time that the network's operations and bytes need at rates measured here: of a large matrix
product, and of a large copy. Bytes are the weights and each convolution's input and output once, which no fused
kernel undercuts by much.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.contenders import DTYPES, WARM_UP, Call, Contender, contenders, make_call
from recon3d_ros.engines import EngineError, default_model_path
from training.checkpoints import load_network
from training.models.depth_network import DepthNetwork

Size = tuple[int, int]  # height, width


def measure(
    sizes: Sequence[Size],
    batches: Sequence[int],
    rounds: int,
    threads: int = 0,
    device: str = "",
    *,
    seconds: float = math.inf,
    with_onnxruntime: bool = True,
    compiled: bool | None = None,
    on_row: Callable[[dict[str, Any]], None] = lambda found: None,
) -> dict[str, Any]:
    """Returns the latencies of the shipped network, and the floor of the device.

    Args:
        sizes: Height and width of the images, multiples of 32.
        batches: Images a call.
        rounds: Calls that are timed.
        threads: CPU threads; 0: the run time chooses.
        device: cpu or cuda; "" takes the GPU where there is one.
        seconds: No contender begins after this time.
        with_onnxruntime: Measure ONNX Runtime on the CPU too.
        compiled: Measure torch.compile too, half a minute or more for each size, batch and precision; None: on a
            GPU only.
        on_row: Called with what was found so far, after each contender.

    Returns:
        "device": its name; "rates" by precision; "rows": engine, height, width, batch, median_ms, p99_ms;
        "compile_seconds": engine, height, width, batch, seconds until the first result; "floors"; "absent": why a
        contender has no row, by name.
    """
    start = time.monotonic()
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    threads_before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        ways = contenders(
            chosen,
            with_onnxruntime=with_onnxruntime,
            compiled=chosen.type == "cuda" if compiled is None else compiled,
        )
        return _measure(ways, sizes, batches, rounds, threads, chosen, start + seconds, on_row)
    finally:
        torch.set_num_threads(threads_before)


def _measure(
    ways: Sequence[Contender],
    sizes: Sequence[Size],
    batches: Sequence[int],
    rounds: int,
    threads: int,
    device: torch.device,
    end: float,
    on_row: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    network = load_network(default_model_path()).eval().to(device)
    shapes = [{"height": height, "width": width, "batch": batch} for height, width in sizes for batch in batches]
    found: dict[str, Any] = {"device": device_name(device), "rates": {}, "rows": [], "compile_seconds": []}
    found |= {"floors": [], "absent": {}}
    for precision in DTYPES if device.type == "cuda" else ("fp32",):
        found["rates"][precision] = rates = measured_rates(device, DTYPES[precision])
        found["floors"] += [
            {"precision": precision, **shape, **floor(network, device, shape, DTYPES[precision], rates)}
            for shape in shapes
        ]
    for contender, shape in _jobs(ways, shapes):
        row = {"engine": contender.name, **shape}
        if time.monotonic() > end:
            found["absent"][_label(row)] = "no time was left for it"
            continue
        try:
            begun = time.monotonic()
            call = make_call(network, contender, device, threads=threads, **shape)
            call()
            if contender.kind == "compiled":
                found["compile_seconds"].append({**row, "seconds": time.monotonic() - begun})
            found["rows"].append({**row, **timed(call, device, rounds)})
        except (EngineError, RuntimeError, MemoryError) as error:  # no memory or compiler is a RuntimeError
            found["absent"][_label(row)] = (str(error).strip().splitlines() or [type(error).__name__])[0]
        on_row(found)
    return found


def _jobs(
    ways: Sequence[Contender], shapes: Sequence[dict[str, int]]
) -> Iterator[tuple[Contender, dict[str, int]]]:
    """Yields what to measure in what order: all shapes of what starts at once, then what is compiled for each."""
    for is_compiled in (False, True):
        for shape in shapes:
            for contender in ways:
                if (contender.kind == "compiled") == is_compiled:
                    yield contender, shape


def _label(row: dict[str, Any]) -> str:
    return f"{row['engine']}, {row['width']}x{row['height']}, batch {row['batch']}"


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, CUDA {torch.version.cuda}"
    return f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"


def timed(call: Call, device: torch.device, rounds: int) -> dict[str, float]:
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


def measured_rates(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Returns the operations and bytes a second of a large matrix product and a large copy."""
    side = 8192 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=dtype)
    product = timed(lambda: a @ a, device, 10)["median_ms"] * 1e-3
    size = (1 << 30) if device.type == "cuda" else (1 << 27)
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copying = timed(lambda: target.copy_(source), device, 10)["median_ms"] * 1e-3
    return {"operations_per_second": 2 * side**3 / product, "bytes_per_second": 2 * size / copying}


def floor(
    network: DepthNetwork,
    device: torch.device,
    shape: dict[str, int],
    dtype: torch.dtype,
    rates: dict[str, float],
) -> dict[str, float]:
    """Returns the operations and bytes of the convolutions, and the milliseconds they need at the rates."""
    counts = {"operations": 0.0, "values": 0.0}

    def count(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.weight
        counts["operations"] += 2 * output.numel() * weight[0].numel()
        counts["values"] += inputs[0].numel() + output.numel() + weight.numel() / shape["batch"]

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    image = torch.zeros((1, shape["height"], shape["width"], 3), dtype=torch.uint8, device=device)
    with torch.inference_mode():
        network.infer(image, torch.full((1,), 400.0, device=device))
    for hook in hooks:
        hook.remove()
    operations = counts["operations"] * shape["batch"]
    bytes_moved = counts["values"] * shape["batch"] * dtype.itemsize
    seconds = max(operations / rates["operations_per_second"], bytes_moved / rates["bytes_per_second"])
    return {"operations": operations, "bytes": bytes_moved, "floor_ms": seconds * 1e3}


def parse_size(text: str) -> Size:
    """Returns the height and width of "HxW"."""
    height, width = map(int, text.split("x"))
    return height, width


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=[(192, 640)], metavar="HxW")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="", help="cpu or cuda; default: the GPU where there is one")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin nothing after this time")
    parser.add_argument("--no-onnxruntime", action="store_true", help="leave ONNX Runtime out")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="torch.compile too; default: on a GPU"
    )
    args = parser.parse_args()
    found = measure(
        args.sizes,
        args.batches,
        args.rounds,
        args.threads,
        args.device,
        seconds=args.seconds,
        with_onnxruntime=not args.no_onnxruntime,
        compiled=args.compile,
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
