"""An engine whose answer the test decides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.model import ModelInfo
from recon3d_ros.core.pipeline import Prediction


class FakeEngine:
    """Answers with a function of the batch, and keeps what it was asked.

    Args:
        answer: (images, focals) to a Prediction.
        height, width: of its input, pixels.
        has_free_size: whether it takes any other size too.
        max_depth: metres from which on nothing is in range.
    """

    def __init__(
        self,
        answer: Callable[[npt.NDArray[np.uint8], npt.NDArray[np.float32]], Prediction],
        *,
        height: int = 24,
        width: int = 40,
        has_free_size: bool = False,
        max_depth: float = 100.0,
    ) -> None:
        self._answer = answer
        self.batches: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]] = []
        self.info = ModelInfo(
            name="fake",
            version="1",
            is_metric=True,
            min_depth=0.1,
            max_depth=max_depth,
            sha256="",
            training_data="none",
            licence="Apache-2.0",
            author="tests",
            height=height,
            width=width,
            inputs={},
            outputs={},
            has_free_size=has_free_size,
        )

    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        self.batches.append((images, focals))
        return self._answer(images, focals)
