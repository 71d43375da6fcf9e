"""recon3d bench: figures of a run worked out by hand, engines side by side, and what is absent said."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from drives import write_drive

pytest.importorskip("onnx", reason="onnx, which makes the models of these tests, is not installed")
from onnx_models import write_model

from recon3d_ros.bags.topics import CameraTopics
from recon3d_ros.core.model import read_model_info
from recon3d_ros.engines import EngineError, load_engine
from recon3d_ros.tools import cli
from recon3d_ros.tools.bag_make import make_bag
from recon3d_ros.tools.bench_engines import CUDA_PROVIDER, ProviderEngine, in_turns, overhead
from recon3d_ros.tools.bench_live import ProcessSamples, data_hash, live_metrics, sampled
from recon3d_ros.tools.bench_plot import BAR_COLOR, LABEL_WIDTH, Bar, bar_chart

CAMERA = CameraTopics("/front/image_raw", "/front/camera_info")
BASIC, PROCESS = "BasicPerformanceMetrics", "NodeProcessMetrics"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.onnx", height=32, width=64)


class MadeRun:
    """Five images sent every 100 ms; the fourth is lost, the others take 20, 30, 20 and 60 ms."""

    def __init__(self) -> None:
        self.published = {CAMERA.image: {n: 10 + 0.1 * n for n in range(5)}}
        latency = {0: 0.02, 1: 0.03, 2: 0.02, 4: 0.06}
        self.arrived = {"/front/depth/image_rect": {n: 10 + 0.1 * n + latency[n] for n in latency}}


def test_the_figures_of_a_run_are_those_worked_out_by_hand():
    # 30 % of a core, a sample every 50 ms, from before the first image to after the last.
    times = [9.9 + 0.05 * n for n in range(13)]
    samples = ProcessSamples(times, [0.3 * time for time in times], [100.0] * 12 + [120.0])
    metrics = live_metrics(MadeRun(), CAMERA, samples)
    expected = {
        f"{BASIC}.NUM_FRAMES_SENT": 5,
        f"{BASIC}.NUM_MISSED_FRAMES": 1,
        f"{BASIC}.MEAN_PLAYBACK_FRAME_RATE": 10.0,
        f"{BASIC}.RECEIVED_DURATION": 440.0,
        f"{BASIC}.MEAN_FRAME_RATE": 3 / 0.44,
        f"{BASIC}.FIRST_SENT_RECEIVED_LATENCY": 20.0,
        f"{BASIC}.LAST_SENT_RECEIVED_LATENCY": 60.0,
        f"{BASIC}.MEAN_LATENCY": 32.5,
        f"{BASIC}.P50_LATENCY": 25.0,
        f"{BASIC}.MAX_LATENCY": 60.0,
        # Arrivals 110, 90 and 240 ms apart, of images sent 100, 100 and 200 ms apart.
        f"{BASIC}.MIN_JITTER": 10.0,
        f"{BASIC}.MEAN_JITTER": 20.0,
        f"{BASIC}.MAX_JITTER": 40.0,
        f"{PROCESS}.MEAN_CPU_UTIL": 30.0,
        f"{PROCESS}.MAX_MEMORY_MB": 120.0,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_a_run_of_which_nothing_came_out_says_so():
    run = MadeRun()
    run.arrived = {}
    metrics = live_metrics(run, CAMERA, ProcessSamples())
    assert metrics[f"{BASIC}.NUM_MISSED_FRAMES"] == 5
    assert f"{BASIC}.MEAN_LATENCY" not in metrics


def test_cpu_and_memory_are_those_of_the_process_that_is_watched():
    code = "x = bytearray(200_000_000); print(flush=True)\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    samples = ProcessSamples()
    try:
        assert process.stdout is not None
        process.stdout.readline()
        with sampled(process.pid, samples):
            time.sleep(0.6)
    finally:
        process.kill()
        process.wait()
    assert len(samples.times) >= 2
    assert max(samples.memory_mb) > 200
    assert samples.cpu_seconds[-1] > samples.cpu_seconds[0]


def test_the_same_data_has_the_same_hash_and_other_data_another(tmp_path: Path):
    for name, count in (("a", 4), ("b", 4), ("c", 5)):
        make_bag(write_drive(tmp_path / f"{name}_drive", count=count), tmp_path / name, compressed=True)
    hashes = [data_hash(tmp_path / name) for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_calls_take_turns_and_their_warm_up_does_not_count():
    order: list[str] = []
    seconds = in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 4)
    assert order == ["a", "b"] * (len(order) // 2)
    assert len(seconds["a"]) == len(seconds["b"]) == 4 < len(order) // 2


def test_another_provider_of_onnx_runtime_gives_the_same_depth(model: Path):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3), dtype=np.uint8)
    focals = np.array([200.0, 300.0, 400.0], np.float32)
    engine = ProviderEngine(model, read_model_info(model), "CPUExecutionProvider")
    np.testing.assert_allclose(
        engine.infer(images, focals).depth, load_engine(model).infer(images, focals).depth, rtol=1e-6
    )


def test_cuda_that_is_not_there_is_told_not_replaced(model: Path):
    import onnxruntime

    if CUDA_PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(EngineError, match=r"has only .*CPUExecutionProvider"):
        ProviderEngine(model, read_model_info(model), CUDA_PROVIDER)


def test_the_overhead_of_a_network_that_does_next_to_nothing_is_many_times_its_own_time(model: Path):
    assert overhead(load_engine(model, threads=1), 5) > 2


def test_bars_are_as_long_as_their_figures():
    picture = bar_chart({"ms": [Bar("one", 10.0, 10.0), Bar("two", 20.0, 40.0)]})
    is_bar = (picture == BAR_COLOR).all(axis=2)
    lengths = sorted({int(n) for n in is_bar[:, LABEL_WIDTH:].sum(axis=1)} - {0})
    assert lengths[-1] == pytest.approx(2 * lengths[0], abs=4)


def bench(*arguments: object) -> int:
    return cli.main(["bench", *map(str, arguments)])


def test_engines_side_by_side_as_json_and_a_picture(model: Path, tmp_path: Path, capsys):
    status = bench(
        "--model", model, "--engines", "onnxruntime", "--batches", 1, 3, "--rounds", 3, "--no-live", "-o", tmp_path
    )  # fmt: skip
    assert status == 0
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [(row["engine"], row["batch"]) for row in report["engines"]] == [("onnxruntime", 1), ("onnxruntime", 3)]
    assert all(0 < row["median_ms"] <= row["p99_ms"] for row in report["engines"])
    assert report["engines"][1]["images_per_second"] == pytest.approx(3e3 / report["engines"][1]["median_ms"])
    assert report["metadata"]["models"] == {"tiny.onnx": read_model_info(model).sha256}
    assert report["absent"] == {}
    assert cv2.imread(str(tmp_path / "bench.png")) is not None
    assert "| onnxruntime | 64x32 | 3 |" in capsys.readouterr().out


def test_a_model_of_free_size_is_measured_at_each_size_asked_for(tmp_path: Path, capsys):
    free = write_model(tmp_path / "free.onnx", has_free_size=True)
    common = ("--engines", "onnxruntime", "--batches", 1, "--rounds", 2, "--no-live", "-o", tmp_path)
    assert bench("--model", free, "--sizes", "64x96", "96x64", *common) == 0
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [(row["width"], row["height"]) for row in report["engines"]] == [(64, 96), (96, 64)]
    assert bench("--model", free, *common) == 0
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [(row["width"], row["height"]) for row in report["engines"]] == [(64, 32)]
    with pytest.raises(SystemExit):
        bench("--model", free, "--sizes", "64x90", *common)
    assert "is '64x90', expected WIDTHxHEIGHT in multiples of 32" in capsys.readouterr().err


def test_a_size_that_a_model_does_not_take_is_named_as_absent(model: Path, tmp_path: Path, capsys):
    status = bench(
        "--model", model, "--sizes", "64x32", "96x64", "--engines", "onnxruntime", "--batches", 1, "--rounds", 2,
        "--no-live", "-o", tmp_path,
    )  # fmt: skip
    assert status == 1
    assert "absent: tiny.onnx at 96x64: it takes 64x32 alone" in capsys.readouterr().out
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [(row["width"], row["height"]) for row in report["engines"]] == [(64, 32)]


def test_an_engine_that_cannot_be_had_is_named_with_its_reason_and_the_others_are_measured(
    model: Path, tmp_path: Path, capsys
):
    status = bench(
        "--model", model, "--engines", "tensorrt_rtx:fp16", "--batches", 1, "--rounds", 2, "--no-live",
        "-o", tmp_path,
    )  # fmt: skip
    report = json.loads((tmp_path / "bench.json").read_text())
    if "tensorrt_rtx:fp16" not in report["absent"]:
        pytest.skip("TensorRT for RTX runs here")
    assert status == 1
    assert "absent: tensorrt_rtx:fp16: " in capsys.readouterr().out
    assert [row["engine"] for row in report["engines"]] == ["onnxruntime"]


def test_an_unknown_engine_is_told(model: Path, tmp_path: Path, capsys):
    assert bench("--model", model, "--engines", "magic", "--rounds", 1, "--no-live", "-o", tmp_path) == 2
    assert "backend is 'magic', expected one of onnxruntime" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--rounds", 0), ("--batches", 1, 0), ("--rates", 0)])
def test_a_measurement_of_nothing_is_refused(model: Path, tmp_path: Path, arguments, capsys):
    assert bench("--model", model, *arguments, "-o", tmp_path) == 2
    assert "must be 1 or more" in capsys.readouterr().err


def test_a_run_time_that_is_not_installed_is_missed_only_where_asked_for(model: Path, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert bench("--model", model, "--batches", 1, "--rounds", 1, "--no-live", "-o", tmp_path) == 0
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [row["engine"] for row in report["engines"]] == ["onnxruntime"]


def test_the_gpu_report_is_made_without_a_gpu_and_says_what_was_absent(model: Path, tmp_path: Path, capsys):
    pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
    status = bench("--gpu", "--model", model, "--batches", 1, "--rounds", 2, "--no-live", "-o", tmp_path)
    report = json.loads((tmp_path / "bench.json").read_text())
    assert status == 0
    engines = {row["engine"] for row in report["engines"]}
    assert {"onnxruntime", "torch eager fp32"} <= engines
    (floor, *_) = report["device"]["floors"]
    # The floor cannot lie above what was measured of the same network on the same device.
    measured = next(row for row in report["engines"] if row["engine"] == "torch eager fp32")
    assert 0 < floor["floor_ms"] < measured["median_ms"]
    assert floor["operations"] > 1e7
    if not report["device"]["device"].startswith("NVIDIA"):
        assert "torch sees none" in report["absent"]["GPU"]
        assert "absent: tensorrt: " in capsys.readouterr().out


def test_the_live_node_is_measured_at_each_rate(model: Path, tmp_path: Path):
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")
    make_bag(write_drive(tmp_path / "drive", count=20), tmp_path / "bag", compressed=True)
    arguments = ["--model", model, "--engines", "onnxruntime", "--batches", 1, "--rounds", 2]
    arguments += ["--bag", tmp_path / "bag", "--rates", 1, "-o", tmp_path / "out"]
    environment = {name: value for name, value in os.environ.items() if name != "ROS_DOMAIN_ID"}
    result = subprocess.run(
        [sys.executable, "-m", "recon3d_ros.tools.cli", "bench", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads((tmp_path / "out" / "bench.json").read_text())
    (rate,) = [key for key in report if key.endswith("fps")]
    assert float(rate.removesuffix("fps")) == pytest.approx(20, rel=0.2)  # the pace of the drive
    assert report[rate][f"{BASIC}.NUM_FRAMES_SENT"] == 20
    assert report[rate][f"{BASIC}.NUM_MISSED_FRAMES"] < 10
    assert report[f"{BASIC}.MEAN_FRAME_RATE"] == report[rate][f"{BASIC}.MEAN_FRAME_RATE"]
    assert 50 < report[rate][f"{PROCESS}.MAX_MEMORY_MB"] < 2000
    assert len(report["metadata"]["BenchmarkMetadata.INPUT_DATA_HASH"]) == 64
    assert math.isfinite(report["overhead"])
