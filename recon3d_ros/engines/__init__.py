"""Inference run times behind one contract, one file each."""

from recon3d_ros.core.pipeline import Engine, Prediction
from recon3d_ros.engines.base import BACKENDS, EngineError, default_model_path, load_engine

__all__ = ["BACKENDS", "Engine", "EngineError", "Prediction", "default_model_path", "load_engine"]
