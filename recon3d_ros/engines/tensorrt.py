"""TensorRT and TensorRT for RTX: an engine is built of the model once, kept in the cache, and run on the GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.model import ModelInfo
from recon3d_ros.core.pipeline import Prediction
from recon3d_ros.engines.base import EngineError, EngineOptions, check_batch
from recon3d_ros.engines.cache import EngineKey, Proof

Progress = Callable[[str, float], None]  # the phase's name, and how much of it is done, 0 to 1


@dataclass(frozen=True)
class BuiltEngine:
    """A built engine, verified to be the one that was asked for.

    Attributes:
        plan: the serialised engine.
        key: all that it depends on.
        path: its file; None where the cache folder is read-only and it is held in memory alone.
        build_seconds: what the build took, when it was built.
        proof: what the check of its answers said; None where it was not checked yet. An engine that failed
            stays in the cache, so that it is not built again at each start only to fail again.
    """

    plan: bytes
    key: EngineKey
    path: Path | None
    build_seconds: float
    proof: Proof | None = None


def cached_engine(model: Path | str, options: EngineOptions) -> BuiltEngine | None:
    """Returns the engine from the cache; None where it is absent or not trusted, which one logged line explains.

    Raises:
        ModelError: the model file is missing or damaged.
        EngineError: the run time is absent, there is no GPU that it can use, or the cache folder is not safe.
    """
    raise EngineError("not yet")


def build_engine(model: Path | str, options: EngineOptions, on_progress: Progress | None = None) -> BuiltEngine:
    """Builds an engine, whether or not the cache has one, and puts it there.

    Two processes that ask for the same engine build it once: the second waits and takes the first one's.

    Args:
        model: the one-file model.
        options: precision, GPU and batch to build for.
        on_progress: told of each phase, from the thread that builds; what it raises stops the build.

    Raises:
        ModelError: the model file is missing or damaged.
        EngineError: the build failed, in the run time's own words; or see cached_engine.
    """
    raise EngineError("not yet")


def record_proof(built: BuiltEngine, proof: Proof) -> BuiltEngine:
    """Returns the engine with what its check said, which is written beside its file too."""
    raise EngineError("not yet")


class TensorRtEngine:
    """Runs a built engine; takes it from the cache, or builds it where it is not given."""

    def __init__(
        self, path: Path, info: ModelInfo, options: EngineOptions, built: BuiltEngine | None = None
    ) -> None:
        self.info = info
        built = built or cached_engine(path, options) or build_engine(path, options)

    def infer(self, images: npt.NDArray[np.uint8], focals: npt.NDArray[np.float32]) -> Prediction:
        """Returns the depth of a batch; see recon3d_ros.core.pipeline.Engine."""
        check_batch(self.info, images, focals)
        raise EngineError("not yet")

    def close(self) -> None:
        """Frees the GPU's memory; the engine cannot be used again."""
