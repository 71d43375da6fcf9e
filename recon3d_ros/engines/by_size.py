"""A model of free height and width as engines of one size each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.model import ModelInfo
from recon3d_ros.core.pipeline import Engine, Prediction
from recon3d_ros.engines.base import EngineError, check_batch

MAX_SIZES = 16  # engines that are kept; the one opened first goes


class EnginesBySize:
    """An engine of every size that the model takes; the first image of a size waits for its engine to be opened.

    Args:
        info: of the model.
        open_at: returns the engine of a (height, width). Where it raises EngineError, so does `infer`, without
            another try.
    """

    def __init__(self, info: ModelInfo, open_at: Callable[[tuple[int, int]], Engine]) -> None:
        self.info = info
        self._open_at = open_at
        self._engines: dict[tuple[int, int], Engine | EngineError] = {}

    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        """Returns the depth of a batch; see recon3d_ros.core.pipeline.Engine."""
        check_batch(self.info, images, focals)
        _, height, width, _ = images.shape
        if (height, width) not in self._engines:
            if len(self._engines) >= MAX_SIZES:
                self._engines.pop(next(iter(self._engines)))
            try:
                self._engines[height, width] = self._open_at((height, width))
            except EngineError as error:
                self._engines[height, width] = error
        engine = self._engines[height, width]
        if isinstance(engine, EngineError):
            raise engine
        return engine.infer(images, focals)
