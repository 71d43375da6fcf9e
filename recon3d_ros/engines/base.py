"""load_engine: from a model file to a network that is ready to run."""

from __future__ import annotations

import importlib
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.model import ModelInfo, read_model_info
from recon3d_ros.core.pipeline import Engine

DEFAULT_MODEL = "street_lite0.onnx"
# Backend name -> (module, class). A run time is imported only when it is asked for.
BACKENDS = {
    "onnxruntime": ("recon3d_ros.engines.onnxruntime", "OnnxRuntimeEngine"),
    "openvino": ("recon3d_ros.engines.openvino", "OpenVinoEngine"),
}


class EngineError(RuntimeError):
    """An engine that cannot be made or failed to run; the message says what to do."""


def default_model_path() -> Path:
    """Returns the path of the network that ships with the package."""
    return Path(str(resources.files("recon3d_ros") / "models" / DEFAULT_MODEL))


def load_engine(model: Path | str = "", backend: str = "onnxruntime", threads: int = 0) -> Engine:
    """Returns the network of a model file, ready to run.

    Args:
        model: the one-file model; "" means the one that ships with the package.
        backend: the run time, a key of BACKENDS. It is never guessed from what is installed.
        threads: CPU threads for inference; 0 lets the run time choose.

    Raises:
        ModelError: if the file is missing, damaged, or does not keep the contract.
        EngineError: if the backend is unknown, not installed, or refuses the model.
    """
    if backend not in BACKENDS:
        raise EngineError(f"backend is '{backend}', expected one of {', '.join(BACKENDS)}")
    path = Path(model) if str(model) else default_model_path()
    info = read_model_info(path)
    module, name = BACKENDS[backend]
    try:
        engine_class = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise EngineError(f"backend '{backend}' is not installed ({error}); pip install {backend}") from error
    engine: Engine = engine_class(path, info, threads=threads)
    return engine


def check_batch(info: ModelInfo, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> None:
    """Raises ValueError unless the batch has the model's shapes and dtypes."""
    expected = (info.height, info.width, 3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected or len(images) == 0:
        raise ValueError(
            f"images are {images.dtype}{list(images.shape)}, expected uint8[B,{','.join(map(str, expected))}]"
        )
    if focals.dtype != np.float32 or focals.shape != (len(images),):
        raise ValueError(f"focals are {focals.dtype}{list(focals.shape)}, expected float32[{len(images)}]")
