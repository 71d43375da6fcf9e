"""The trainer: it learns, it resumes exactly, and it stops cleanly. Evaluation against hand-worked truth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from toy_shards import write_toy_shards

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from recon3d_ros.core.camera import CameraModel  # noqa: E402
from training.checkpoints import CheckpointError, load_network  # noqa: E402
from training.config import TrainConfig  # noqa: E402
from training.evaluate import evaluate_shards, frame_metrics, project_lidar  # noqa: E402
from training.models.depth_network import DepthNetworkConfig  # noqa: E402
from training.stream import shard_source  # noqa: E402
from training.train import main, train  # noqa: E402
from training.trainer import build_state, learning_rate, train_step  # noqa: E402

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
    config = dataclasses.replace(TINY, steps=300, learning_rate=5e-3, encoder_rate=1.0, error_weight=0.0)
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


def test_evaluation_of_shards_gives_every_metric(tmp_path) -> None:
    network = build_state(TINY).network
    metrics = evaluate_shards(network, write_toy_shards(tmp_path), limit=2)
    assert {"abs_rel", "rmse", "silog", "delta1", "abs_rel_sure"} <= metrics.keys()
    assert all(np.isfinite(value) for value in metrics.values())


def test_metrics_leave_out_sky_and_far_truth_and_keep_the_sure_part() -> None:
    depth = np.array([10.0, 10.0, 10.0, 10.0, 40.0, 5.0, np.inf], dtype=np.float32)
    target = np.array([10.0, 10.0, 10.0, 10.0, 20.0, np.inf, 90.0], dtype=np.float32)
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 1.0, 1.0], dtype=np.float32)
    metrics = frame_metrics(depth, confidence, target)
    assert metrics["abs_rel"] == pytest.approx(1 / 5)
    assert metrics["abs_rel_sure"] == pytest.approx(0.0)


def test_lidar_projects_to_the_nearest_return_of_a_pixel() -> None:
    camera = CameraModel(width=20, height=10, fx=10, fy=10, cx=8, cy=4)
    forward_left_up_to_right_down_forward = np.array(
        [[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64
    )
    sweep = np.array([[5, -1, 0, 0], [10, -2, 0, 0], [-5, 0, 0, 0], [1, 90, 0, 0]], dtype=np.float32)
    depth = project_lidar(sweep, forward_left_up_to_right_down_forward, camera)
    # One metre to the right at 5 m: u = 8 + 10 * 1 / 5; the point behind it at 10 m is hidden.
    assert depth[4, 10] == 5.0
    assert np.isfinite(depth).sum() == 1


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
