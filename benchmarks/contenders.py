"""Ways to run the shipped network: torch eager, as a CUDA graph or compiled, and ONNX Runtime on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon3d_ros.engines import default_model_path, load_engine
from training.models.depth_network import DepthNetwork

WARM_UP = 3
ONNX_RUNTIME = "ONNX Runtime CPU"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
Call = Callable[[], Any]


@dataclass(frozen=True)
class Contender:
    """One way to run the network.

    Attributes:
        kind: "eager", "CUDA graph", "compiled" or "ONNX Runtime CPU".
        precision: A name in DTYPES.
        channels_last: NHWC in memory.
    """

    kind: str
    precision: str
    channels_last: bool = False

    @property
    def name(self) -> str:
        if self.kind == ONNX_RUNTIME:
            return self.kind
        return f"torch {self.kind} {self.precision}{' NHWC' if self.channels_last else ''}"


def contenders(device: torch.device, *, with_onnxruntime: bool = True, compiled: bool = True) -> list[Contender]:
    """Returns the ways to run the network on a device."""
    found = [Contender(ONNX_RUNTIME, "fp32")] if with_onnxruntime else []
    if device.type == "cpu":
        found += [Contender("eager", "fp32", nhwc) for nhwc in (False, True)]
        return [*found, Contender("compiled", "fp32")] if compiled else found
    for kind in ("eager", "CUDA graph"):
        found += [Contender(kind, precision, nhwc) for precision in DTYPES for nhwc in (False, True)]
    if compiled:  # fp16 first: where time runs out, it is the one to know
        found += [Contender("compiled", precision, True) for precision in ("fp16", "bf16", "fp32")]
    return found


def make_call(
    network: DepthNetwork,
    contender: Contender,
    device: torch.device,
    *,
    height: int,
    width: int,
    batch: int,
    threads: int = 0,
) -> Call:
    """Returns a call that gives the depth of a batch, from host memory to host memory, as an engine does."""
    image = torch.randint(0, 255, (batch, height, width, 3), dtype=torch.uint8)
    focal = torch.full((batch,), 400.0)
    if contender.kind == ONNX_RUNTIME:
        engine = load_engine(default_model_path(), "onnxruntime", threads)
        return lambda: engine.infer(image.numpy(), focal.numpy()).depth
    body = prepared(network, contender)
    infer = body.infer
    if contender.kind == "compiled":
        torch.compiler.reset()  # after eight sizes of one function torch would silently go on uncompiled
        mode = "reduce-overhead" if device.type == "cuda" else "default"  # the former: as a CUDA graph
        infer = torch.compile(body.infer, dynamic=False, mode=mode)

    @torch.inference_mode()
    def run(image: Tensor, focal: Tensor) -> Tensor:
        depth: Tensor = infer(image, focal)[0]
        return depth

    if device.type == "cpu":
        return lambda: run(image, focal).numpy()
    image, focal = image.pin_memory(), focal.pin_memory()
    if contender.kind == "CUDA graph":
        return _captured(run, image, focal, device)
    return lambda: run(image.to(device, non_blocking=True), focal.to(device, non_blocking=True)).cpu()


def prepared(network: DepthNetwork, contender: Contender) -> DepthNetwork:
    """Returns a copy of the network whose encoder, decoder and head compute as the contender does."""
    network = copy.deepcopy(network)
    layout = torch.channels_last if contender.channels_last else torch.contiguous_format
    for module in (network.encoder, network.decoder, network.head):
        module.to(dtype=DTYPES[contender.precision], memory_format=layout)
    return network


def _captured(run: Callable[[Tensor, Tensor], Tensor], image: Tensor, focal: Tensor, device: torch.device) -> Call:
    """Returns a call that replays one recorded sequence of kernels."""
    still_image, still_focal = image.to(device), focal.to(device)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # the allocator and cuDNN must have settled before the capture
        for _ in range(WARM_UP):
            run(still_image, still_focal)
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        depth = run(still_image, still_focal)
    host = torch.empty(depth.shape, dtype=depth.dtype, pin_memory=True)

    def replayed() -> Tensor:
        still_image.copy_(image, non_blocking=True)
        still_focal.copy_(focal, non_blocking=True)
        graph.replay()
        host.copy_(depth, non_blocking=True)
        torch.cuda.synchronize()
        return host

    return replayed
