"""recon3d bench: the network in every run time side by side, and the live node under load."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2

import recon3d_ros
from recon3d_ros.bags.bag_path import BagError
from recon3d_ros.core.atomic_file import open_atomically, write_json
from recon3d_ros.core.model import read_model_info
from recon3d_ros.engines import EngineOptions, default_model_path, load_engine
from recon3d_ros.tools.bench_engines import Latency, as_json, latency_table, measure, open_engines, overhead
from recon3d_ros.tools.bench_plot import Bar, bar_chart
from recon3d_ros.tools.engine import size_argument
from recon3d_ros.tools.inputs import InputError

REFERENCE = "onnxruntime"
GPU_ENGINES = ("onnxruntime", "openvino", "tensorrt", "tensorrt:fp16", "tensorrt_rtx", "tensorrt_rtx:fp16")
GPU_SIZES = ((192, 640), (384, 1280))  # (height, width)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `recon3d bench`."""
    parser.add_argument(
        "--model", type=Path, action="append", metavar="FILE",
        help="one-file model; may be given several times (default: the one that ships)",
    )  # fmt: skip
    parser.add_argument(
        "--sizes", nargs="+", type=size_argument, metavar="WIDTHxHEIGHT",
        help="of the images, where a model leaves it free (default: its default size)",
    )  # fmt: skip
    parser.add_argument(
        "--engines", nargs="+", metavar="BACKEND[:PRECISION]",
        help="what to compare (default: onnxruntime, and openvino where it is installed)",
    )  # fmt: skip
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8], help="images a call")
    parser.add_argument("--rounds", type=int, default=30, help="calls of each")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of each; 0: the run time chooses")
    parser.add_argument(
        "--gpu", action="store_true",
        help="the GPU report: every run time, torch and the floor beside them, by default at "
        + " and ".join(f"{width}x{height}" for height, width in GPU_SIZES),
    )  # fmt: skip
    parser.add_argument("--no-live", action="store_true", help="leave the live node out")
    parser.add_argument("--bag", type=Path, help="what the live node gets (default: the drive that ships)")
    parser.add_argument(
        "--rates", nargs="+", type=float, default=[1.0, 4.0], metavar="TIMES",
        help="times the bag's own pace; the fastest shows the peak throughput (default: 1 4)",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, default=Path("bench"), help="folder of the results")


def main(args: argparse.Namespace) -> int:
    """Measures; returns 1 if something that was asked for could not be measured."""
    if min(args.rounds, *args.batches) < 1 or not all(0 < rate < float("inf") for rate in args.rates):
        raise InputError("--rounds and --batches must be 1 or more, --rates positive")
    if args.engines is None:
        args.engines = [REFERENCE, *(["openvino"] if importlib.util.find_spec("openvino") else [])]
    for name in args.engines:
        backend, _, precision = name.partition(":")
        EngineOptions(backend, precision=precision or "fp32")  # a mistyped name is told at once
    args.output.mkdir(parents=True, exist_ok=True)
    models: list[Path] = args.model or [default_model_path()]
    report: dict[str, Any] = {"metadata": metadata(models)}
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        latencies = _measure_engines(models, args, absent)
        if args.gpu:
            latencies += _measure_device(models, args, report, absent)
        print(latency_table(latencies, reference=REFERENCE))
        report["engines"] = as_json(latencies)
        report["overhead"] = overhead(load_engine(models[0], threads=args.threads), args.rounds)
        print(f"\nimage to depth and points: {report['overhead']:.3f} times the bare engine ({REFERENCE})")
        bars: dict[str, list[Bar]] = {}
        for row in latencies:
            group = bars.setdefault(f"Engines, {row.width}x{row.height}, batch {row.batch}: ms", [])
            group.append(Bar(row.engine, row.median_ms, row.p99_ms))
        if not args.no_live:
            bars |= _measure_live(args, report, Path(folder), absent)
    for name, reason in absent.items():
        print(f"absent: {name}: {reason}")
    report["absent"] = absent
    write_json(args.output / "bench.json", report)
    with open_atomically(args.output / "bench.png") as file:
        file.write(cv2.imencode(".png", cv2.cvtColor(bar_chart(bars), cv2.COLOR_RGB2BGR))[1].tobytes())
    print(f"\n{args.output / 'bench.json'}, {args.output / 'bench.png'}")
    return 1 if absent and not args.gpu else 0


def metadata(models: list[Path]) -> dict[str, Any]:
    """Returns what the figures belong to, under ros2_benchmark's names where it has them."""
    return {
        "BenchmarkMetadata.NAME": "recon3d bench",
        "BenchmarkMetadata.TEST_DATETIME": datetime.datetime.now(datetime.timezone.utc).isoformat(
            timespec="seconds"
        ),
        "BenchmarkMetadata.DEVICE_ARCH": platform.machine(),
        "BenchmarkMetadata.DEVICE_OS": f"{platform.system()} {platform.release()}",
        "version": recon3d_ros.__version__,
        "python": platform.python_version(),
        "models": {path.name: read_model_info(path).sha256 for path in models},
    }


