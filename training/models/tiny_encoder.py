"""A very small encoder with the interface of the real ones: for tests and for trying things out."""

from __future__ import annotations

from torch import Tensor, nn

from training.models.encoder import Encoder


class TinyEncoder(Encoder):
    """One strided convolution for each feature map."""

    channels = (8, 12, 16, 24, 32)
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *self.channels[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
            for i, o in zip(inputs, self.channels, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def shallow_modules(self, max_stride: int) -> list[nn.Module]:
        return [stage for index, stage in enumerate(self.stages) if 2 ** (index + 1) <= max_stride]
