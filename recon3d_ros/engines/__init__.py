"""Inference run times behind one contract, one file each."""

from recon3d_ros.core.pipeline import Engine, Prediction
from recon3d_ros.engines.base import (
    BACKENDS,
    BUILT_BACKENDS,
    PRECISIONS,
    EngineError,
    EngineOptions,
    default_model_path,
    load_engine,
    model_path,
    open_engine,
)

__all__ = [
    "BACKENDS",
    "BUILT_BACKENDS",
    "PRECISIONS",
    "Engine",
    "EngineError",
    "EngineOptions",
    "Prediction",
    "default_model_path",
    "load_engine",
    "model_path",
    "open_engine",
]
