"""DepthPipeline: camera images in, metric depth out. The whole algorithm on one screen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import limit_range
from recon3d_ros.core.model import ModelInfo
from recon3d_ros.core.preprocess import RawImage, Rectifier


@dataclass(frozen=True)
class Prediction:
    """What a network says of a batch.

    Attributes:
        depth: (B, h, w) float32, metres along z where the model is metric.
        confidence: (B, h, w) float32 in 0..1, or None where the model has none.
    """

    depth: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32] | None = None


class Engine(Protocol):
    """A network that is ready to run. `recon3d_ros.engines.load_engine` makes one."""

    info: ModelInfo

    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        """Returns the depth of a batch.

        Args:
            images: (B, h, w, 3) uint8 RGB, C-contiguous, at the model's height and width.
            focals: (B,) float32, fx of each image in pixels at that size.
        """
        ...


@dataclass(frozen=True)
class DepthFrame:
    """One camera's depth.

    Attributes:
        image: (h, w, 3) uint8 RGB, rectified: what the network saw.
        depth: (h, w) float32, metres along z; NaN is invalid, +Inf is nothing in range (sky).
        confidence: (h, w) float32 in 0..1, or None.
        camera: the undistorted camera of image and depth.
        latency: seconds spent on each stage of the batch this frame was in.
    """

    image: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32] | None
    camera: CameraModel
    latency: dict[str, float]


class DepthPipeline:
    """Rectifies the images of one or more cameras, infers their depth in one batch, limits its range.

    Args:
        engine: the network.
        min_range, max_range: metres along z; nearer depth becomes NaN, farther +Inf.
        crop_position: which part is kept where the camera's image is taller or wider than the network's
            input: 0 top or left, 1 bottom or right.
    """

    MAX_CAMERAS = 64  # rectifiers kept; a camera that changes its calibration gets a new one

    def __init__(
        self,
        engine: Engine,
        *,
        min_range: float = 0.0,
        max_range: float = float("inf"),
        crop_position: float = 0.5,
    ) -> None:
        self.engine = engine
        self.min_range = min_range
        self.max_range = max_range
        self.crop_position = crop_position
        self._rectifiers: dict[tuple[CameraModel, float], Rectifier] = {}

    def __call__(
        self,
        images: Sequence[RawImage],
        cameras: Sequence[CameraModel],
        crop_positions: Sequence[float] | None = None,
    ) -> list[DepthFrame]:
        """Returns one DepthFrame for each image.

        Args:
            images: one image of each camera.
            cameras: their calibrations, at the images' sizes.
            crop_positions: of each camera; None for the pipeline's.

        Raises:
            ValueError: if an image does not have its camera's size.
        """
        start = time.perf_counter()
        crops = [self.crop_position] * len(cameras) if crop_positions is None else crop_positions
        rectifiers = [self.rectifier(camera, crop) for camera, crop in zip(cameras, crops, strict=True)]
        batch = np.stack([rectify(image) for rectify, image in zip(rectifiers, images, strict=True)])
        focals = np.array([rectifier.camera.fx for rectifier in rectifiers], dtype=np.float32)
        rectified = time.perf_counter()

        prediction = self.engine.infer(batch, focals)
        inferred = time.perf_counter()

        out_of_range = min(self.max_range, self.engine.info.max_depth * (1 - 1e-4))
        depth = limit_range(prediction.depth, min_range=self.min_range, max_range=out_of_range)
        depth[depth <= 0] = np.nan
        for index, rectifier in enumerate(rectifiers):
            depth[index][~rectifier.valid_mask] = np.nan
        limited = time.perf_counter()

        latency = {"rectify": rectified - start, "infer": inferred - rectified, "limit": limited - inferred}
        return [
            DepthFrame(
                image=batch[index],
                depth=depth[index],
                confidence=None if prediction.confidence is None else prediction.confidence[index],
                camera=rectifier.camera,
                latency=latency,
            )
            for index, rectifier in enumerate(rectifiers)
        ]

    def rectifier(self, camera: CameraModel, crop_position: float | None = None) -> Rectifier:
        """Returns the rectifier of a camera, made at its first frame; None takes the pipeline's crop position."""
        crop = self.crop_position if crop_position is None else crop_position
        rectifier = self._rectifiers.get((camera, crop))
        if rectifier is None:
            if len(self._rectifiers) >= self.MAX_CAMERAS:
                self._rectifiers.pop(next(iter(self._rectifiers)))
            info = self.engine.info
            rectifier = Rectifier(camera, width=info.width, height=info.height, crop_position=crop)
            self._rectifiers[camera, crop] = rectifier
        return rectifier
