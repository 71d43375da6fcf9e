"""Adaptation: the split in time, the whole way from a drive to a model file that knows it, and bad input."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from drives import HEIGHT, WIDTH, K, camera_messages, write_bag, write_drive
from toy_shards import write_toy_shards

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
pytest.importorskip("onnxscript", reason="needs onnxscript: pip install -r requirements/training.txt")

from recon3d_ros.core.camera import CameraModel  # noqa: E402
from recon3d_ros.core.drive import DriveError  # noqa: E402
from recon3d_ros.core.model import read_model_info  # noqa: E402
from recon3d_ros.core.pipeline import DepthPipeline  # noqa: E402
from recon3d_ros.core.preprocess import RawImage  # noqa: E402
from recon3d_ros.core.truth import TrueFrame  # noqa: E402
from recon3d_ros.engines import load_engine  # noqa: E402
from training.adapt import adapt, adaptation_config, main, split  # noqa: E402
from training.adaptation_report import judge  # noqa: E402
from training.checkpoints import load_network, save_published  # noqa: E402
from training.datasets.drive import DriveFrames  # noqa: E402
from training.models.depth_network import DepthNetwork, DepthNetworkConfig  # noqa: E402

WALL = 7.0  # metres


def write_wall(folder: Path, count: int = 12) -> Path:
    """Writes a drive whose LiDAR sees a wall straight ahead, everywhere in the image."""
    write_drive(folder, count)
    side, up = np.meshgrid(np.linspace(-4, 4, 60), np.linspace(-2.5, 2.5, 30))
    sweep = np.zeros((side.size, 4), dtype=np.float32)
    sweep[:, 0], sweep[:, 1], sweep[:, 2] = WALL + 0.1, side.ravel(), up.ravel()  # the LiDAR is 0.1 m behind
    for file in (folder / "lidar").iterdir():
        np.save(file, sweep)
    return folder


def write_tiny_network(folder: Path) -> Path:
    torch.manual_seed(3)
    network = DepthNetwork(DepthNetworkConfig(encoder="tiny", decoder_channels=(24, 16, 12, 8)))
    path = folder / "tiny.safetensors"
    save_published(path, network)
    return path


def test_the_default_split_leaves_a_gap_in_time() -> None:
    assert split(100) == (range(64), range(74, 100))
    assert split(78, train_frames=50, test_frames=20) == (range(50), range(58, 78))


@pytest.mark.parametrize(("count", "train", "test"), [(2, 0, 0), (70, 50, 20), (10, 5, 6)])
def test_a_drive_too_short_for_a_gap_is_refused(count: int, train: int, test: int) -> None:
    with pytest.raises(DriveError, match=f"do not fit into {count} frames"):
        split(count, train_frames=train, test_frames=test)


def test_a_network_is_judged_at_the_returns_of_the_sweep() -> None:
    camera = CameraModel(WIDTH, HEIGHT, K[0][0], K[1][1], K[0][2], K[1][2])

    class HalfWay(DepthNetwork):
        def infer(self, image: torch.Tensor, focal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.full(image.shape[:3], 5.0), torch.full(image.shape[:3], 0.5)

    network = HalfWay(DepthNetworkConfig(encoder="tiny", decoder_channels=(24, 16, 12, 8)))
    image = RawImage(np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8), "bgr")
    frame = TrueFrame("a", "", image, camera, np.array([[0, 0, 10.0], [1, 0, 4.0]]), None)
    judgement = judge(network, [frame], height=32, width=64)
    assert judgement.mean.metric["1-80 m"]["abs_rel"] == pytest.approx((0.5 + 0.25) / 2)


def test_a_network_is_adapted_at_the_size_at_which_the_node_runs_it(tmp_path: Path) -> None:
    camera = CameraModel(1920, 1080, 1000.0, 1000.0, 955.0, 537.0)
    config = adaptation_config(write_tiny_network(tmp_path), camera, steps=1)
    assert (config.height, config.width) == (config.first_height, config.first_width) == (256, 448)


def test_a_drive_becomes_a_model_file_that_knows_it_and_a_report(tmp_path: Path) -> None:
    checkpoint = write_tiny_network(tmp_path)
    frames = DriveFrames(write_wall(tmp_path / "drive"))
    config = dataclasses.replace(
        adaptation_config(checkpoint, frames.camera, steps=30, workers=0),
        freeze_stride=0,
        freeze_norms=False,
        first_height=32,
        first_width=64,
        height=32,
        width=64,
        learning_rate=1e-2,
        ema_decay=0.8,
    )
    shards = write_toy_shards(tmp_path / "shards")
    out = tmp_path / "out"
    before, after = adapt(frames, config, out, train_frames=7, test_frames=3, rendered=shards)
    assert after.mean.metric["1-80 m"]["abs_rel"] < 0.5 * before.mean.metric["1-80 m"]["abs_rel"]

    info = read_model_info(out / "adapted.onnx")
    assert (info.height, info.width) == (32, 64)
    assert "000000 to 000006" in info.training_data
    [depth] = DepthPipeline(load_engine(out / "adapted.onnx"), network_pixels=0)(
        [RawImage(frames[9].image, "rgb")], [frames[9].camera]
    )
    assert float(np.median(depth.depth)) == pytest.approx(WALL, rel=0.35)
    assert load_network(out / "adapted.safetensors").config == config.network

    report = (out / "report.md").read_text()
    assert "judged on 3 held-out ones (000009 to 000011); 2 between them are in neither" in report
    assert all((out / name).stat().st_size for name in ("best_before.jpg", "worst_after.jpg"))
    figures = json.loads((out / "report.json").read_text())
    assert list(figures["frames"]) == ["000009", "000010", "000011"]
    assert figures["after"]["metric"]["1-80 m"] == pytest.approx(after.mean.metric["1-80 m"])


def test_what_cannot_be_adapted_to_is_refused_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, out, empty = write_tiny_network(tmp_path), tmp_path / "out", tmp_path / "empty"
    empty.mkdir()

    def refusal(drive: Path, *options: object) -> str:
        given = ["--checkpoint", checkpoint, "--out", out, *options]
        with pytest.raises(SystemExit) as caught:
            main([str(drive), *map(str, given)])
        assert caught.value.code == 1
        [line] = capsys.readouterr().err.splitlines()
        return line

    assert "has no LiDAR" in refusal(write_bag(tmp_path / "bag", camera_messages(2)))
    assert "empty: has no .jpg" in refusal(empty)
    assert "do not fit into 2 frames" in refusal(write_wall(tmp_path / "short", 2))
    drive = write_wall(tmp_path / "drive")
    assert "no such checkpoint" in refusal(drive, "--checkpoint", "none.pt")
    assert "steps is 0, expected 1 or more" in refusal(drive, "--steps", 0)
    assert "no shard found" in refusal(drive, "--rendered", empty)
    assert not (out / "adapted.onnx").exists()
    assert "is not empty; name a new folder" in refusal(drive, "--out", drive)
