"""A network in PyTorch behind the engines' contract, so that the one DepthPipeline runs and judges it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from recon3d_ros.core.model import ModelInfo
from recon3d_ros.core.pipeline import Prediction
from training.models.depth_network import DepthNetwork


class TorchEngine:
    """Runs a DepthNetwork where its weights are, on images of any size in multiples of 32.

    Args:
        network: What to run.
        height, width: The default size, pixels: that of a DepthPipeline with network_pixels=0.
    """

    def __init__(self, network: DepthNetwork, *, height: int, width: int) -> None:
        self.network = network.eval()
        self.info = ModelInfo(
            name="torch",
            version="0",
            is_metric=True,
            min_depth=network.config.min_depth,
            max_depth=network.config.max_depth,
            sha256="",
            training_data="",
            licence="",
            author="",
            height=height,
            width=width,
            inputs={},
            outputs={},
            has_free_size=True,
        )

    @torch.inference_mode()
    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        """Returns depth and confidence of a batch; see recon3d_ros.core.pipeline.Engine."""
        device = next(self.network.parameters()).device
        depth, confidence = self.network.infer(
            torch.from_numpy(images).to(device), torch.from_numpy(focals).to(device)
        )
        return Prediction(depth.cpu().numpy(), confidence.cpu().numpy())
