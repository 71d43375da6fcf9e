"""OpenVINO: an option for Intel CPUs, where it is faster than ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino

from recon3d_ros.core.model import ModelInfo
from recon3d_ros.core.pipeline import Prediction
from recon3d_ros.engines.base import EngineError, EngineOptions, check_batch

MAX_SIZES = 8  # compiled sizes that are kept; the one compiled first goes


class OpenVinoEngine:
    """Runs a one-file model in OpenVINO on the CPU, in float32.

    Where the model's size is free, the graph is compiled for each size at its first image. Compiled for all sizes
    at once, OpenVINO 2026.4 gives a batch of two the depth of another, or none.
    """

    def __init__(self, path: Path, info: ModelInfo, options: EngineOptions) -> None:
        self.info = info if options.size is None else info.at_size(options.size)
        self._path = path
        self._config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if options.threads > 0:
            self._config["INFERENCE_NUM_THREADS"] = str(options.threads)
        self._core = openvino.Core()
        self._requests: dict[tuple[int, ...], Any] = {}
        try:
            self._model = self._core.read_model(str(path))
        except RuntimeError as error:
            raise self._refusal(error) from error
        self._compile(self.info.size)

    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        """Returns the depth of a batch; see recon3d_ros.core.pipeline.Engine."""
        check_batch(self.info, images, focals)
        size = images.shape[1:3]
        if size not in self._requests:
            self._compile(size)
        request = self._requests[size]
        try:
            request.infer({"image": images, "focal": focals}, share_inputs=True)
        except RuntimeError as error:
            raise EngineError(f"{self.info.name}: OpenVINO failed on a batch of {len(images)}: {error}") from error
        depth = np.array(request.get_tensor("depth").data, dtype=np.float32)
        if not self.info.has_confidence:
            return Prediction(depth)
        return Prediction(depth, np.array(request.get_tensor("confidence").data, dtype=np.float32))

    def _compile(self, size: tuple[int, ...]) -> None:
        if len(self._requests) >= MAX_SIZES:
            self._requests.pop(next(iter(self._requests)))
        try:
            model = self._model.clone()
            model.reshape({"image": [-1, *size, 3], "focal": [-1]})
            self._requests[size] = self._core.compile_model(model, "CPU", self._config).create_infer_request()
        except RuntimeError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> EngineError:
        return EngineError(f"{self._path}: OpenVINO refuses the model: {error}")
