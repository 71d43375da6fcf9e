"""ONNX Runtime: the embedded default, on any CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from recon3d_ros.core.model import ModelInfo
from recon3d_ros.core.pipeline import Prediction
from recon3d_ros.engines.base import EngineError, EngineOptions, check_batch


class OnnxRuntimeEngine:
    """Runs a one-file model in ONNX Runtime on the CPU."""

    def __init__(self, path: Path, info: ModelInfo, options: EngineOptions) -> None:
        self.info = info
        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = options.threads
        # A spinning pool steals the cores that DDS and the conversions need between two frames.
        session.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(path), session, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes
            raise EngineError(f"{path}: ONNX Runtime refuses the model: {error}") from error
        self._outputs = ["depth", "confidence"] if info.has_confidence else ["depth"]

    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        """Returns the depth of a batch; see recon3d_ros.core.pipeline.Engine."""
        check_batch(self.info, images, focals)
        try:
            outputs = self._session.run(self._outputs, {"image": images, "focal": focals})
        except Exception as error:
            raise EngineError(
                f"{self.info.name}: ONNX Runtime failed on a batch of {len(images)}: {error}"
            ) from error
        return Prediction(*outputs)
