"""OpenVINO: an option for Intel CPUs, where it is faster than ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino

from recon3d_ros.core.model import ModelInfo
from recon3d_ros.core.pipeline import Prediction
from recon3d_ros.engines.base import EngineError, EngineOptions, check_batch


class OpenVinoEngine:
    """Runs a one-file model in OpenVINO on the CPU, in float32."""

    def __init__(self, path: Path, info: ModelInfo, options: EngineOptions) -> None:
        self.info = info
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if options.threads > 0:
            config["INFERENCE_NUM_THREADS"] = str(options.threads)
        try:
            compiled = openvino.Core().compile_model(str(path), "CPU", config)
            self._request = compiled.create_infer_request()
        except RuntimeError as error:
            raise EngineError(f"{path}: OpenVINO refuses the model: {error}") from error

    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        """Returns the depth of a batch; see recon3d_ros.core.pipeline.Engine."""
        check_batch(self.info, images, focals)
        try:
            self._request.infer({"image": images, "focal": focals}, share_inputs=True)
        except RuntimeError as error:
            raise EngineError(f"{self.info.name}: OpenVINO failed on a batch of {len(images)}: {error}") from error
        depth = np.array(self._request.get_tensor("depth").data, dtype=np.float32)
        if not self.info.has_confidence:
            return Prediction(depth)
        return Prediction(depth, np.array(self._request.get_tensor("confidence").data, dtype=np.float32))
