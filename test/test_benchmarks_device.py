"""The bench of the shipped network in torch: its rows, its floor and its deadline."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from benchmarks import device as bench  # noqa: E402
from benchmarks.contenders import DTYPES, Contender, contenders, make_call, prepared  # noqa: E402
from recon3d_ros.engines import default_model_path  # noqa: E402
from recon3d_ros.tools.bench_engines import Latency  # noqa: E402
from training.checkpoints import load_network  # noqa: E402

CPU = torch.device("cpu")
SHAPE = {"height": 32, "width": 64, "batch": 3}


@pytest.fixture(scope="module")
def network():
    return load_network(default_model_path())


@pytest.fixture
def known_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates that need no seconds of measuring."""
    rates = {"operations_per_second": 1e10, "bytes_per_second": 1e10}
    monkeypatch.setattr(bench, "measured_rates", lambda *_: rates)


def depth_of(network, contender: Contender, device=CPU) -> np.ndarray:
    torch.manual_seed(0)  # each makes the same image
    return np.asarray(make_call(network, contender, device, **SHAPE)())


def test_each_way_to_run_the_network_has_a_row_for_each_size_and_batch() -> None:
    found = bench.measure([(32, 64), (64, 32)], [1, 2], 2, threads=1, device="cpu")
    rows = [Latency(**row) for row in found["rows"]]
    assert {row.engine for row in rows} == {"ONNX Runtime CPU", "torch eager fp32", "torch eager fp32 NHWC"}
    assert {(row.height, row.width, row.batch) for row in rows} == {
        (32, 64, 1),
        (32, 64, 2),
        (64, 32, 1),
        (64, 32, 2),
    }
    assert len(rows) == 12
    assert all(0 < row.median_ms <= row.p99_ms < math.inf for row in rows)
    assert found["absent"] == {}
    assert found["compile_seconds"] == []
    assert found["device"].startswith("CPU, 1 threads")
    json.dumps(found)


def test_torch_goes_on_with_as_many_threads_as_before(known_rates) -> None:
    before = torch.get_num_threads()
    bench.measure([(32, 64)], [1], 1, threads=before + 1, device="cpu", seconds=0.0)
    assert torch.get_num_threads() == before


def test_the_floor_counts_the_operations_that_torch_counts(network) -> None:
    rates = {"operations_per_second": 1e9, "bytes_per_second": 1e15}
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.infer(torch.zeros((3, 32, 64, 3), dtype=torch.uint8), torch.full((3,), 400.0))
    found = bench.floor(network, CPU, SHAPE, torch.float32, rates)
    assert found["operations"] == pytest.approx(
        counter.get_total_flops(), rel=1e-3
    )  # pixels' places: once a batch
    assert found["floor_ms"] == pytest.approx(found["operations"] / 1e9 * 1e3)
    half = bench.floor(network, CPU, SHAPE, torch.bfloat16, {**rates, "bytes_per_second": 1.0})
    assert half["bytes"] == found["bytes"] / 2
    assert half["floor_ms"] == pytest.approx(half["bytes"] * 1e3)


def test_nothing_begins_after_the_deadline_and_each_is_named(known_rates) -> None:
    found = bench.measure([(32, 64)], [1, 2], 1, device="cpu", seconds=0.0, compiled=True)
    assert found["rows"] == []
    assert found["absent"]["torch compiled fp32, 64x32, batch 2"] == "no time was left for it"
    assert len(found["absent"]) == 8
    assert len(found["floors"]) == 2


def test_one_way_that_fails_is_named_and_the_others_are_measured(
    known_rates, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(network, contender, *args, **shape):
        if contender.channels_last:
            raise torch.OutOfMemoryError("out of memory\nmore lines")
        return make_call(network, contender, *args, **shape)

    monkeypatch.setattr(bench, "make_call", failing)
    found = bench.measure([(32, 64)], [1], 1, device="cpu", with_onnxruntime=False)
    assert [row["engine"] for row in found["rows"]] == ["torch eager fp32"]
    assert found["absent"] == {"torch eager fp32 NHWC, 64x32, batch 1": "out of memory"}


def test_every_way_gives_the_same_depth(network) -> None:
    expected = depth_of(network, Contender("eager", "fp32"))
    assert expected.shape == (3, 32, 64)
    for contender in contenders(CPU, compiled=False):
        np.testing.assert_allclose(depth_of(network, contender), expected, rtol=1e-3)


def test_a_precision_changes_the_networks_body_and_not_the_network(network) -> None:
    body = prepared(network, Contender("eager", "bf16", channels_last=True))
    assert body.head.weight.dtype == DTYPES["bf16"]
    assert network.head.weight.dtype == torch.float32
    expected = depth_of(network, Contender("eager", "fp32"))
    found = depth_of(network, Contender("eager", "bf16", channels_last=True))
    assert found.dtype == np.float32
    assert 1e-4 < np.mean(np.abs(found / expected - 1)) < 0.1


def test_what_is_compiled_comes_last_and_in_half_precision_first() -> None:
    found = contenders(torch.device("cuda"))
    assert {(way.kind, way.precision) for way in found[1:]} == {
        (kind, precision) for kind in ("eager", "CUDA graph", "compiled") for precision in ("fp32", "fp16", "bf16")
    }
    assert [way.precision for way in found if way.kind == "compiled"] == ["fp16", "bf16", "fp32"]
    assert len({way.name for way in found}) == len(found)


def test_the_command_prints_json_as_its_last_line(
    known_rates, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--sizes", "32x64", "--batches", "2", "--rounds", "1", "--device", "cpu", "--no-onnxruntime"]
    monkeypatch.setattr(sys, "argv", ["device", *options])
    bench.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(row["engine"], row["height"], row["width"], row["batch"]) for row in found["rows"]] == [
        ("torch eager fp32", 32, 64, 2),
        ("torch eager fp32 NHWC", 32, 64, 2),
    ]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
@pytest.mark.parametrize("way", contenders(torch.device("cuda"), with_onnxruntime=False), ids=lambda way: way.name)
def test_every_way_on_the_gpu_gives_the_cpus_depth(network, way: Contender) -> None:
    if way.kind == "compiled" and way.precision != "fp16":
        pytest.skip("one compiled precision stands for all: each takes half a minute")
    expected = depth_of(network, Contender("eager", "fp32"))
    cuda = torch.device("cuda")
    found = depth_of(load_network(default_model_path()).to(cuda), way, cuda)
    tolerance = {"fp32": 0.01, "fp16": 0.02, "bf16": 0.1}[way.precision]  # TF32 keeps ten bits, as fp16 does
    assert np.mean(np.abs(found / expected - 1)) < tolerance
