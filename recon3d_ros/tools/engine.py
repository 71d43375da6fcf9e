"""recon3d engine: TensorRT engines of a model: build and prove them, list, check and clear those in the cache."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from recon3d_ros.core.atomic_file import open_atomically
from recon3d_ros.core.model import parse_size, read_model_info
from recon3d_ros.core.self_test import read_self_test
from recon3d_ros.engines import (
    BUILT_BACKENDS,
    PRECISIONS,
    EngineError,
    EngineOptions,
    load_engine,
    model_path,
)
from recon3d_ros.engines.cache import BuiltEngine, CacheEntry, EngineCache, Proof, record_proof
from recon3d_ros.engines.check import check_engine
from recon3d_ros.engines.convert import convert_model
from recon3d_ros.engines.engine_key import GpuFacts
from recon3d_ros.engines.tensorrt import TensorRtEngine, build_engine, cached_engine

SECONDS_BETWEEN_LINES = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `recon3d engine`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar=" | ".join(ACTIONS))
    for name, (_, description) in ACTIONS.items():
        action = actions.add_parser(name, help=description, description=description)
        if name != "convert":
            action.add_argument("--cache-dir", default="", metavar="DIR", help="folder of built engines")
        if name in ("build", "check"):
            _add_engine_arguments(action)
        if name == "build":
            action.add_argument(
                "--target",
                type=_gpu_facts,
                metavar="NAME,CC,CUDA",
                help="build for a GPU that is not in this machine (tensorrt_rtx): what 'list' says there",
            )
        elif name == "convert":
            action.add_argument("model", type=Path, help="one-file model in float32")
            action.add_argument("out", type=Path, help="the model file to write")
            action.add_argument("--precision", required=True, choices=PRECISIONS[1:])
            action.add_argument("--calibration", default="", metavar="DIR", help=CALIBRATION)
        elif name == "clear":
            action.add_argument("name", nargs="*", help="engines to remove, as 'list' names them; none: all")


CALIBRATION = "int8: images to take the ranges from (default: the model's own self-test images)"


def main(args: argparse.Namespace) -> int:
    """Runs one action; returns 1 if an engine is not to be used."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    action: Callable[[argparse.Namespace], int] = ACTIONS[args.action][0]
    return action(args)


def _build(args: argparse.Namespace) -> int:
    options = _options(args)
    built = build_engine(args.model, options, _Progress(), target=args.target)
    where = built.path or "not kept: the folder cannot be written"
    print(f"{where}: {len(built.plan) / 1e6:.1f} MB, built in {built.build_seconds:.1f} s")
    if args.target is not None:
        print(f"not checked: it runs on {args.target} alone; 'recon3d engine check' proves it there")
        return 0
    return _prove(args.model, options, built)


def _check(args: argparse.Namespace) -> int:
    options = _options(args)
    built = cached_engine(args.model, options)
    if built is None:
        raise EngineError(
            "the cache holds no such engine; make one with 'recon3d engine build' and the same options"
        )
    return _prove(args.model, options, built)


def _prove(model: str, options: EngineOptions, built: BuiltEngine) -> int:
    """Compares an engine with ONNX Runtime, prints and records what was found; returns 1 unless it is right."""
    path = model_path(model)
    info = read_model_info(path)
    test = read_self_test(path, info, options.size)
    engine = TensorRtEngine(path, info, options, built)
    try:
        report = check_engine(
            engine, load_engine(path), test.images, test.focals, options.precision, options.max_batch
        )
    finally:
        engine.close()
    if not report.failure:  # out of memory now says nothing of the engine
        record_proof(built, Proof(report.is_good, tuple(report.lines())))
    print(f"on {len(test.images)} images of {test.source}:")
    print("\n".join(report.lines()))
    return 0 if report.is_good else 1


def _convert(args: argparse.Namespace) -> int:
    content = convert_model(args.model, read_model_info(args.model), args.precision, args.calibration)
    with open_atomically(args.out) as file:
        file.write(content)
    print(f"{args.out}: {len(content) / 1e6:.1f} MB in {args.precision}; give it with precision {args.precision}")
    return 0


def _list(args: argparse.Namespace) -> int:
    cache = EngineCache(args.cache_dir)
    print(f"this GPU: {_this_gpu()}")
    entries = cache.entries()
    for entry in entries:
        print(_line(entry))
    size = sum(entry.size for entry in entries) / 1e6
    print(f"{len(entries)} engines, {size:.1f} MB in {cache.folder}")
    return 0


