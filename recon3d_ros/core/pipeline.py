"""DepthPipeline: camera images in, metric depth out. The whole algorithm on one screen."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import limit_range
from recon3d_ros.core.model import ModelInfo
from recon3d_ros.core.network_size import DEFAULT_NETWORK_PIXELS, network_size
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
            images: (B, h, w, 3) uint8 RGB, C-contiguous, of a size that the model takes.
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
        latency: seconds that each stage took, of all the images that went through the pipeline in this frame's
            call: it waits for them, also where they are of another size and so of another batch.
    """

    image: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32] | None
    camera: CameraModel
    latency: dict[str, float]


@dataclass(frozen=True)
class Framing:
    """How the image of a camera is cut and resized for the network.

    Attributes:
        network_pixels: about as many has the network's input, in the camera's shape; 0 takes the model's default
            size. A model of a fixed size has that size.
        crop_position: which part is kept where the camera's image is taller or wider than the network's input:
            0 top or left, 1 bottom or right.
    """

    network_pixels: int = DEFAULT_NETWORK_PIXELS
    crop_position: float = 0.5


class DepthPipeline:
    """Rectifies the images of one or more cameras, infers their depth in one batch a size, limits its range.

    Args:
        engine: the network.
        min_range, max_range: metres along z; nearer depth becomes NaN, farther +Inf.
        network_pixels, crop_position: see Framing.
    """

    # Rectifiers kept; a camera that changes its calibration gets a new one, of 7 bytes a pixel.
    MAX_CAMERAS, MAX_KEPT_PIXELS = 64, 64_000_000

    def __init__(
        self,
        engine: Engine,
        *,
        min_range: float = 0.0,
        max_range: float = float("inf"),
        network_pixels: int = DEFAULT_NETWORK_PIXELS,
        crop_position: float = 0.5,
    ) -> None:
        self.engine = engine
        self.min_range = min_range
        self.max_range = max_range
        self.framing = Framing(network_pixels, crop_position)
        self._rectifiers: dict[tuple[CameraModel, Framing], Rectifier] = {}

    def __call__(
        self,
        images: Sequence[RawImage],
        cameras: Sequence[CameraModel],
        framings: Sequence[Framing] | None = None,
    ) -> list[DepthFrame]:
        """Returns one DepthFrame for each image.

        Args:
            images: one image of each camera.
            cameras: their calibrations, at the images' sizes.
            framings: of each camera; None for the pipeline's.

        Raises:
            ValueError: if an image does not have its camera's size.
        """
        framings = [self.framing] * len(cameras) if framings is None else framings
        rectifiers = [
            self.rectifier(camera, framing) for _, camera, framing in zip(images, cameras, framings, strict=True)
        ]
        frames: dict[int, DepthFrame] = {}
        latency: dict[str, float] = defaultdict(float)
        for places in by_size(rectifiers):
            made = self._infer([rectifiers[place] for place in places], [images[place] for place in places])
            frames.update(zip(places, made, strict=True))
            for stage, seconds in made[0].latency.items():
                latency[stage] += seconds
        return [replace(frames[place], latency=dict(latency)) for place in range(len(images))]

    def _infer(self, rectifiers: Sequence[Rectifier], images: Sequence[RawImage]) -> list[DepthFrame]:
        """Returns the frames of images that the network sees at one size: a batch."""
        start = time.perf_counter()
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

    def network_size(self, camera: CameraModel, framing: Framing | None = None) -> tuple[int, int]:
        """Returns the (height, width) at which the network sees a camera; None takes the pipeline's framing."""
        return network_size(self.engine.info, camera, (framing or self.framing).network_pixels)

    def rectifier(self, camera: CameraModel, framing: Framing | None = None) -> Rectifier:
        """Returns the rectifier of a camera, made at its first frame; None takes the pipeline's framing."""
        framing = framing or self.framing
        rectifier = self._rectifiers.get((camera, framing))
        if rectifier is None:
            height, width = self.network_size(camera, framing)
            self._make_room(height * width)
            rectifier = Rectifier(camera, width=width, height=height, crop_position=framing.crop_position)
            self._rectifiers[camera, framing] = rectifier
        return rectifier

    def _make_room(self, pixels: int) -> None:
        """Forgets the rectifiers made first, until there is room for another of so many pixels."""
        kept = {key: made.camera.height * made.camera.width for key, made in self._rectifiers.items()}
        while kept and (len(kept) >= self.MAX_CAMERAS or sum(kept.values()) + pixels > self.MAX_KEPT_PIXELS):
            oldest = next(iter(kept))
            del kept[oldest], self._rectifiers[oldest]


def by_size(rectifiers: Sequence[Rectifier]) -> list[list[int]]:
    """Returns the places of the rectifiers whose images can be one batch: those that give out one size."""
    batches: dict[tuple[int, int], list[int]] = {}
    for place, rectifier in enumerate(rectifiers):
        batches.setdefault((rectifier.camera.height, rectifier.camera.width), []).append(place)
    return list(batches.values())
