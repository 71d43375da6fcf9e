"""What a viewer shows of one moment of a camera, whether it comes from a recording or from a running node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel


@dataclass(frozen=True, eq=False)
class ShownFrame:
    """A frame with its figures.

    Attributes:
        camera_name: without slashes around.
        stamp_ns: of the image.
        image: (h, w, 3) uint8 RGB, rectified.
        depth: (h, w) float32 metres along z; NaN or +Inf where there is none.
        camera: of both.
        scales: "scale", and "single_frame" where the frame itself brought a measurement of it.
        latency: seconds by stage.
    """

    camera_name: str
    stamp_ns: int
    image: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    camera: CameraModel
    scales: Mapping[str, float]
    latency: Mapping[str, float]
