"""PointNet: what a cloud of points shows, or what each of its points belongs to, whatever their order.

Source: Qi et al. 2017 (PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation), figure 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

LOCAL_CHANNELS = 64
DROPOUT = 0.3


@dataclass(frozen=True)
class PointNetConfig:
    """What a network is made of; a checkpoint keeps it beside the weights.

    Attributes:
        labels: Names of the classes, in the order of its outputs.
        per_point: Label each point (segmentation) rather than the whole cloud (classification).
        points: How many points a cloud has while training; the network itself takes any number.
        global_channels: Channels of the maximum over all points; 1024 in the paper.
    """

    labels: tuple[str, ...] = ()
    per_point: bool = False
    points: int = 1024
    global_channels: int = 1024

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels are {self.labels}, expected two or more different names")
        if self.points < 1:
            raise ValueError(f"points is {self.points}, expected 1 or more")
        if self.global_channels < 4 or self.global_channels % 4:
            raise ValueError(f"global_channels is {self.global_channels}, expected a multiple of 4")


def shared_layer(inputs: int, outputs: int) -> nn.Sequential:
    """Returns one layer of the perceptron that all points share: (B, inputs, N) to (B, outputs, N)."""
    return nn.Sequential(nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())


def dense_layer(inputs: int, outputs: int) -> nn.Sequential:
    """Returns one layer on the features of a whole cloud: (B, inputs) to (B, outputs)."""
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())


class Transform(nn.Module):
    """The T-Net: predicts the k x k matrix that brings points or features into a pose of their own choosing."""

    def __init__(self, k: int, global_channels: int) -> None:
        super().__init__()
        G = global_channels
        self.k = k
        self.shared = nn.Sequential(shared_layer(k, 64), shared_layer(64, 128), shared_layer(128, G))
        self.dense = nn.Sequential(dense_layer(G, G // 2), dense_layer(G // 2, G // 4))
        self.matrix = nn.Linear(G // 4, k * k)
        nn.init.zeros_(self.matrix.weight)  # the identity at first
        nn.init.zeros_(self.matrix.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, k, k) for x (B, k, N)."""
        matrix = self.matrix(self.dense(self.shared(x).amax(dim=2))).unflatten(1, (self.k, self.k))
        return matrix + torch.eye(self.k, dtype=x.dtype, device=x.device)


class PointEncoder(nn.Module):
    """Features of each point, and the maximum of deeper ones over all points: no order of points can change it."""

    def __init__(self, global_channels: int) -> None:
        super().__init__()
        L, G = LOCAL_CHANNELS, global_channels
        self.input_transform = Transform(3, G)
        self.shallow = nn.Sequential(shared_layer(3, L), shared_layer(L, L))
        self.feature_transform = Transform(L, G)
        self.deep = nn.Sequential(
            shared_layer(L, L), shared_layer(L, 128), nn.Conv1d(128, G, 1, bias=False), nn.BatchNorm1d(G)
        )

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns features of points (B, 64, N) and of clouds (B, G), and the feature transform (B, 64, 64).

        Args:
            points: (B, N, 3).
        """
        points = points @ self.input_transform(points.transpose(1, 2))
        x = self.shallow(points.transpose(1, 2))
        transform = self.feature_transform(x)
        x = transform.transpose(1, 2) @ x
        return x, self.deep(x).amax(dim=2), transform

    def shallow_modules(self, max_stride: int) -> list[nn.Module]:
        """Returns no layers: points have no strides, nothing of it can be frozen by one."""
        return []


class PointNet(nn.Module):
    """Scores of the classes for clouds, or for each of their points."""

    def __init__(self, config: PointNetConfig) -> None:
        super().__init__()
        self.config = config
        G, classes = config.global_channels, len(config.labels)
        self.encoder = PointEncoder(G)
        if config.per_point:
            self.head = nn.Sequential(
                shared_layer(LOCAL_CHANNELS + G, G // 2),
                shared_layer(G // 2, G // 4),
                shared_layer(G // 4, 128),
                nn.Conv1d(128, classes, 1),
            )
        else:
            self.head = nn.Sequential(
                dense_layer(G, G // 2),
                dense_layer(G // 2, G // 4),
                nn.Dropout(DROPOUT),
                nn.Linear(G // 4, classes),
            )

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits (B, classes), or (B, N, classes) per point, and the feature transform (B, 64, 64).

        Args:
            points: (B, N, 3) float32; N is 1 or more.
        """
        features, whole, transform = self.encoder(points)
        if not self.config.per_point:
            return self.head(whole).float(), transform.float()
        whole = whole[:, :, None].expand(-1, -1, points.shape[1])
        return self.head(torch.cat([features, whole], dim=1)).transpose(1, 2).float(), transform.float()


def orthogonality(transform: Tensor) -> Tensor:
    """Returns the mean of |I - A A^T|^2 over matrices A (B, k, k): 0 for rotations, which lose nothing.

    Source: Qi et al. 2017, equation 2; the weight there is 0.001.
    """
    identity = torch.eye(transform.shape[1], dtype=transform.dtype, device=transform.device)
    return ((identity - transform @ transform.transpose(1, 2)) ** 2).sum(dim=(1, 2)).mean()
