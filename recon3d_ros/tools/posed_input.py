"""What `recon3d mesh` reads: depth with poses from a folder or a bag, or from images through the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from recon3d_ros.bags.bag_path import is_bag
from recon3d_ros.core.fusion_settings import PosedDepth
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.tools.inputs import InputError, InputOptions


class Unusable(Exception):
    """A frame that is left out, and why."""


@dataclass(frozen=True)
class PosedOptions:
    """How depth and poses are to be read.

    Attributes:
        input: how images are read.
        pipeline: makes the network, where depth is not recorded.
        infer: take the network's depth even where depth is recorded.
        depth_scale: metres a unit of recorded depth; None: 0.001 for 16-bit depth, 1 for floating point.
        pose_scale: metres a unit of the poses.
        scale: of the network's depth: "model", or "ground" for the camera's height above the road.
        camera_height: above the road, metres; None: as the calibration says.
        poses: a file of poses used instead of the folder's poses.txt.
        depth_topic, color_topic: of a bag; "" where they are to be found.
    """

    input: InputOptions
    pipeline: Callable[[], DepthPipeline]
    infer: bool = False
    depth_scale: float | None = None
    pose_scale: float = 1.0
    scale: str = "model"
    camera_height: float | None = None
    poses: Path | None = None
    depth_topic: str = ""
    color_topic: str = ""


@dataclass
class Reading:
    """How the reading went.

    Attributes:
        skipped: why frames could not be used, and how many.
        damage: what the recording has lost.
    """

    skipped: Counter[str] = field(default_factory=Counter)
    damage: list[str] = field(default_factory=list)


class PosedSource(Protocol):
    """Frames of depth with their poses, which can be read more than once.

    Attributes:
        description: what is read, in a few words.
        length: frames in the recording, those that cannot be used included.
        notes: what the user should know of how it is read.
        has_confidence: whether frames say how sure their depth is.
        usual_range: farther depth is seldom worth fusing, metres.
    """

    description: str
    length: int
    notes: list[str]
    has_confidence: bool
    usual_range: float

    def read(self, reading: Reading, wanted: Collection[int] | None = None) -> Iterator[PosedDepth]:
        """Yields the frames, or those of some numbers, in their order; `reading` is told of what is left out."""
        ...


def open_posed(path: Path, options: PosedOptions) -> PosedSource:
    """Returns the frames of a folder or bag.

    Raises:
        InputError, BagError, DriveError, CameraError, PoseError: it cannot be used.
    """
    from recon3d_ros.tools import posed_bag, posed_folder  # here: each imports this module

    if not path.exists():
        raise InputError(f"{path}: does not exist")
    if is_bag(path):
        return posed_bag.open_bag(path, options)
    if path.is_dir():
        return posed_folder.open_folder(path, options)
    raise InputError(
        f"{path}: is no recording with poses; expected a rosbag2, or a folder with depth or images and poses "
        "(docs/reconstruction.md); a video has no poses: make a folder of its images and give --poses FILE"
    )
