"""Depth with poses from images: the network's depth, where each image's pose is known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from recon3d_ros.core.fusion_settings import PosedDepth
from recon3d_ros.core.lidar import Pose
from recon3d_ros.core.mounting import Mounting
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.core.scale import GroundScale, ModelScale, Scale, apply
from recon3d_ros.tools.inputs import CameraFrame, FrameSource, InputError
from recon3d_ros.tools.posed_input import Reading, Unusable

SCALES = ("model", "ground")
NETWORK_RANGE = 20.0  # metres; farther, the depths of different views agree too seldom (docs/results.md)
PoseOf = Callable[[CameraFrame], Pose]


class NetworkFrames:
    """Images whose depth the network says; see PosedSource.

    Args:
        open_images: opens the recording anew for each reading.
        pipeline: the network.
        pose_of: T_world_camera (4, 4) of an image; raises Unusable where it is not known.
        mounting: the depth is scaled until the road lies as far below the camera as this says; None leaves it.
    """

    usual_range = NETWORK_RANGE

    def __init__(
        self,
        open_images: Callable[[], FrameSource],
        pipeline: DepthPipeline,
        pose_of: PoseOf,
        mounting: Mounting | None,
    ) -> None:
        self._open_images = open_images
        self._pipeline = pipeline
        self._pose_of = pose_of
        self._mounting = mounting
        images = open_images()
        if not pipeline.engine.info.is_metric and mounting is None:
            raise InputError(f"{pipeline.engine.info.name} is not metric: give --scale ground")
        self.length = images.length or 0
        self.notes = list(images.notes)
        self.has_confidence = pipeline.engine.info.has_confidence
        info = pipeline.engine.info
        scale = "" if mounting is None else f", scaled by the road {mounting.height:g} m below the camera"
        self.description = f"{self.length} images through {info.name} {info.version}{scale}"

    def read(self, reading: Reading, wanted: Collection[int] | None = None) -> Iterator[PosedDepth]:
        images = self._open_images()
        scale: Scale = ModelScale() if self._mounting is None else GroundScale(self._mounting)
        for image in images:
            if wanted is not None and image.index not in wanted:
                continue
            try:
                pose = self._pose_of(image)
            except Unusable as error:
                reading.skipped[str(error)] += 1
                continue
            frame = self._pipeline([image.image], [image.camera])[0]
            depth = apply(frame.depth, scale.update(frame, image.stamp_ns * 1e-9))
            yield PosedDepth(depth, frame.camera, pose, frame.image, frame.confidence, name=f"image {image.index}")
        reading.skipped += images.skipped
        reading.damage += images.damage


def mounting_of(scale: str, *heights: float | None) -> Mounting | None:
    """Returns how the camera sits on the vehicle, level at the first height that is known; None for scale "model".

    Raises:
        InputError: if no height is known.
    """
    if scale == "model":
        return None
    height = next((height for height in heights if height is not None), None)
    if height is None:
        raise InputError("--scale ground needs the camera's height above the road; give --camera-height M")
    return Mounting.level(height)
