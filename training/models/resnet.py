"""ResNet-18 and ResNet-34 as feature encoders, in plain PyTorch: the encoders that most papers compare with.

Source: He et al. 2015 (Deep Residual Learning), table 1. The weights' names are those of torchvision, so that a
file of its ImageNet weights fits; none is fetched here, and the network starts from scratch.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from training.models.encoder import Encoder

RESNET18_BLOCKS = (2, 2, 2, 2)
RESNET34_BLOCKS = (3, 4, 6, 3)
STAGE_CHANNELS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected where the size or the channels change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet(Encoder):
    """The stem's map at stride 2 and the last map of each of the four stages."""

    channels = (64, *STAGE_CHANNELS)
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __init__(self, blocks: Sequence[int] = RESNET18_BLOCKS) -> None:
        """Builds the encoder.

        Args:
            blocks: Number of blocks in each of the four stages.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for stage, (count, outputs) in enumerate(zip(blocks, STAGE_CHANNELS, strict=True)):
            strides = [1 if stage == 0 else 2, *[1] * (count - 1)]
            layer = nn.Sequential()
            for stride in strides:
                layer.append(BasicBlock(inputs, outputs, stride))
                inputs = outputs
            setattr(self, f"layer{stage + 1}", layer)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu(self.bn1(self.conv1(x)))
        features = [x]
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for layer in self._layers():
            x = layer(x)
            features.append(x)
        return features

    def shallow_modules(self, max_stride: int) -> list[nn.Module]:
        stem = [self.conv1, self.bn1] if max_stride >= 2 else []
        return stem + [layer for index, layer in enumerate(self._layers()) if 4 << index <= max_stride]

    def _layers(self) -> list[nn.Module]:
        return [getattr(self, f"layer{stage}") for stage in range(1, 5)]