def _clear(args: argparse.Namespace) -> int:
    cache = EngineCache(args.cache_dir)
    removed = cache.clear(set(args.name) or None)
    for path in removed:
        print(f"removed {path.stem}")
    missing = set(args.name) - {path.stem for path in removed}
    if missing:
        raise EngineError(
            f"{cache.folder} holds no engine {', '.join(sorted(missing))}; 'list' names what it holds"
        )
    print(f"{len(removed)} engines removed from {cache.folder}")
    return 0


ACTIONS: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
    "build": (_build, "build an engine of a model for this GPU, and prove its answers"),
    "list": (_list, "what is in the cache, and what this GPU is"),
    "check": (_check, "prove an engine of the cache again, against ONNX Runtime in float32"),
    "clear": (_clear, "remove engines from the cache"),
    "convert": (_convert, "a float32 model file in fp16, bf16 or int8; needs no GPU"),
}


def _add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    default = EngineOptions()
    parser.add_argument("model", nargs="?", default="", help="one-file model (default: the one that ships)")
    parser.add_argument("--backend", choices=BUILT_BACKENDS, default=BUILT_BACKENDS[0])
    parser.add_argument("--precision", choices=PRECISIONS, default=default.precision)
    parser.add_argument(
        "--size",
        type=size_argument,
        metavar="WIDTHxHEIGHT",
        help="where the model leaves it free: depth_size in /diagnostics (default: the model's default size)",
    )
    parser.add_argument(
        "--max-batch", type=int, default=default.max_batch, metavar="N", help="most images in one run"
    )
    parser.add_argument("--gpu", type=int, default=default.gpu, metavar="N")
    parser.add_argument(
        "--dla-core", type=int, default=default.dla_core, metavar="N", help="accelerator of a Jetson; -1 for none"
    )
    parser.add_argument("--calibration", default=default.calibration, metavar="DIR", help=CALIBRATION)
    parser.add_argument(
        "--workspace-mb",
        type=int,
        default=default.workspace_mb,
        metavar="MIB",
        help="memory for one layer's scratch",
    )
    parser.add_argument("--cache-limit-mb", type=int, default=default.cache_limit_mb, metavar="MIB")


def _options(args: argparse.Namespace) -> EngineOptions:
    return EngineOptions(
        backend=args.backend,
        precision=args.precision,
        gpu=args.gpu,
        dla_core=args.dla_core,
        max_batch=args.max_batch,
        calibration=args.calibration,
        workspace_mb=args.workspace_mb,
        cache_dir=args.cache_dir,
        cache_limit_mb=args.cache_limit_mb,
        size=args.size,
    )


def size_argument(text: str) -> tuple[int, int]:
    """Returns (height, width) of a command line's WIDTHxHEIGHT."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"is {error}") from error


def _gpu_facts(text: str) -> GpuFacts:
    name, *numbers = (part.strip() for part in text.rsplit(",", 2))
    if len(numbers) != 2 or not name or not all(number.replace(".", "", 1).isdigit() for number in numbers):
        raise argparse.ArgumentTypeError(f"is '{text}', expected e.g. 'NVIDIA GeForce RTX 4090,8.9,13.0'")
    return GpuFacts(name, *numbers)


def _this_gpu() -> str:
    from recon3d_ros.engines.cuda import Cuda

    try:
        cuda = Cuda()
    except EngineError as error:
        return f"none ({error})"
    facts = cuda.facts()
    cuda.close()
    return str(facts)


def _line(entry: CacheEntry) -> str:
    key = entry.key
    (least, *_), _, (greatest, height, width, _) = key.profile["image"]
    batch = str(greatest) if least == greatest else f"{least} to {greatest}"
    core = key.flags.get("dla_core", -1)
    proof = "not checked" if entry.proof is None else ("proved" if entry.proof.is_good else "FAILED its check")
    accelerator = f", DLA {core}" if core >= 0 else ""
    return (
        f"{entry.path.stem}: {key.backend} {key.version}, {key.precision}, {width}x{height}, batch {batch}"
        f"{accelerator}, for {key.gpu}, {entry.size / 1e6:.1f} MB, built {entry.built_at} in "
        f"{entry.build_seconds:.0f} s, {proof}"
    )


class _Progress:
    """Says on stderr what a build is at, every few seconds."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, phase: str, share: float) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + SECONDS_BETWEEN_LINES
            print(f"{phase}: {share:.0%}", file=sys.stderr)
