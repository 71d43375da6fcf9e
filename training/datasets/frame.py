"""One image with its depth, and the crops, resizes and flips that keep its geometry true."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import back_project
from recon3d_ros.core.lidar import depth_image, project, remove_occluded
from recon3d_ros.core.preprocess import RawImage, Rectifier

# A crop is at least this part of the largest one that fits: nearer than that, a street is not recognisable.
MIN_ZOOM = 0.65
INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


@dataclass(frozen=True, eq=False)
class Frame:
    """One image with its depth.

    Attributes:
        image: (H, W, 3) uint8 RGB, without lens distortion.
        depth: (H, W) float32 metres along z; +Inf is sky, NaN unknown.
        camera: The pinhole camera of both.
        points: (N, 3) float32 metres in the optical frame where depth is sparse: the returns that it shows. A
            crop projects them anew, so that none is lost between pixels.
    """

    image: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    camera: CameraModel
    points: npt.NDArray[np.float32] | None = None


class Frames(Protocol):
    """Frames that are read by number: what every adapter of this package is."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Frame: ...


@lru_cache(maxsize=64)
def _rectifier(camera: CameraModel) -> Rectifier:
    return Rectifier(camera, width=camera.width, height=camera.height)


def lidar_frame(image: RawImage, camera: CameraModel, points: npt.NDArray[np.float64]) -> Frame:
    """Returns the frame of an image and a LiDAR sweep: rectified, without returns that the camera cannot see.

    Args:
        image: As the camera gave it.
        camera: Of the image, with its distortion.
        points: (N, 3) metres in the optical frame at the image's time.
    """
    rectifier = _rectifier(camera)
    seen = remove_occluded(points, rectifier.camera)
    returns = project(seen, rectifier.camera)
    seen = seen[returns.index[rectifier.valid_mask[returns.row, returns.column]]]
    depth = depth_image(seen, rectifier.camera)
    return Frame(rectifier(image), depth, rectifier.camera, seen.astype(np.float32))


def depth_map_frame(
    image: RawImage, camera: CameraModel, depth: npt.NDArray[np.float32], *, is_sparse: bool = False
) -> Frame:
    """Returns the frame of an image and a depth map, at the depth map's size.

    Args:
        image: As the camera gave it.
        camera: Of the image, with its distortion.
        depth: (H, W) float32 metres along z of the rectified image, at any resolution; NaN unknown.
        is_sparse: The map holds single returns, as projected LiDAR does, not surfaces.

    Raises:
        ValueError: The two have not the same aspect ratio.
    """
    rectifier = _rectifier(camera)
    height, width = depth.shape
    if abs(width * camera.height - height * camera.width) > max(camera.width, camera.height):
        raise ValueError(
            f"depth is {width}x{height}, the image {camera.width}x{camera.height}; "
            "expected the same picture at one or another resolution"
        )
    pixels, mask = rectifier(image), rectifier.valid_mask
    if (height, width) != mask.shape:
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        mask = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    camera = rectifier.camera.resized(width=width, height=height)
    depth = np.where(mask, depth, np.float32(np.nan))
    points = None
    if is_sparse:
        points = back_project(depth, camera.rays()).reshape(-1, 3)
        points = points[np.isfinite(points[:, 2])]
    return Frame(pixels, depth, camera, points)


def crop_frame(
    frame: Frame,
    *,
    left: int,
    top: int,
    crop_width: int,
    crop_height: int,
    width: int,
    height: int,
    interpolation: int = cv2.INTER_AREA,
) -> Frame:
    """Returns a crop of the frame resized to width x height, with its camera.

    Dense depth is taken from the nearest pixel: interpolated depth would lie between objects, where nothing is.
    Sparse depth is projected anew: the nearest pixel would miss most of it.
    """
    cropped = frame.camera.cropped(left=left, top=top, width=crop_width, height=crop_height)
    camera = cropped.resized(width=width, height=height)
    window = np.s_[top : top + crop_height, left : left + crop_width]
    image = cv2.resize(frame.image[window], (width, height), interpolation=interpolation)
    if frame.points is not None:
        depth = depth_image(frame.points, camera)
    else:
        rows = ((np.arange(height) + 0.5) * crop_height / height).astype(int)
        columns = ((np.arange(width) + 0.5) * crop_width / width).astype(int)
        depth = frame.depth[window][rows[:, None], columns]
    return Frame(np.asarray(image, dtype=np.uint8), depth, camera, frame.points)


def flip_frame(frame: Frame) -> Frame:
    """Returns the frame mirrored left to right, with the principal point mirrored as well."""
    points = None if frame.points is None else frame.points * np.array([-1, 1, 1], dtype=np.float32)
    return Frame(
        np.ascontiguousarray(frame.image[:, ::-1]),
        np.ascontiguousarray(frame.depth[:, ::-1]),
        frame.camera.flipped(),
        points,
    )


def augment_geometry(frame: Frame, *, width: int, height: int, rng: np.random.Generator) -> Frame:
    """Returns a random crop of the frame at width x height, mirrored half of the time."""
    source = frame.camera
    largest = min(source.width / width, source.height / height)
    factor = largest * np.exp(rng.uniform(np.log(MIN_ZOOM), 0.0))
    crop_width = min(source.width, round(width * factor))
    crop_height = min(source.height, round(height * factor))
    cropped = crop_frame(
        frame,
        left=int(rng.integers(0, source.width - crop_width + 1)),
        top=int(rng.integers(0, source.height - crop_height + 1)),
        crop_width=crop_width,
        crop_height=crop_height,
        width=width,
        height=height,
        interpolation=int(rng.choice(INTERPOLATIONS)),
    )
    return flip_frame(cropped) if rng.random() < 0.5 else cropped
