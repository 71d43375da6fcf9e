"""The trainer: it learns, it resumes exactly, and it stops cleanly. Evaluation against hand-worked truth."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toy_shards import write_toy_shards

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from training import run_folder  # noqa: E402
from training.board import cloud  # noqa: E402
from training.checkpoints import CheckpointError, load_network, read_checkpoint  # noqa: E402
from training.config import TrainConfig  # noqa: E402
from training.models.depth_network import DepthNetworkConfig  # noqa: E402
from training.stream import Source, shard_source  # noqa: E402
from training.train import main, train  # noqa: E402
from training.trainer import (  # noqa: E402
    DivergedError,
    build_state,
    learning_rate,
    loss_terms,
    set_train_mode,
    train_step,
)

ROOT = Path(__file__).resolve().parents[1]
TINY = TrainConfig(
    network=DepthNetworkConfig(encoder="tiny", decoder_channels=(24, 16, 12, 8)),
    pretrained=False,
    freeze_stride=0,
    first_height=32,
    first_width=96,
    height=64,
    width=128,
    batch_size=4,
    steps=8,
    ema_decay=0.5,
    workers=0,
)


def losses_of(run: Path) -> list[float]:
    return [float(line.split(",")[3]) for line in (run / "log.csv").read_text().splitlines()]


def test_one_batch_can_be_overfitted() -> None:
    config = dataclasses.replace(TINY, steps=120, learning_rate=1e-2, encoder_rate=1.0, error_weight=0.0)
    generator = torch.manual_seed(0)
    depth = torch.full((3, 32, 64), 4.0)
    depth[:, :, 32:] = 20.0
    depth[:, :8] = torch.inf
    batch = {
        "image": torch.randint(0, 256, (3, 32, 64, 3), dtype=torch.uint8, generator=generator),
        "depth": depth,
        "valid_mask": torch.ones_like(depth, dtype=torch.bool),
        "K": torch.eye(3).repeat(3, 1, 1) * 90.0,
    }
    state = build_state(config)
    curve = [train_step(state, batch, config)["loss"] for _ in range(config.steps)]
    assert curve[-1] < 0.1 * curve[0]


def test_a_resumed_run_has_the_loss_curve_of_an_uninterrupted_one(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "data")
    train(TINY, [shard_source(folder)], tmp_path / "whole")
    calls = iter(range(100))
    train(TINY, [shard_source(folder)], tmp_path / "parts", stopped=lambda: next(calls) >= 3)
    assert 0 < len(losses_of(tmp_path / "parts")) < TINY.steps
    train(TINY, [shard_source(folder)], tmp_path / "parts", resume=True)
    assert losses_of(tmp_path / "parts") == losses_of(tmp_path / "whole")
    whole, parts = (load_network(tmp_path / run / "last.pt").state_dict() for run in ("whole", "parts"))
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_a_run_keeps_its_config_beside_its_checkpoint(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "data")
    arguments = f"{folder} --out {tmp_path / 'run'} --encoder tiny --no-pretrained --steps 1 --batch-size 2"
    main([*arguments.split(), "--workers", "0", "--first-height", "32", "--first-width", "64"])
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["network"]["encoder"] == "tiny"
    assert config["steps"] == 1
    assert (tmp_path / "run" / "last.pt").is_file()


def test_a_run_cannot_resume_from_published_weights(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "data")
    checkpoint = train(dataclasses.replace(TINY, steps=1), [shard_source(folder)], tmp_path / "run")
    content = torch.load(checkpoint, weights_only=True)
    del content["training"]
    torch.save(content, checkpoint)
    with pytest.raises(CheckpointError, match="published weights only"):
        train(TINY, [shard_source(folder)], tmp_path / "run", resume=True)


def test_shallow_encoder_layers_keep_their_weights(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "data")
    config = dataclasses.replace(TINY, freeze_stride=4, steps=3)
    before = build_state(config).network.encoder.stages
    after = load_network(train(config, [shard_source(folder)], tmp_path / "run")).encoder.stages
    assert torch.equal(before[1][0].weight, after[1][0].weight)
    assert not torch.equal(before[2][0].weight, after[2][0].weight)


def test_the_learning_rate_rises_then_falls_to_a_hundredth() -> None:
    rates = [learning_rate(TINY, progress) for progress in (0.0, TINY.warm_up_part, 0.5, 1.0)]
    assert rates[0] < rates[1] == TINY.learning_rate > rates[2] > rates[3]
    assert rates[3] == pytest.approx(TINY.learning_rate / 100)


def test_a_run_starts_from_the_weights_of_another(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "data")
    first = train(dataclasses.replace(TINY, steps=2), [shard_source(folder)], tmp_path / "first")
    state = build_state(dataclasses.replace(TINY, seed=99, initial=str(first)))
    for name, value in load_network(first).state_dict().items():
        assert torch.equal(value, state.network.state_dict()[name]), name
        assert torch.equal(value, state.average.module.state_dict()[name]), name


def test_a_run_does_not_start_from_a_network_of_another_kind(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "data")
    first = train(dataclasses.replace(TINY, steps=1), [shard_source(folder)], tmp_path / "first")
    other = dataclasses.replace(TINY, network=DepthNetworkConfig(encoder="tiny"), initial=str(first))
    with pytest.raises(CheckpointError, match="give the options that made it"):
        build_state(other)


def test_compiling_keeps_the_names_of_the_weights() -> None:
    compiled = build_state(dataclasses.replace(TINY, compile=True)).network
    assert compiled.state_dict().keys() == build_state(TINY).network.state_dict().keys()


def toy_source(tmp_path: Path, **size: int) -> list[Source]:
    return [shard_source(write_toy_shards(tmp_path / "data", **size))]


def test_a_killed_run_goes_on_from_its_checkpoint_with_one_line_a_step(tmp_path) -> None:
    sources = toy_source(tmp_path)
    train(TINY, sources, tmp_path / "whole")
    calls = iter(range(100))
    train(TINY, sources, tmp_path / "killed", stopped=lambda: next(calls) >= 3)
    log = tmp_path / "killed" / "log.csv"
    log.write_text(log.read_text() + "4,16,9.9,7.000000\n5,20,9.9,7.000000\n")  # logged, and lost with the process
    train(TINY, sources, tmp_path / "killed", resume=True)
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")


def test_a_resumed_run_with_workers_and_two_sources_is_the_uninterrupted_one(tmp_path) -> None:
    config = dataclasses.replace(TINY, workers=2, steps=6)
    sources = [*toy_source(tmp_path), shard_source(write_toy_shards(tmp_path / "more", frames=7), 2)]
    train(config, sources, tmp_path / "whole")
    calls = iter(range(100))
    train(config, sources, tmp_path / "parts", stopped=lambda: next(calls) >= 2)
    train(config, sources, tmp_path / "parts", resume=True)
    assert losses_of(tmp_path / "parts") == losses_of(tmp_path / "whole")


def test_the_best_network_on_the_validation_frames_is_kept(tmp_path, monkeypatch) -> None:
    errors = iter([0.5, 0.3, 0.4, 0.35])
    monkeypatch.setattr(run_folder, "evaluate_shards", lambda *_, **__: {"abs_rel": next(errors)})
    config = dataclasses.replace(TINY, steps=2, checkpoint_minutes=0.0)
    sources, run = toy_source(tmp_path), tmp_path / "run"
    train(config, sources, run, validation=tmp_path / "data")  # 0.5 after step 1, 0.3 after step 2
    best = (run / "best.pt").read_bytes()
    assert best != (run / "last.pt").read_bytes()
    assert read_checkpoint(run / "last.pt")["training"]["best"] == 0.3
    train(dataclasses.replace(config, steps=4), sources, run, validation=tmp_path / "data", resume=True)
    assert (run / "best.pt").read_bytes() == best
    assert read_checkpoint(run / "last.pt")["training"]["best"] == 0.3
    assert load_network(run / "best.pt").config == TINY.network


def test_ctrl_c_finishes_the_step_and_leaves_a_checkpoint_to_resume_from(tmp_path) -> None:
    folder, run = write_toy_shards(tmp_path / "data"), tmp_path / "run"
    options = "--encoder tiny --no-pretrained --freeze-stride 0 --first-height 32 --first-width 96 --no-board"
    command = [sys.executable, "-m", "training.train", str(folder), "--out", str(run), *options.split()]
    # A group of its own: a terminal sends Ctrl-C to the loading process too.
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        log, deadline = run / "log.csv", time.monotonic() + 60
        while not (log.is_file() and log.stat().st_size > 0) and time.monotonic() < deadline:
            time.sleep(0.1)
            assert process.poll() is None, process.communicate()[0]
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert f"stopped: {run / 'last.pt'}" in output
    assert "Traceback" not in output
    assert read_checkpoint(run / "last.pt")["training"]["step"] == len(losses_of(run)) < TrainConfig().steps


def a_batch(*, focal: float = 90.0) -> dict[str, torch.Tensor]:
    """Three images of level ground 1.6 m below the camera, under sky; sizes H != W."""
    rows = torch.arange(32, dtype=torch.float32)[:, None].expand(32, 64) - 12.3
    depth = torch.where(rows > 0, focal * 1.6 / rows, torch.inf).repeat(3, 1, 1)
    depth[:, :, :5] = torch.nan
    K = torch.tensor([[focal, 0.0, 30.0], [0.0, focal, 12.3], [0.0, 0.0, 1.0]])
    image = torch.randint(0, 256, (3, 32, 64, 3), dtype=torch.uint8, generator=torch.manual_seed(0))
    return {"image": image, "depth": depth, "valid_mask": ~depth.isnan(), "K": K.repeat(3, 1, 1)}


def test_the_loss_is_the_weighted_sum_of_the_chosen_terms() -> None:
    batch = a_batch()
    log_depth = torch.log(torch.full((3, 32, 64), 9.0))
    log_error = torch.full((3, 32, 64), -1.0)
    none = {f.name: 0.0 for f in dataclasses.fields(TrainConfig) if f.name.endswith("_weight")}
    chosen = dataclasses.replace(TINY, **{**none, "mae_weight": 0.5, "normal_weight": 3.0})
    terms = loss_terms(log_depth, log_error, batch, chosen)
    assert set(terms) == {"loss", "mae", "normal"}
    assert terms["loss"].item() == pytest.approx(0.5 * terms["mae"].item() + 3.0 * terms["normal"].item())
    # A wall ahead against level ground: right angles; the sky has no normal and does not dilute the mean.
    assert terms["normal"].item() == pytest.approx(1.0, abs=1e-3)
    everything = dataclasses.replace(TINY, **dict.fromkeys(none, 1.0))
    terms = loss_terms(log_depth, log_error, batch, everything)
    assert set(terms) == {"loss", "silog", "log_l1", "gradient", "error", "mae", "mse", "cosine", "normal"}
    assert all(math.isfinite(value.item()) for value in terms.values())


def test_bfloat16_takes_nearly_the_step_of_float32() -> None:
    results = []
    for precision in ("fp32", "bf16"):
        config = dataclasses.replace(TINY, precision=precision)
        state = build_state(config)
        set_train_mode(state.network, config)
        results.append(train_step(state, a_batch(), config))
        assert all(p.dtype == torch.float32 for p in state.network.parameters())
    assert results[0]["loss"] != results[1]["loss"]  # it was in use
    assert results[1]["loss"] == pytest.approx(results[0]["loss"], rel=0.02)
    assert results[1]["gradient_norm"] == pytest.approx(results[0]["gradient_norm"], rel=0.1)


def test_an_image_without_a_valid_pixel_teaches_nothing_and_stops_nothing() -> None:
    batch = a_batch()
    batch["depth"][:] = torch.nan
    batch["valid_mask"][:] = False
    state = build_state(TINY)
    values = train_step(state, batch, TINY)
    assert values["gradient_norm"] == pytest.approx(0.0, abs=1e-6)
    assert math.isfinite(values["loss"])


@pytest.mark.parametrize("name", ["depth", "K"])
def test_a_loss_that_is_not_finite_ends_the_run_before_it_harms_the_weights(name: str) -> None:
    state = build_state(TINY)
    train_step(state, a_batch(), TINY)
    before = {key: value.clone() for key, value in state.network.named_parameters()}
    bad = a_batch()
    bad[name][1] = torch.nan  # the mask still says valid
    bad["valid_mask"][:] = True
    with pytest.raises(DivergedError, match=r"step 2: loss is nan.* on samples 3 to 5 of seed 1"):
        train_step(state, bad, TINY)
    assert all(torch.equal(before[key], value) for key, value in state.network.named_parameters())


class SpoiledSamples:
    """A fake source: samples whose camera is unknown from number 8 on."""

    def __init__(self, **_: int) -> None:
        self.sample = {name: values[0] for name, values in a_batch().items()}

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return {**self.sample, "K": self.sample["K"] * (torch.nan if number >= 8 else 1.0)}


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(tmp_path) -> None:
    sources, run = [Source(SpoiledSamples)], tmp_path / "run"
    train(dataclasses.replace(TINY, steps=2), sources, run)
    good = (run / "last.pt").read_bytes()
    with pytest.raises(DivergedError, match=r"step 3: loss is nan.* on samples 8 to 11"):
        train(dataclasses.replace(TINY, steps=9), sources, run, resume=True)
    assert (run / "last.pt").read_bytes() == good
    assert len(losses_of(run)) == 2


def test_frozen_norms_keep_their_statistics(tmp_path) -> None:
    config = dataclasses.replace(TINY, freeze_norms=True, steps=2)
    state = build_state(config)
    before = {name: value.clone() for name, value in state.network.named_buffers()}
    after = dict(load_network(train(config, toy_source(tmp_path), tmp_path / "run")).named_buffers())
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any("running_mean" in name for name in before)


def test_tensorboard_shows_curves_pictures_and_points(tmp_path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = dataclasses.replace(TINY, steps=10, validation_frames=2)
    sources = toy_source(tmp_path)
    train(config, sources, tmp_path / "run", validation=tmp_path / "data", board=True)
    events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "board"), size_guidance={"images": 0})
    events.Reload()
    [logged] = events.Scalars("train/loss")
    assert logged.step == 10
    assert logged.value == pytest.approx(losses_of(tmp_path / "run")[-1], abs=1e-5)
    assert events.Scalars("validation/abs_rel")[0].value > 0
    assert {"train/silog", "train/gradient_norm", "train/learning_rate"} <= set(events.Tags()["scalars"])
    [picture] = events.Images("sample_0")
    # Input, prediction, target and error of a 128 x 64 frame, one below the other.
    assert (picture.width, picture.height) == (128, 4 * 64)
    assert any(tag.startswith("points") for tag in events.Tags()["tensors"])


def test_without_validation_the_board_shows_the_batch(tmp_path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(dataclasses.replace(TINY, steps=1), toy_source(tmp_path), tmp_path / "run", board=True)
    events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "board"))
    events.Reload()
    assert len([tag for tag in events.Tags()["images"] if tag.startswith("sample_")]) == TINY.batch_size


def test_the_board_s_points_are_those_of_the_depth() -> None:
    depth = np.array([[2.0, 4.0, 100.0]], dtype=np.float32)
    image = np.arange(9, dtype=np.uint8).reshape(1, 3, 3)
    K = np.array([[10.0, 0, 0.0], [0, 20.0, 4.0], [0, 0, 1]], dtype=np.float32)
    points, colours = cloud(depth, image, K, max_depth=100.0)
    # x = (u - 0) / 10 * z; y down is (0 - 4) / 20 * z, drawn upwards; forward is -z there.
    np.testing.assert_allclose(points, [[0.0, 0.4, -2.0], [0.4, 0.8, -4.0]], rtol=1e-6)
    np.testing.assert_array_equal(colours, image[0, :2])


def test_a_run_is_not_written_over(tmp_path, capsys) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.pt").write_bytes(b"hours of work")
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), "--out", str(run)])
    assert ended.value.code == 1
    assert "go on with --resume" in capsys.readouterr().err
    assert (run / "last.pt").read_bytes() == b"hours of work"


def test_a_run_s_folder_that_cannot_be_written_is_named_before_training(tmp_path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(CheckpointError, match="run: the run's folder cannot be written"):
        train(TINY, toy_source(tmp_path), tmp_path / "run")


def test_a_checkpoint_of_another_network_is_not_resumed_from(tmp_path) -> None:
    sources = toy_source(tmp_path)
    train(dataclasses.replace(TINY, steps=1), sources, tmp_path / "run")
    other = dataclasses.replace(TINY, network=DepthNetworkConfig(encoder="tiny", decoder_channels=(16, 12, 8, 8)))
    with pytest.raises(CheckpointError, match="not a state of this run's network"):
        train(other, sources, tmp_path / "run", resume=True)
