"""What travels to a rented machine is light: the checkout, a run's state and packed drives."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from drives import CALIBRATION

from recon3d_ros.engines import default_model_path

MEGABYTE = 10**6
CHECKOUT, STATE, DRIVES = 26 * MEGABYTE, 20 * MEGABYTE, 16 * MEGABYTE
WEIGHT_SUFFIXES = {".onnx", ".safetensors", ".pt"}


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """The files of the checkout that git tracks, paths from its root."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs a git checkout: what is tracked cannot be told elsewhere")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listing.returncode != 0:
        pytest.skip(f"git cannot list the checkout: {listing.stderr.decode(errors='replace').strip()}")
    names = [name for name in listing.stdout.decode().split("\0") if name]
    return [Path(name) for name in names if (ROOT / name).is_file()]


def total(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def test_the_tracked_tree_stays_below_26_mb(tracked: list[Path]) -> None:
    assert total([ROOT / path for path in tracked]) < CHECKOUT


def test_the_weights_are_tracked_once(tracked: list[Path]) -> None:
    weights = [path for path in tracked if path.suffix in WEIGHT_SUFFIXES]
    assert weights == [Path("recon3d_ros/models/street_lite0.onnx")]
    assert (ROOT / weights[0]).samefile(default_model_path())


def write_noisy_drive(folder: Path, frames: int) -> Path:
    """Writes a drive of 640x384 pictures of noise, which no JPEG makes small: its pack is always full."""
    for name in ("image", "lidar"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(frames):
        pixels = rng.integers(0, 256, (384, 640, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"image/{number:06d}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])
        z = rng.uniform(2, 60, (2000, 1))
        sweep = np.hstack([z, z * rng.uniform(-1, 1, (2000, 1)), z * rng.uniform(-0.5, 0.5, (2000, 1)), z * 0])
        np.save(folder / f"lidar/{number:06d}.npy", sweep.astype(np.float32))
    K = [[400.0, 0.0, 300.0], [0.0, 410.0, 200.0], [0.0, 0.0, 1.0]]
    calibration = {**CALIBRATION, "width": 640, "height": 384, "K": K}
    (folder / "calibration.json").write_text(json.dumps(calibration))
    return folder


def test_checkout_state_and_drives_together_stay_below_62_mb(tracked: list[Path], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
    from training.checkpoints import load_network
    from training.compact_state import write_compact_state
    from training.config import TrainConfig
    from training.pack import main
    from training.trainer import build_state

    shipped = load_network(default_model_path())
    config = TrainConfig(network=shipped.config, initial=str(default_model_path()))
    state = build_state(config)
    for weights in state.network.parameters():  # the first step gives the optimiser its moments
        weights.grad = 1e-3 * torch.randn_like(weights) if weights.requires_grad else None
    state.optimizer.step()
    files = write_compact_state(tmp_path / "state", state, config, base=shipped.state_dict())
    assert max(path.stat().st_size for path in files) < 16 * 2**20
    assert total(files) <= STATE

    main([str(write_noisy_drive(tmp_path / "drive", 56)), "-o", str(tmp_path / "pack"), "--quality", "100"])
    packed = total(list((tmp_path / "pack").iterdir()))
    assert 0.95 * DRIVES < packed <= DRIVES

    assert total([ROOT / path for path in tracked]) + total(files) + packed < CHECKOUT + STATE + DRIVES
