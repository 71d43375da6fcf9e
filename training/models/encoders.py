"""The encoders by name, for every network that reads images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from training.models.efficientnet_lite import LITE0, LITE1, LITE2, EfficientNetLite
from training.models.encoder import Encoder
from training.models.resnet import RESNET18_BLOCKS, RESNET34_BLOCKS, ResNet
from training.models.tiny_encoder import TinyEncoder

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "efficientnet_lite0": partial(EfficientNetLite, LITE0),
    "efficientnet_lite1": partial(EfficientNetLite, LITE1),
    "efficientnet_lite2": partial(EfficientNetLite, LITE2),
    "resnet18": partial(ResNet, RESNET18_BLOCKS),
    "resnet34": partial(ResNet, RESNET34_BLOCKS),
    "tiny": TinyEncoder,
}
