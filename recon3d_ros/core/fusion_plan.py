"""Before fusing: a voxel and a range that suit the scene, and the memory that they will take."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.fusion import Volume
from recon3d_ros.core.fusion_settings import (
    BLOCK_BYTES,
    MESH_BLOCK_BYTES,
    FusionError,
    FusionSettings,
    PosedDepth,
    fits,
    fitting_voxel,
    too_large,
)

VOXELS_TO_MEDIAN_DEPTH = 100
RANGE_IN_MEDIAN_DEPTHS = 3.0
SPARE = 1.3  # the estimate was seen to be off by up to a fifth


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a fusion will take.

    Attributes:
        blocks: expected.
        memory_bytes: of volume and mesh, spare included.
    """

    blocks: int
    memory_bytes: int


def median_depth(samples: Sequence[PosedDepth]) -> float:
    """Returns the median of what a few frames see, metres.

    Raises:
        FusionError: if they see nothing.
    """
    usable = [frame.depth[np.isfinite(frame.depth) & (frame.depth > 0)] for frame in samples]
    depths = np.concatenate([*usable, np.empty(0, np.float32)])
    if len(depths) == 0:
        raise FusionError(f"{len(samples)} frames spread over the recording have no depth at all")
    return float(np.median(depths))


def suggest_voxel(depth: float) -> float:
    """Returns a hundredth of a median depth, rounded to 1, 2 or 5 times a power of ten; all in metres."""
    wanted = depth / VOXELS_TO_MEDIAN_DEPTH
    power = 10.0 ** math.floor(math.log10(wanted))
    return float(min((1.0, 2.0, 5.0, 10.0), key=lambda step: abs(math.log(step * power / wanted))) * power)


def make_plan(samples: Sequence[PosedDepth], *, frames: int, settings: FusionSettings) -> Plan:
    """Returns what the fusion of a recording will take, from a few of its frames.

    The blocks that n samples touch grow as n ** b (Heaps' law, as for the words of a text): b is read off between
    every second sample and all of them, and followed up to the number of frames.

    Args:
        samples: spread evenly over the recording.
        frames: of the whole recording.
        settings: of the fusion.

    Raises:
        FusionError: if it does not fit, with a voxel that does.
    """
    blocks = _expected_blocks(samples, frames, settings)
    if not fits(settings, blocks):
        larger = settings
        while not fits(larger, needed := _expected_blocks(samples, frames, larger)):
            larger = dataclasses.replace(larger, voxel=fitting_voxel(larger, needed))
        raise too_large(settings, blocks, larger.voxel)
    return Plan(blocks, blocks * (BLOCK_BYTES + MESH_BLOCK_BYTES))


def _expected_blocks(samples: Sequence[PosedDepth], frames: int, settings: FusionSettings) -> int:
    probe = Volume(dataclasses.replace(settings, device="cpu"), expected_blocks=1)
    touched = [probe.touched_blocks(frame) for frame in samples]
    count = _distinct(touched)
    if count == 0:
        raise FusionError(
            f"{len(samples)} frames spread over the recording see nothing up to {settings.max_depth:g} m"
        )
    half = _distinct(touched[::2])
    growth = (
        math.log(count / half) / math.log(len(touched) / len(touched[::2])) if half and len(touched) > 1 else 1.0
    )
    return int(SPARE * count * (frames / len(touched)) ** min(max(growth, 0.0), 1.0)) + 1


def _distinct(touched: Sequence[npt.NDArray[np.int32]]) -> int:
    return len(np.unique(np.concatenate(touched), axis=0)) if touched else 0
