"""The metric depth network: encoder, decoder, depth and confidence heads, focal length as an input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.decoder import UNetDecoder
from training.models.encoders import ENCODERS

LOG_ERROR_RANGE = (-6.0, 2.0)
MAX_CHANNELS = 4096  # of the decoder: ten times those of the largest encoder, and 0.6 GB a layer


@dataclass(frozen=True)
class DepthNetworkConfig:
    """What a network is made of; a checkpoint keeps it beside the weights.

    Attributes:
        encoder: A name in `ENCODERS`.
        decoder_channels: Channels of the decoder at strides 16, 8, 4 and 2.
        canonical_focal: Focal length in pixels for which the network itself predicts depth.
        canonical_min_depth: Nearest depth it can predict for that focal length, metres.
        canonical_max_depth: Farthest depth it can predict for that focal length, metres.
        min_depth: Nearest metric depth given out, metres.
        max_depth: Farthest metric depth given out, metres; it also means "nothing in range" (sky).
        confidence_tolerance: Confidence is the probability that the true depth lies within this factor.
    """

    encoder: str = "efficientnet_lite0"
    decoder_channels: tuple[int, ...] = (128, 64, 48, 24)
    canonical_focal: float = 400.0
    canonical_min_depth: float = 0.25
    canonical_max_depth: float = 800.0
    min_depth: float = 0.5
    max_depth: float = 100.0
    confidence_tolerance: float = 1.25

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder_channels", tuple(self.decoder_channels))
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder is {self.encoder!r}, expected one of {sorted(ENCODERS)}")
        if not all(type(count) is int and 0 < count <= MAX_CHANNELS for count in self.decoder_channels):
            raise ValueError(
                f"decoder_channels are {self.decoder_channels}, expected whole numbers from 1 to {MAX_CHANNELS}"
            )
        for name in ("canonical_focal", "canonical_min_depth", "canonical_max_depth", "min_depth", "max_depth"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"{name} is {value!r}, expected a number above 0")
        if self.min_depth >= self.max_depth or self.canonical_min_depth >= self.canonical_max_depth:
            raise ValueError(
                f"depth is {self.min_depth}..{self.max_depth} m, canonical {self.canonical_min_depth}.."
                f"{self.canonical_max_depth} m, expected the nearest below the farthest"
            )
        if not isinstance(self.confidence_tolerance, int | float) or not 1 < self.confidence_tolerance < math.inf:
            raise ValueError(f"confidence_tolerance is {self.confidence_tolerance!r}, expected a factor above 1")


class DepthNetwork(nn.Module):
    """Predicts metric depth, and how far off it may be, from one image and its focal length.

    An object of size S at depth z covers s = f * S / z pixels: from pixels alone only z / f can be told. The
    network therefore predicts the depth that a canonical camera of focal length f_c would have needed for the
    same pixels, z_c = z * f_c / f, and the output is scaled back by f / f_c. One set of weights then serves
    every focal length, and images of several cameras can be trained on together.
    Source: Yin et al. 2023 (Metric3D), the label transform.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, config: DepthNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ENCODERS[config.encoder]()
        self.decoder = UNetDecoder(self.encoder.channels, config.decoder_channels)
        self.head = nn.Conv2d(self.decoder.out_channels, 2, 3, padding=1)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(self.encoder, name)).mul(255.0).view(1, 3, 1, 1)
            self.register_buffer(f"image_{name}", values, persistent=False)

    def forward(self, image: Tensor, focal: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts in log space, which is where the losses work.

        Args:
            image: (B, H, W, 3) uint8 RGB; H and W are multiples of 32.
            focal: (B,) float32, fx in pixels at H x W.

        Returns:
            log_depth: (B, H, W) float32, natural logarithm of metres, not clamped to the metric range.
            log_error: (B, H, W) float32, logarithm of the expected absolute error of log_depth.
        """
        # The cast comes first: TensorRT refuses to transpose uint8.
        x = image.float().permute(0, 3, 1, 2)
        x = (x - self.image_mean) / self.image_std
        x = self.head(self.decoder(self.encoder(x.to(self.head.weight.dtype)))).float()
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        low, high = math.log(self.config.canonical_min_depth), math.log(self.config.canonical_max_depth)
        log_canonical = low + (high - low) * torch.sigmoid(x[:, 0])
        log_depth = log_canonical + torch.log(focal / self.config.canonical_focal)[:, None, None]
        return log_depth, x[:, 1].clamp(*LOG_ERROR_RANGE)

    def infer(self, image: Tensor, focal: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts what the one-file model gives out.

        Args:
            image: (B, H, W, 3) uint8 RGB.
            focal: (B,) float32, fx in pixels at H x W.

        Returns:
            depth: (B, H, W) float32 metres along z, within min_depth..max_depth.
            confidence: (B, H, W) float32, probability that the true depth is within `confidence_tolerance`
                of it, the error of log_depth taken as Laplace distributed.
        """
        log_depth, log_error = self(image, focal)
        depth = torch.exp(log_depth).clamp(self.config.min_depth, self.config.max_depth)
        tolerance = math.log(self.config.confidence_tolerance)
        confidence = 1.0 - torch.exp(-tolerance * torch.exp(-log_error))
        return depth, confidence
