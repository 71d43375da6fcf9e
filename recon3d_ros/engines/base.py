"""open_engine: from a model file and its options to a network that is ready to run."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.model import SIZE_STEP, ModelInfo, read_model_info
from recon3d_ros.core.pipeline import Engine

DEFAULT_MODEL = "street_lite0.onnx"
# Backend name -> (module, class). A run time is imported only when it is asked for.
BACKENDS = {
    "onnxruntime": ("recon3d_ros.engines.onnxruntime", "OnnxRuntimeEngine"),
    "openvino": ("recon3d_ros.engines.openvino", "OpenVinoEngine"),
    "tensorrt": ("recon3d_ros.engines.tensorrt", "TensorRtEngine"),
    "tensorrt_rtx": ("recon3d_ros.engines.tensorrt", "TensorRtEngine"),
}
BUILT_BACKENDS = ("tensorrt", "tensorrt_rtx")  # those that build an engine of the model before they run it
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


class EngineError(RuntimeError):
    """An engine that cannot be made or failed to run; the message says what to do."""


@dataclass(frozen=True)
class EngineOptions:
    """How a model is to be run. The CPU backends read the first two and the size; the rest is for TensorRT.

    Attributes:
        backend: the run time, a key of BACKENDS. It is never guessed from what is installed.
        threads: CPU threads for inference; 0 lets the run time choose.
        precision: of the network's body, one of PRECISIONS. A float32 model is converted before the build; a model
            that was exported in another precision must be asked for in that one.
        gpu: index of the GPU.
        dla_core: index of the deep learning accelerator that takes the layers it can; -1 means the GPU alone.
        max_batch: most images in one run of the engine; a larger batch is run in parts.
        calibration: int8: a folder of images to take the ranges from; "" takes the model's self-test images.
        workspace_mb: memory that the builder may use for one layer, MiB.
        cache_dir: folder of built engines; "" is recon3d_ros.engines.cache.default_cache_dir().
        cache_limit_mb: what the folder may hold, MiB; the engine used longest ago goes first.
        size: (height, width) of the engine, where the model leaves it free. None: an engine of BUILT_BACKENDS has
            the model's default size, the others take every size.
    """

    backend: str = "onnxruntime"
    threads: int = 0
    precision: str = "fp32"
    gpu: int = 0
    dla_core: int = -1
    max_batch: int = 1
    calibration: str = ""
    workspace_mb: int = 1024
    cache_dir: str = ""
    cache_limit_mb: int = 2048
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise EngineError(f"backend is '{self.backend}', expected one of {', '.join(BACKENDS)}")
        if self.precision not in PRECISIONS:
            raise EngineError(f"precision is '{self.precision}', expected one of {', '.join(PRECISIONS)}")
        if self.precision != "fp32" and self.backend not in BUILT_BACKENDS:
            raise EngineError(
                f"precision is '{self.precision}' with backend '{self.backend}', which runs a graph as it is; "
                f"leave precision at fp32, or give a backend that builds: {', '.join(BUILT_BACKENDS)}"
            )
        least_values = {
            "threads": 0,
            "max_batch": 1,
            "workspace_mb": 1,
            "cache_limit_mb": 1,
            "gpu": 0,
            "dla_core": -1,
        }
        for name, least in least_values.items():
            if getattr(self, name) < least:
                raise EngineError(f"{name} is {getattr(self, name)}, expected {least} or more")


def default_model_path() -> Path:
    """Returns the path of the network that ships with the package."""
    return Path(str(resources.files("recon3d_ros") / "models" / DEFAULT_MODEL))


def model_path(model: Path | str) -> Path:
    """Returns the file of a model.

    Args:
        model: a file; "" for the default one, or the bare name of one that ships with the package.
    """
    if not str(model):
        return default_model_path()
    shipped = default_model_path().parent / f"{Path(model).name}.onnx"
    return shipped if str(model) == shipped.stem and shipped.is_file() else Path(model)


def load_engine(model: Path | str = "", backend: str = "onnxruntime", threads: int = 0) -> Engine:
    """Returns the network of a model file, ready to run, with the default options; see open_engine."""
    return open_engine(model, EngineOptions(backend=backend, threads=threads))


def open_engine(model: Path | str, options: EngineOptions) -> Engine:
    """Returns the network of a model file, ready to run.

    Those of BUILT_BACKENDS take minutes where no engine is in the cache; recon3d_ros.engines.tensorrt.build_engine
    does the same with its progress told.

    Args:
        model: the one-file model, as model_path takes it.
        options: the run time, and how it is to run.

    Raises:
        ModelError: if the file is missing, damaged, or does not keep the contract.
        EngineError: if the backend is not installed or refuses the model.
    """
    path = model_path(model)
    info = read_model_info(path)
    module, name = BACKENDS[options.backend]
    try:
        engine_class = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise EngineError(
            f"backend '{options.backend}' is not installed ({error}); pip install {options.backend}"
        ) from error
    engine: Engine = engine_class(path, info, options)
    return engine


def check_batch(info: ModelInfo, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> None:
    """Raises ValueError unless the batch has the model's shapes and dtypes."""
    is_batch = images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] == 3 and len(images) > 0
    if not is_batch or not info.takes_size(images.shape[1:3]):
        shape = f"{info.height},{info.width}"
        expected = f"uint8[B,h,w,3] with multiples of {SIZE_STEP}" if info.has_free_size else f"uint8[B,{shape},3]"
        raise ValueError(f"images are {images.dtype}{list(images.shape)}, expected {expected}")
    if focals.dtype != np.float32 or focals.shape != (len(images),):
        raise ValueError(f"focals are {focals.dtype}{list(focals.shape)}, expected float32[{len(images)}]")
