"""Runs the pipeline over images whose true depth is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from recon3d_ros.core.drive import DriveError
from recon3d_ros.core.evaluation import JudgedPixels, in_range, judged_pixels
from recon3d_ros.core.lidar import project
from recon3d_ros.core.metrics import MAX_DEPTH, MIN_DEPTH
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.core.truth import TrueFrame
from recon3d_ros.core.worst_frames import WorstFrames


@dataclass(frozen=True, eq=False)
class Judged:
    """What a network said where the depth is known.

    Attributes:
        frames: by camera; only those with known depth.
        seen_share: of the known points inside the cameras' images, how many lie in the crop that the network
            sees: an image much taller than the network's input loses its top and bottom.
    """

    frames: Mapping[str, list[JudgedPixels]]
    seen_share: float


def judge(source: Iterable[TrueFrame], pipeline: DepthPipeline, worst: WorstFrames | None = None) -> Judged:
    """Returns the judged pixels of each image that has any.

    Args:
        source: see recon3d_ros.core.truth.TrueFrames.
        pipeline: with the network.
        worst: is given every frame.

    Raises:
        DriveError: if no known depth lies inside an image.
    """
    judged: dict[str, list[JudgedPixels]] = {}
    known, seen = 0, 0
    for true in source:
        [frame] = pipeline([true.image], [true.camera])
        pixels = judged_pixels(frame, true.points, camera_height=true.camera_height)
        known += project(in_range(true.points), true.camera.undistorted()).z.size
        seen += pixels.target.size
        if pixels.target.size:
            judged.setdefault(true.camera_name, []).append(pixels)
            if worst is not None:
                worst.add(true.name, frame, pixels)
    if not judged:
        raise DriveError(
            f"no known depth of {MIN_DEPTH:g}-{MAX_DEPTH:g} m lies in what the network sees of the images"
        )
    return Judged(judged, min(1.0, seen / max(known, 1)))
