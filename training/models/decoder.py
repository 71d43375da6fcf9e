"""A light U-Net decoder of operations that every run time takes: convolution, resize, concat, ReLU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PIXELS_PER_UNIT = 100.0  # keeps the coordinates of a 192x640 image within about -3..3


class ConvBlock(nn.Sequential):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class PositionBias(nn.Module):
    """Adds a learned function of the pixel's place, (u, v, |v|) from the image's centre, to a feature map.

    The depth of the road follows from its row below the horizon (z = f * h / (v - v_horizon)); without this
    term a convolution knows its row only from the zeros at the border. Places are in image pixels, not in
    parts of the image, for the canonical-camera depth is a function of pixels.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.project = nn.Conv2d(3, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, _, H, W = x.shape
        unit = self.stride / PIXELS_PER_UNIT
        u = (torch.arange(W, device=x.device, dtype=torch.float32) - (W - 1) / 2) * unit
        v = (torch.arange(H, device=x.device, dtype=torch.float32) - (H - 1) / 2) * unit
        grid_v, grid_u = torch.meshgrid(v, u, indexing="ij")
        places = torch.stack([grid_u, grid_v, grid_v.abs()])[None]
        return x + self.project(places.to(self.project.weight.dtype))


class UNetDecoder(nn.Module):
    """Joins feature maps from the coarsest (stride 32) to the finest (stride 2).

    Attributes:
        out_channels: Channels of the map returned, at the stride of the finest feature map.
    """

    def __init__(self, encoder_channels: Sequence[int], channels: Sequence[int]) -> None:
        """Builds the decoder.

        Args:
            encoder_channels: Channels of the encoder's maps at strides 2, 4, ... 32, finest first.
            channels: Channels after joining strides 16, 8, 4 and 2: one fewer than the encoder's maps.

        Raises:
            ValueError: The two lengths do not fit.
        """
        super().__init__()
        if len(channels) != len(encoder_channels) - 1:
            raise ValueError(
                f"decoder has {len(channels)} levels, expected {len(encoder_channels) - 1}: "
                f"one for each of the encoder's {len(encoder_channels)} maps but the coarsest"
            )
        skips = list(reversed(encoder_channels[:-1]))
        coarsest_stride = 2 ** len(encoder_channels)
        self.bottleneck = nn.Conv2d(encoder_channels[-1], channels[0], 1)
        self.position = PositionBias(channels[0], coarsest_stride)
        self.mix = ConvBlock(channels[0], channels[0])
        inputs = (channels[0], *channels[:-1])
        self.joins = nn.ModuleList(
            ConvBlock(i + skip, o) for i, skip, o in zip(inputs, skips, channels, strict=True)
        )
        self.positions = nn.ModuleList(
            PositionBias(o, coarsest_stride >> (level + 1)) for level, o in enumerate(channels[:2])
        )
        self.refines = nn.ModuleList(ConvBlock(o, o) for o in channels[:2])
        self.out_channels = channels[-1]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Returns (B, out_channels, H/2, W/2) for the encoder's maps of an H x W image, finest first."""
        x = self.mix(self.position(self.bottleneck(features[-1])))
        for level, skip in enumerate(reversed(features[:-1])):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.joins[level](torch.cat([x, skip], dim=1))
            if level < len(self.refines):
                x = self.refines[level](self.positions[level](x))
        return x