def _measure_engines(models: list[Path], args: argparse.Namespace, absent: dict[str, str]) -> list[Latency]:
    latencies: list[Latency] = []
    for path in models:
        sizes = _sizes(path, args, absent)
        engines, missing = open_engines(
            path,
            dict.fromkeys([REFERENCE, *(GPU_ENGINES if args.gpu else args.engines)]),
            threads=args.threads,
            max_batch=max(args.batches),
            with_cuda_provider=args.gpu,
        )
        measured, failed = measure(path, engines, sizes, args.batches, args.rounds)
        latencies += measured
        absent |= {**missing, **failed}
    return latencies


def _sizes(path: Path, args: argparse.Namespace, absent: dict[str, str]) -> list[tuple[int, int]]:
    """Returns the sizes to measure a model at; notes those asked for that it does not take."""
    info = read_model_info(path)
    own = list(GPU_SIZES) if args.gpu and info.has_free_size else [info.size]
    wanted: list[tuple[int, int]] = args.sizes or own
    for height, width in wanted:
        if not info.takes_size((height, width)):
            absent[f"{path.name} at {width}x{height}"] = f"it takes {info.width}x{info.height} alone"
    return [size for size in wanted if info.takes_size(size)]


def _measure_device(
    models: list[Path], args: argparse.Namespace, report: dict[str, Any], absent: dict[str, str]
) -> list[Latency]:
    """Returns torch's latencies; puts the device's rates and the network's floor on it into the report."""
    sizes = dict.fromkeys(size for path in models for size in _sizes(path, args, absent))
    if not sizes:
        return []
    command = ["benchmarks.device", "--sizes", *(f"{height}x{width}" for height, width in sizes)]
    command += ["--batches", *map(str, args.batches), "--rounds", str(args.rounds), "--threads", str(args.threads)]
    command += ["--no-onnxruntime"]  # it is among the engines
    output = _run_in_checkout(Path(recon3d_ros.__file__).parents[1], command, "torch and the floor", absent)
    if output is None:
        return []
    found = json.loads(output.splitlines()[-1])
    report["device"] = {key: found[key] for key in ("device", "rates", "floors", "compile_seconds")}
    absent |= found["absent"]
    print(f"device: {found['device']}")
    if not found["device"].startswith("NVIDIA"):
        absent["GPU"] = f"torch sees none; its rows and the floor are of the {found['device']}"
    for floor in found["floors"]:
        print(
            f"floor {floor['precision']} {floor['width']}x{floor['height']}, batch {floor['batch']}: "
            f"{floor['floor_ms']:.2f} ms ({floor['operations'] / 1e9:.1f} GOP, {floor['bytes'] / 1e6:.0f} MB)"
        )
    return [Latency(**row) for row in found["rows"]]


def _run_in_checkout(root: Path, module: list[str], what: str, absent: dict[str, str]) -> str | None:
    """Returns the output of a module of the checkout; notes why there is none. The package never imports torch."""
    if not (root / "benchmarks").is_dir() or importlib.util.find_spec("torch") is None:
        absent[what] = "needs a checkout and torch: pip install -r requirements/training.txt"
        return None
    result = subprocess.run([sys.executable, "-m", *module], cwd=root, capture_output=True, text=True)
    if result.returncode != 0:
        absent[what] = (result.stderr.strip().splitlines() or [f"it ended with status {result.returncode}"])[-1]
        return None
    return result.stdout


def _measure_live(
    args: argparse.Namespace, report: dict[str, Any], folder: Path, absent: dict[str, str]
) -> dict[str, list[Bar]]:
    """Runs the live node at each rate; returns the bars of its latencies."""
    if importlib.util.find_spec("rclpy") is None:
        absent["the live node"] = (
            "needs ROS 2: pip install -r requirements/ros-jazzy.txt, or source its setup.bash"
        )
        return {}
    # Here, with rosbags that they read with: the engines are measured without either.
    from recon3d_ros.tools.bench_live import data_hash, live_table, run_live
    from recon3d_ros.tools.demo import bundled_bag, set_environment

    set_environment()
    bag = args.bag or bundled_bag(folder / "drive")
    report["metadata"]["BenchmarkMetadata.INPUT_DATA_PATH"] = args.bag.name if args.bag else "the bundled drive"
    report["metadata"]["BenchmarkMetadata.INPUT_DATA_HASH"] = data_hash(bag)
    model = str(args.model[0]) if args.model else ""
    runs = []
    for rate in args.rates:
        try:
            runs.append(run_live(bag, rate=rate, model=model, parameters={"threads": args.threads}))
        except (BagError, ChildProcessError, TimeoutError) as error:
            absent[f"the live node at {rate:g} times"] = str(error)
    if not runs:
        return {}
    print(f"\n{live_table(runs)}")
    report |= {f"{rate:.1f}fps": metrics for rate, metrics in runs}
    report |= runs[-1][1]  # ros2_benchmark's top level: the peak throughput
    prefix = "BasicPerformanceMetrics"
    return {
        "Live node: ms from image to depth in another process": [
            Bar(f"{rate:.0f} Hz in", metrics[f"{prefix}.P50_LATENCY"], metrics[f"{prefix}.P99_LATENCY"])
            for rate, metrics in runs
            if f"{prefix}.P50_LATENCY" in metrics
        ]
    }
