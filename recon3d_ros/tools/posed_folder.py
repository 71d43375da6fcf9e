"""Depth and poses of a folder: a drive with poses.txt, or the layout of 7-Scenes.

A drive (recon3d_ros.core.drive) with depth/NNNNNN.png (uint16) or image/ for the network, calibration.json, and
poses.txt: one line of 12 numbers an image, the rows of T_world_camera as 3x4 (KITTI odometry's format).

7-Scenes (Shotton et al. 2013): NAME.depth.png (uint16 millimetres; 0 and 65535 are nothing), NAME.color.jpg or
.png, NAME.pose.txt (T_world_camera, 4x4), intrinsics.txt (K, 3x3, of depth and colour).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.drive import IMAGE_SUFFIXES, load_drive
from recon3d_ros.core.fusion_settings import PosedDepth
from recon3d_ros.core.poses import PoseError, read_pose, read_poses
from recon3d_ros.tools.file_input import FolderSource
from recon3d_ros.tools.inputs import CameraFrame, InputError
from recon3d_ros.tools.posed_input import PosedOptions, PosedSource, Reading, Unusable
from recon3d_ros.tools.posed_network import NetworkFrames, mounting_of

MILLIMETRE = 0.001
NOTHING = 65535  # what 7-Scenes writes where its sensor saw nothing


@dataclass(frozen=True)
class _Entry:
    depth: Path
    color: Path | None
    pose: Path | npt.NDArray[np.float64]


def open_folder(path: Path, options: PosedOptions) -> PosedSource:
    """Returns the frames of a folder.

    Raises:
        InputError, DriveError, CameraError, PoseError: it has no poses, or cannot be used.
    """
    if list(path.glob("*.depth.png")):
        return _open_scene(path, options)
    poses_file = options.poses or path / "poses.txt"
    if not poses_file.exists():
        raise InputError(
            f"{path}: has no poses.txt and no NAME.depth.png; expected one line of 12 numbers an image, "
            "T_world_camera by rows (docs/reconstruction.md), or give --poses FILE"
        )
    poses = _scaled(read_poses(poses_file), options.pose_scale)
    if (path / "depth").is_dir() and not options.infer:
        return _open_drive(path, options, poses, poses_file)
    images = FolderSource(path, options.input)
    _check_count(len(poses), len(images.drive.images), poses_file)

    def pose_of(frame: CameraFrame) -> npt.NDArray[np.float64]:
        return np.asarray(poses[frame.index], dtype=np.float64)

    height = images.calibration.camera_height_m if images.calibration else None
    mounting = mounting_of(options.scale, options.camera_height, height)
    return NetworkFrames(lambda: FolderSource(path, options.input), options.pipeline(), pose_of, mounting)


class DepthFolder:
    """The frames of a folder with recorded depth; see PosedSource."""

    has_confidence = False
    usual_range = math.inf

    def __init__(self, path: Path, entries: list[_Entry], camera: CameraModel, options: PosedOptions) -> None:
        self.length = len(entries)
        self.description = f"{len(entries)} frames of recorded depth in {path}"
        self.notes: list[str] = []
        self._entries = entries
        self._camera = camera.undistorted()
        self._scale = MILLIMETRE if options.depth_scale is None else options.depth_scale
        self._pose_scale = options.pose_scale
        self._has_color = camera.distortion_model == "none"
        if not self._has_color:
            self.notes.append("the images have lens distortion and the depth has none: no colour")

    def read(self, reading: Reading, wanted: Collection[int] | None = None) -> Iterator[PosedDepth]:
        for index, entry in enumerate(self._entries):
            if wanted is not None and index not in wanted:
                continue
            try:
                pose = entry.pose if isinstance(entry.pose, np.ndarray) else self._read_pose(entry.pose)
                depth = self._read_depth(entry.depth)
                color = _read_color(entry.color) if entry.color is not None and self._has_color else None
            except Unusable as error:
                reading.skipped[str(error)] += 1
                continue
            camera = self._camera.resized(width=depth.shape[1], height=depth.shape[0])
            yield PosedDepth(depth, camera, pose, color, name=entry.depth.name)

    def _read_depth(self, path: Path) -> npt.NDArray[np.float32]:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise Unusable(f"{path}: cannot be read, expected a 16-bit grey PNG")
        if pixels.dtype != np.uint16 or pixels.ndim != 2:
            raise InputError(f"{path}: is {pixels.dtype}{list(pixels.shape)}, expected a 16-bit grey PNG of depth")
        is_known = (pixels != 0) & (pixels != NOTHING)
        return np.where(is_known, pixels * np.float32(self._scale), np.float32(np.nan))

    def _read_pose(self, path: Path) -> npt.NDArray[np.float64]:
        try:
            if not np.isfinite(np.loadtxt(path)).all():
                raise Unusable("no pose: the tracking was lost")
        except (OSError, ValueError) as error:
            raise PoseError(f"{path}: holds no pose ({error})") from error
        return np.asarray(_scaled(read_pose(path)[None], self._pose_scale)[0], dtype=np.float64)


def _open_scene(path: Path, options: PosedOptions) -> DepthFolder:
    files = sorted(path.glob("*.depth.png"))
    entries = []
    for file in files:
        stem = file.name.removesuffix(".depth.png")
        colors = [path / f"{stem}.color{suffix}" for suffix in IMAGE_SUFFIXES]
        color = next((color for color in colors if color.exists()), None)
        entries.append(_Entry(file, color, path / f"{stem}.pose.txt"))
    return DepthFolder(path, entries, _scene_camera(path, files[0], options), options)


def _scene_camera(path: Path, depth: Path, options: PosedOptions) -> CameraModel:
    if options.input.calibration is not None:
        return options.input.calibration.camera
    file = path / "intrinsics.txt"
    try:
        K = np.loadtxt(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: {error}; expected K, 3x3, or give --calibration FILE") from error
    image = cv2.imread(str(depth), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError(f"{depth}: cannot be read, expected a 16-bit grey PNG")
    return CameraModel.from_calibration(width=image.shape[1], height=image.shape[0], K=K)


def _open_drive(
    path: Path, options: PosedOptions, poses: npt.NDArray[np.float64], poses_file: Path
) -> DepthFolder:
    drive = load_drive(path)
    calibration = options.input.calibration or drive.calibration
    if calibration is None:
        raise InputError(f"{path}: has no calibration.json; give --calibration FILE")
    _check_count(len(poses), len(drive.images), poses_file)
    entries = [
        _Entry(path / "depth" / f"{image.stem}.png", image, pose)
        for image, pose in zip(drive.images, poses, strict=True)
    ]
    return DepthFolder(path, entries, calibration.camera, options)


def _check_count(poses: int, images: int, file: Path) -> None:
    if poses != images:
        raise InputError(f"{file}: has {poses} poses, the folder {images} images; expected one line an image")


def _scaled(poses: npt.NDArray[np.float64], scale: float) -> npt.NDArray[np.float64]:
    """Returns poses with their translations in metres."""
    scaled = poses.copy()
    scaled[:, :3, 3] *= scale
    return scaled


def _read_color(path: Path) -> npt.NDArray[np.uint8]:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise Unusable(f"{path}: cannot be read")
    return np.asarray(pixels, dtype=np.uint8)
