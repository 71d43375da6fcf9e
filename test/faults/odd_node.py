"""The depth node as it is, with one more backend: an engine that misbehaves when it sees certain images.

python test/faults/odd_node.py --ros-args -p backend:=odd ...
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.model import ModelInfo
from recon3d_ros.core.pipeline import Prediction
from recon3d_ros.engines import base
from recon3d_ros.ros.depth_node import main

RAISES, HANGS, IS_NAN, IS_SLOW = 40, 80, 120, 160  # the grey of an image that makes it so


class OddEngine:
    """Answers 5 m, unless the middle of an image is of one of the grey values above."""

    def __init__(self, path: Path, info: ModelInfo, options: base.EngineOptions) -> None:
        self.info = info

    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        B, h, w, _ = images.shape
        greys = {int(image[h // 2, w // 2, 0]) for image in images}
        if RAISES in greys:
            raise RuntimeError("the engine was told to fail")
        if HANGS in greys:
            time.sleep(3600.0)
        if IS_SLOW in greys:
            time.sleep(0.1)
        return Prediction(np.full((B, h, w), np.nan if IS_NAN in greys else 5.0, dtype=np.float32))


if __name__ == "__main__":
    base.BACKENDS["onnxruntime"] = ("__main__", "OddEngine")
    sys.exit(main())
