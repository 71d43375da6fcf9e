"""Encoders side by side in ONNX Runtime: time, size and work of each, and of the papers' ResNet-18.

    python -m benchmarks.encoders [--threads 2] [--rounds 30] [ENCODER ...]

Each round runs every network once, in turn; the figures to trust are the ratios of one run. "ResNet-18, wide
decoder" is what papers call the ResNet-18 variant: the decoder of monodepth2 (Godard et al. 2019) with its
256-128-64-32-16 channels up to the full resolution. Speed does not depend on the weights, which are random here.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inference import medians
from recon3d_ros.engines import Engine, load_engine
from training.export import export
from training.models.depth_network import ENCODERS, DepthNetwork, DepthNetworkConfig

SHIPPED = "efficientnet_lite0"
WIDE = "resnet18, wide decoder"
WIDE_CHANNELS = (256, 128, 64, 32, 16)
DEFAULT = [SHIPPED, "efficientnet_lite1", "efficientnet_lite2", "resnet18", WIDE]
HEIGHT, WIDTH = 192, 640


class WideDecoder(nn.Module):
    """monodepth2's decoder at inference: two 3x3 convolutions with ELU a level, nearest upsampling, skips.

    Its last level has the image's resolution; the network's head then works there too.
    """

    def __init__(self, encoder_channels: Sequence[int]) -> None:
        super().__init__()
        skips = [*reversed(encoder_channels[:-1]), 0]
        inputs = (encoder_channels[-1], *WIDE_CHANNELS[:-1])
        self.before = nn.ModuleList(_convolution(i, o) for i, o in zip(inputs, WIDE_CHANNELS, strict=True))
        self.after = nn.ModuleList(_convolution(o + s, o) for o, s in zip(WIDE_CHANNELS, skips, strict=True))
        self.out_channels = WIDE_CHANNELS[-1]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = features[-1]
        skips = [*reversed(features[:-1]), None]
        for before, after, skip in zip(self.before, self.after, skips, strict=True):
            x = F.interpolate(before(x), scale_factor=2.0, mode="nearest")
            x = after(x if skip is None else torch.cat([x, skip], dim=1))
        return x


def _convolution(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect"), nn.ELU())


class WideNetwork(DepthNetwork):
    """ResNet-18 with monodepth2's decoder; depth comes at the image's resolution without a last resize."""

    def __init__(self) -> None:
        super().__init__(DepthNetworkConfig(encoder="resnet18"))
        self.decoder = WideDecoder(self.encoder.channels)
        self.head = nn.Conv2d(self.decoder.out_channels, 2, 3, padding=1)

    def forward(self, image: Tensor, focal: Tensor) -> tuple[Tensor, Tensor]:
        x = (image.float().permute(0, 3, 1, 2) - self.image_mean) / self.image_std
        x = torch.sigmoid(self.head(self.decoder(self.encoder(x))))
        return torch.log(x[:, 0] * focal[:, None, None]), x[:, 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("encoders", nargs="*", default=DEFAULT, help=f"of: {', '.join([*ENCODERS, WIDE])}")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of ONNX Runtime")
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    image = np.random.default_rng(0).integers(0, 255, (1, HEIGHT, WIDTH, 3), np.uint8)
    focal = np.array([400.0], np.float32)
    names = list(dict.fromkeys([SHIPPED, *args.encoders]))
    facts: dict[str, str] = {}
    engines: dict[str, Engine] = {}
    for name in names:
        network = WideNetwork() if name == WIDE else DepthNetwork(DepthNetworkConfig(encoder=name))
        network.eval()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            export(network, path, height=HEIGHT, width=WIDTH, name=name, version="0", training_data="none")
            engines[name] = load_engine(path, threads=args.threads)
            size = path.stat().st_size
        parameters = sum(p.numel() for p in network.parameters())
        facts[name] = f"{parameters / 1e6:.2f} | {multiplications(network, image) / 1e9:.2f} | {size / 1e6:.1f}"
    seconds = medians(
        {name: lambda e=engine: e.infer(image, focal) for name, engine in engines.items()}, args.rounds
    )
    print(f"{WIDTH}x{HEIGHT}, ONNX Runtime, {args.threads} threads")
    print("| encoder | M parameters | GMAC | MB | median ms | time / shipped |\n|---|---:|---:|---:|---:|---:|")
    for name, value in seconds.items():
        print(f"| {name} | {facts[name]} | {value * 1e3:.1f} | {value / seconds[SHIPPED]:.2f} |")


@torch.inference_mode()
def multiplications(network: DepthNetwork, image: np.ndarray) -> int:
    """Returns the multiply-adds of one image."""
    with FlopCounterMode(display=False) as counter:
        network.infer(torch.from_numpy(image), torch.tensor([400.0]))
    return int(counter.get_total_flops()) // 2


if __name__ == "__main__":
    main()
