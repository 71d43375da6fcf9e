"""What every encoder looks like to the decoder and the trainer."""

from __future__ import annotations

from torch import Tensor, nn

ENCODER_STRIDE = 32  # of the coarsest feature map


class Encoder(nn.Module):
    """Feature maps at strides 2, 4, 8, 16 and 32 of an image normalised by `mean` and `std`.

    Attributes:
        channels: Channels of the five feature maps, finest first.
        mean: Subtracted from the image in 0..1; the mean that the encoder's published weights expect.
        std: Divides the image after that.
    """

    channels: tuple[int, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns one feature map a stride, finest first, for x (B, 3, H, W); H and W are multiples of 32."""
        raise NotImplementedError

    def shallow_modules(self, max_stride: int) -> list[nn.Module]:
        """Returns the layers up to `max_stride`: those that see only local texture."""
        raise NotImplementedError
