"""One image of an object to a set of points on its surface: an image encoder and a decoder of points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.decoder import ConvBlock
from training.models.encoder import ENCODER_STRIDE, Encoder
from training.models.encoders import ENCODERS

MAP_CHANNELS = (128, 64, 32)
HIDDEN = 512


@dataclass(frozen=True)
class ImageToPointsConfig:
    """What a network is made of; a checkpoint keeps it beside the weights.

    Attributes:
        encoder: A name in `ENCODERS`.
        image_size: Height and width of the image, pixels: a multiple of 32.
        points: How many points it gives out.
        map_levels: How often the map branch doubles the size of the encoder's coarsest map; 0 to 3. Each pixel of
            its last map is a point, and the fully connected branch gives the rest.
    """

    encoder: str = "efficientnet_lite0"
    image_size: int = 128
    points: int = 1024
    map_levels: int = 2

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder is {self.encoder!r}, expected one of {sorted(ENCODERS)}")
        if self.image_size <= 0 or self.image_size % ENCODER_STRIDE:
            raise ValueError(f"image_size is {self.image_size}, expected a multiple of {ENCODER_STRIDE}")
        if not 0 <= self.map_levels <= len(MAP_CHANNELS):
            raise ValueError(f"map_levels is {self.map_levels}, expected 0 to {len(MAP_CHANNELS)}")
        if self.points <= self.map_points:
            raise ValueError(
                f"points is {self.points}, expected more than the {self.map_points} of the map branch; "
                "raise points or lower map_levels"
            )

    @property
    def map_points(self) -> int:
        """How many of the points the map branch gives."""
        return (self.image_size // ENCODER_STRIDE << self.map_levels) ** 2 if self.map_levels else 0


class PointDecoder(nn.Module):
    """Points of two branches: a fully connected one for anything, a convolutional one for smooth surfaces.

    Source: Fan et al. 2017 (A Point Set Generation Network for 3D Object Reconstruction from a Single Image), the
    two-branch network.
    """

    def __init__(self, channels: int, config: ImageToPointsConfig) -> None:
        super().__init__()
        side = config.image_size // ENCODER_STRIDE
        self.connected = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * side * side, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 3 * (config.points - config.map_points)),
        )
        outputs = MAP_CHANNELS[: config.map_levels]
        self.blocks = nn.ModuleList(ConvBlock(i, o) for i, o in zip((channels, *outputs), outputs, strict=False))
        self.place = nn.Conv2d(outputs[-1], 3, 3, padding=1) if outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, N, 3) for the encoder's coarsest map (B, C, h, w)."""
        points = self.connected(x).unflatten(1, (-1, 3))
        if self.place is None:
            return points
        for block in self.blocks:
            x = block(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return torch.cat([points, self.place(x).flatten(2).transpose(1, 2)], dim=1)


class ImageToPoints(nn.Module):
    """Predicts points on the whole surface of the object that an image shows, its far side too.

    They are in the axes of the camera (x right, y down, z forward) about the middle of the object's bounding box,
    whose longest side is 1: the size of an unknown object cannot be told from one image.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, config: ImageToPointsConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: Encoder = ENCODERS[config.encoder]()
        self.decoder = PointDecoder(self.encoder.channels[-1], config)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(self.encoder, name)).mul(255.0).view(1, 3, 1, 1)
            self.register_buffer(f"image_{name}", values, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Returns points (B, N, 3) float32 for images (B, H, W, 3) uint8 RGB.

        Raises:
            ValueError: The image has not the size that the network was made for.
        """
        size = self.config.image_size
        if image.shape[1:] != (size, size, 3):
            raise ValueError(f"images are {tuple(image.shape)}, expected (B, {size}, {size}, 3); see image_size")
        # The cast comes first: TensorRT refuses to transpose uint8.
        x = (image.float().permute(0, 3, 1, 2) - self.image_mean) / self.image_std
        return self.decoder(self.encoder(x)[-1]).float()
