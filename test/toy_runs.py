"""Small runs for tests of the trainer: a tiny network, a batch and samples made of numbers. Needs torch."""

from __future__ import annotations

from pathlib import Path

import torch
from toy_shards import write_toy_shards

from training.config import TrainConfig
from training.models.depth_network import DepthNetworkConfig
from training.stream import Source, shard_source

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


def toy_source(tmp_path: Path, **size: int) -> list[Source]:
    return [shard_source(write_toy_shards(tmp_path / "data", **size))]


def a_batch(*, focal: float = 90.0) -> dict[str, torch.Tensor]:
    """Three images of level ground 1.6 m below the camera, under sky; sizes H != W."""
    rows = torch.arange(32, dtype=torch.float32)[:, None].expand(32, 64) - 12.3
    depth = torch.where(rows > 0, focal * 1.6 / rows, torch.inf).repeat(3, 1, 1)
    depth[:, :, :5] = torch.nan
    K = torch.tensor([[focal, 0.0, 30.0], [0.0, focal, 12.3], [0.0, 0.0, 1.0]])
    image = torch.randint(0, 256, (3, 32, 64, 3), dtype=torch.uint8, generator=torch.manual_seed(0))
    return {"image": image, "depth": depth, "valid_mask": ~depth.isnan(), "K": K.repeat(3, 1, 1)}
