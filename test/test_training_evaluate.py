"""Evaluation of checkpoints and exported models on rendered frames and drives: truth by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from drives import write_drive
from fake_engine import FakeEngine
from onnx_models import write_model
from toy_shards import write_toy_shards

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from recon3d_ros.core.camera import CameraModel  # noqa: E402
from recon3d_ros.core.pipeline import Prediction  # noqa: E402
from training.checkpoints import save_published  # noqa: E402
from training.evaluate import evaluate_shards, main, report_shards  # noqa: E402
from training.models.depth_network import DepthNetwork, DepthNetworkConfig  # noqa: E402
from training.surfaces import surface_masks  # noqa: E402

TINY = DepthNetworkConfig(encoder="tiny", decoder_channels=(24, 16, 12, 8))


def write_frame(folder: Path, depth: np.ndarray, *, focal: float = 50.0) -> Path:
    """Writes one frame of a depth image as a shard folder."""
    height, width = depth.shape
    shard = folder / "shard_00000"
    shard.mkdir(parents=True)
    np.save(shard / "images.npy", np.zeros((1, height, width, 3), np.uint8))
    np.save(shard / "depths.npy", depth[None].astype(np.float16))
    K = [[focal, 0, 0.4 * width], [0, focal, 0.3 * height], [0, 0, 1]]
    np.save(shard / "K.npy", np.array([K], dtype=np.float32))
    return folder


def test_rendered_frames_are_scored_pixel_by_pixel_and_sky_apart(tmp_path: Path) -> None:
    # By rows of 10 pixels: 5 m predicted 6 m; 20 m predicted 10 m; 20 m predicted as nothing in range; sky
    # predicted as sky in one row and at 50 m in another; unknown depth.
    truth = np.array([5.0, 20.0, 20.0, np.inf, np.inf, np.nan])[:, None].repeat(10, axis=1)
    answer = np.array([6.0, 10.0, 100.0, 100.0, 50.0, 7.0], dtype=np.float32)[:, None].repeat(10, axis=1)
    engine = FakeEngine(lambda *_: Prediction(answer[None].copy()), height=6, width=10)
    report = report_shards(engine, write_frame(tmp_path, truth))
    # Nothing in range counts as 80 m: |80 - 20| / 20 = 3.
    assert report.score.metric["1-80 m"]["abs_rel"] == pytest.approx((0.2 + 0.5 + 3.0) / 3)
    assert report.score.metric["1-10 m"]["abs_rel"] == pytest.approx(0.2)
    assert report.score.pixels == {"1-80 m": 30, "1-10 m": 10, "10-30 m": 20, "30-80 m": 0}
    assert report.sky_found == pytest.approx(1 / 2)
    assert report.sky_wrong == pytest.approx(1 / 3)
    assert report.score.confidence is None


def test_the_ground_is_told_from_a_wall_a_roof_edge_and_the_sky() -> None:
    camera = CameraModel(width=96, height=64, fx=60.0, fy=60.0, cx=40.0, cy=20.0)
    rows = np.arange(64, dtype=np.float32)[:, None].repeat(96, axis=1)
    below = np.where(rows > 20, 60 * 1.5 / np.maximum(rows - 20, 1e-3), np.inf)  # flat ground 1.5 m below
    depth = np.minimum(below, 9.0).astype(np.float32)  # a wall 9 m ahead stands on it from row 30 on upwards
    depth[:10] = np.inf
    depth[20:40, 60:80] = 3.0  # and a board stands 3 m ahead
    masks = surface_masks(depth, camera)
    assert masks["ground"][50, 30] and masks["ground"][45, 90]
    assert masks["upright"][18, 30] and masks["upright"][30, 70]
    assert masks["edges"][30, 59] and masks["edges"][30, 60]
    assert not any(mask[:10].any() for mask in masks.values())
    assert np.sum(list(masks.values()), axis=0).max() == 1


def test_a_steep_and_turned_wall_is_upright_whatever_its_heading() -> None:
    camera = CameraModel(width=96, height=64, fx=60.0, fy=60.0, cx=40.0, cy=20.0)
    rays = camera.rays()
    for heading in (0.0, 0.7, 1.2):
        normal = np.array([math.sin(heading), 0.0, math.cos(heading)])
        depth = (8.0 / (rays @ normal)).astype(np.float32)
        depth[depth <= 0] = np.inf
        masks = surface_masks(depth, camera)
        finite = np.isfinite(depth) & (depth < 80) & ~masks["edges"]
        assert finite.sum() > 1000
        assert masks["upright"][5:-5, 5:-5][finite[5:-5, 5:-5]].mean() > 0.98, heading


def test_the_trainers_metrics_are_finite_and_hold_each_range(tmp_path: Path) -> None:
    metrics = evaluate_shards(DepthNetwork(TINY), write_toy_shards(tmp_path), limit=2)
    assert {"abs_rel", "rmse", "silog", "delta1", "abs_rel_sure", "abs_rel_1_10m"} <= metrics.keys()
    assert all(np.isfinite(value) for value in metrics.values())


def test_the_command_judges_published_weights_on_shards_and_on_a_drive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "tiny.safetensors"
    save_published(weights, DepthNetwork(TINY))
    shards, drive = write_toy_shards(tmp_path / "shards"), write_drive(tmp_path / "drive", 2)
    main([str(weights), "--shards", str(shards), "--drive", str(drive), "--json", str(tmp_path / "figures.json")])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["shards"]["score"]["frames"] == 4
    assert figures["shards"]["surfaces"]["ground"]["frames"] == 4
    assert figures["drive"]["methods"]["network"]["pixels"]["1-80 m"] == 2 * 4  # the drive's LiDAR returns
    printed = capsys.readouterr().out
    assert "abs_rel / delta1 by surface" in printed and "best constant" in printed


def test_an_exported_model_is_judged_at_its_own_size_and_refuses_other_shards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "tiny.onnx", height=24, width=40)
    main([str(model), "--drive", str(write_drive(tmp_path / "drive", 1))])
    assert "| network |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([str(model), "--shards", str(write_toy_shards(tmp_path / "shards"))])
    assert "takes images of 40x24, the frames are 128x64" in capsys.readouterr().err


def test_what_cannot_be_judged_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.pt").write_text("not weights")
    for model, reason in (("none.pt", "no such checkpoint"), ("notes.pt", "not a checkpoint")):
        with pytest.raises(SystemExit) as stop:
            main([str(tmp_path / model), "--shards", str(tmp_path)])
        assert stop.value.code == 1
        assert reason in capsys.readouterr().err


def test_a_command_with_nothing_to_judge_on_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["model.onnx"])
    assert "nothing to evaluate on: give --shards, --drive or both" in capsys.readouterr().err
