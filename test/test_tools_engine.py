"""recon3d engine: each action from the command line, on a fake GPU and with the real TensorRT for RTX."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import conv_models
import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import FakeTensorRt

from recon3d_ros.core.model import read_model_info
from recon3d_ros.engines import load_engine
from recon3d_ros.tools.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return conv_models.write_conv_model(tmp_path / "conv.onnx", has_images=True)


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
    return FakeTensorRt(FakeCuda().install(monkeypatch), "tensorrt", "10.3.0").install(monkeypatch)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "recon3d_ros" / "engines"


def test_an_engine_is_built_proved_listed_checked_and_cleared(trt, model, cache, capsys) -> None:
    build = [str(model), "--precision", "fp16", "--max-batch", "2"]
    assert main(["engine", "build", *build]) == 0
    out = capsys.readouterr().out
    [path] = cache.glob("conv-fp16-*.engine")
    assert f"{path}: " in out
    assert "on 4 images of a random number generator:" in out
    assert "fp16: proved right" in out

    assert main(["engine", "list"]) == 0
    out = capsys.readouterr().out
    assert "this GPU: Fake Orin,8.7,13.0" in out
    assert f"{path.stem}: tensorrt 10.3.0, fp16, 48x32, batch 1 to 2, for Fake Orin,8.7,13.0" in out
    assert ", proved\n1 engines," in out

    assert main(["engine", "check", *build]) == 0
    assert "fp16: proved right" in capsys.readouterr().out
    assert len(trt.builds) == 1

    assert main(["engine", "clear", path.stem]) == 0
    assert main(["engine", "list"]) == 0
    assert "0 engines" in capsys.readouterr().out


def test_an_engine_of_a_model_of_free_size_is_built_and_checked_at_the_size_given(trt, tmp_path, capsys) -> None:
    free = conv_models.write_conv_model(tmp_path / "free.onnx", has_images=True, has_free_size=True)
    for action in ("build", "check"):
        assert main(["engine", action, str(free), "--size", "96x64"]) == 0
        assert "fp32: proved right" in capsys.readouterr().out
    assert trt.builds[0].profile.shapes["image"][0] == (1, 64, 96, 3)
    main(["engine", "list"])
    assert ", fp32, 96x64, batch 1, for " in capsys.readouterr().out
    assert main(["engine", "check", str(free)]) == 2  # the default size is another engine
    with pytest.raises(SystemExit):
        main(["engine", "build", str(free), "--size", "96x60"])
    assert "is '96x60', expected WIDTHxHEIGHT in multiples of 32" in capsys.readouterr().err


def test_an_engine_whose_answers_are_wrong_fails_the_command_and_is_listed_so(
    trt, model, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("fake_tensorrt.Context._run", lambda context: None)  # its output stays 0
    assert main(["engine", "build", str(model)]) == 1
    assert "fp32: NOT to be used" in capsys.readouterr().out
    main(["engine", "list"])
    assert ", FAILED its check" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "MODEL"], "holds no such engine; make one with 'recon3d engine build'"),
        (["clear", "nothing"], "holds no engine nothing; 'list' names what it holds"),
        (["build", "nowhere.onnx"], "nowhere.onnx: cannot be read"),
        (["build", "MODEL", "--max-batch", "0"], "max_batch is 0, expected 1 or more"),
        (["build", "MODEL", "--target", "RTX,8.9,13.0"], "builds for the GPU in the machine alone"),
        (["convert", "nowhere.onnx", "out.onnx", "--precision", "fp16"], "nowhere.onnx: cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(trt, model, arguments, message, capsys) -> None:
    assert main(["engine", *(argument.replace("MODEL", str(model)) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("recon3d engine: ")
    assert message in error


def test_a_target_that_is_none_is_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["engine", "build", "--target", "RTX 4090"])
    assert "expected e.g. 'NVIDIA GeForce RTX 4090,8.9,13.0'" in capsys.readouterr().err


def test_list_works_where_there_is_no_gpu(monkeypatch, capsys) -> None:
    FakeCuda(driver=0).install(monkeypatch)
    assert main(["engine", "list"]) == 0
    out = capsys.readouterr().out
    assert "this GPU: none (no NVIDIA driver is loaded" in out
    assert "0 engines, 0.0 MB in " in out


def test_a_model_is_converted_without_a_gpu(model, tmp_path, capsys) -> None:
    out = tmp_path / "half.onnx"
    assert main(["engine", "convert", str(model), str(out), "--precision", "fp16"]) == 0
    assert f"{out}: " in capsys.readouterr().out
    assert read_model_info(out).name == "conv"
    images, focals = conv_models.batch(2)
    np.testing.assert_allclose(
        load_engine(out).infer(images, focals).depth, conv_models.expected_depth(images, focals), rtol=2e-2
    )


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="needs TensorRT for RTX")
def test_an_engine_for_another_machine_is_built_by_the_real_tensorrt_for_rtx(model, cache, capsys) -> None:
    target = "NVIDIA GeForce RTX 4090,8.9,13.0"
    arguments = ["build", str(model), "--backend", "tensorrt_rtx", "--precision", "fp16", "--target", target]
    assert main(["engine", *arguments]) == 0
    assert f"not checked: it runs on {target} alone" in capsys.readouterr().out
    [path] = cache.glob("conv-fp16-*.engine")
    main(["engine", "list"])
    assert f"for {target}, {path.stat().st_size / 1e6:.1f} MB" in capsys.readouterr().out
