"""Depth frames with poses into one volume of signed distances (TSDF), and points out of it.

Open3D's VoxelBlockGrid does the work, on the CPU or on CUDA; here are the units, the limits and the confidence.
Source: Curless and Levoy 1996 (the volume); Niessner et al. 2013 (blocks of voxels in a hash map).
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import RayTable
from recon3d_ros.core.fusion_settings import (
    BLOCK,
    BLOCK_BYTES,
    MESH_BLOCK_BYTES,
    FusionError,
    FusionSettings,
    PosedDepth,
    fitting_voxel,
    too_large,
)
from recon3d_ros.core.poses import check_rigid

TOUCH_STRIDE = 2  # pixels; every pixel finds 5 % more blocks of a road and takes twice as long


class Volume:
    """A sparse volume of signed distances that depth frames are averaged into.

    Args:
        settings: how.
        expected_blocks: what memory is taken for at once; it grows where it must, as far as it may.

    Attributes:
        grid: Open3D's VoxelBlockGrid.

    Raises:
        FusionError: if Open3D is not installed or has no such device.
    """

    def __init__(self, settings: FusionSettings, *, expected_blocks: int = 1000) -> None:
        self.settings = settings
        self.has_color = False
        self._rays = RayTable()
        self._o3d = import_open3d()
        core = self._o3d.core
        self._device = _device(core, settings.device)
        self.grid = self._o3d.t.geometry.VoxelBlockGrid(
            attr_names=("tsdf", "weight", "color"),
            attr_dtypes=(core.float32, core.float32, core.float32),
            attr_channels=((1), (1), (3)),
            voxel_size=settings.voxel,
            block_resolution=BLOCK,
            block_count=max(1, min(expected_blocks, self._block_limit)),
            device=self._device,
        )

    @property
    def blocks(self) -> int:
        """How many blocks hold something."""
        return int(self.grid.hashmap().size())

    @property
    def memory_bytes(self) -> int:
        """What the volume takes now, blocks in reserve included."""
        return int(self.grid.hashmap().capacity()) * BLOCK_BYTES

    def weight_of(self, views: float) -> float:
        """Returns the weight that a voxel seen in so many views, with full confidence, must exceed."""
        return (views - 0.5) * self.settings.confidence_levels

    def touched_blocks(self, frame: PosedDepth) -> npt.NDArray[np.int32]:
        """Returns the (M, 3) places of the blocks that a frame's surfaces lie in, in blocks from the origin.

        Raises:
            FusionError: if the frame's camera and images do not fit each other.
            PoseError: if its pose is not rigid.
        """
        keys = self._touch(frame, self._usable_depth(frame))
        return np.empty((0, 3), np.int32) if keys is None else np.asarray(keys.cpu().numpy(), dtype=np.int32)

    def add(self, frame: PosedDepth) -> None:
        """Averages a frame into the volume.

        Raises:
            FusionError: if its camera and images do not fit each other, or the volume would outgrow its memory.
            PoseError: if its pose is not rigid.
        """
        depth = self._usable_depth(frame)
        keys = self._touch(frame, depth)
        if keys is None:
            return
        self.reserve(keys)
        images = [] if frame.color is None else [self._image(_fit_color(frame.color, frame.camera))]
        self.has_color = self.has_color or frame.color is not None
        K, T_camera_world = self._matrices(frame)
        scale_range_truncation = (1.0, float(self.settings.max_depth), float(self.settings.truncation_voxels))
        for part in _by_confidence(depth, frame.confidence, self.settings.confidence_levels):
            self.grid.integrate(keys, self._image(part), *images, K, T_camera_world, *scale_range_truncation)

    def reserve(self, keys: Any) -> None:
        """Makes room for blocks.

        Args:
            keys: (M, 3) int32 tensor of Open3D.

        Raises:
            FusionError: if they do not fit into the memory.
        """
        hashmap = self.grid.hashmap()
        known = np.count_nonzero(hashmap.find(keys)[1].cpu().numpy())
        needed = self.blocks + len(keys) - int(known)
        capacity = int(hashmap.capacity())
        if needed <= capacity:
            return
        # While it grows, the old blocks and the new ones are in memory at once.
        grown = min(2 * needed, self._block_limit, int(self.settings.memory_mb * 1e6 / BLOCK_BYTES) - capacity)
        if grown < needed:
            raise too_large(self.settings, needed, fitting_voxel(self.settings, needed))
        hashmap.reserve(grown)

    def limit_views(self, views: float) -> None:
        """Lets no voxel weigh more than so many views, so that what changes shows after about as many more."""
        self.grid.attribute("weight").reshape((-1,)).clip_(0.0, views * self.settings.confidence_levels)

    def forget_beyond(self, center: npt.ArrayLike, radius: float) -> None:
        """Empties the blocks whose centre is farther than `radius` from `center`, both in metres."""
        hashmap = self.grid.hashmap()
        index = hashmap.active_buf_indices().to(self._o3d.core.int64)
        keys = hashmap.key_tensor()[index]
        middle = (keys.cpu().numpy() + 0.5) * (BLOCK * self.settings.voxel)
        far = np.flatnonzero(np.linalg.norm(middle - np.asarray(center, dtype=np.float64), axis=1) > radius)
        if len(far) == 0:
            return
        rows = self._o3d.core.Tensor(far, device=self._device)
        # A block that is used again keeps what it held before (seen in Open3D 0.20), so it is emptied here.
        for name in ("tsdf", "weight", "color"):
            self.grid.attribute(name)[index[rows]] = 0.0
        hashmap.erase(keys[rows])

    def points(self, *, min_views: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8] | None]:
        """Returns the points where the distance is zero, at most three a voxel.

        Args:
            min_views: how often a voxel must have been seen.

        Returns:
            (N, 3) float32 metres, world frame, and (N, 3) uint8 RGB, or None where no frame had colour.
        """
        if self.blocks == 0:
            return np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8) if self.has_color else None
        cloud = self.grid.extract_point_cloud(self.weight_of(min_views)).cpu()
        points = np.asarray(cloud.point.positions.numpy(), dtype=np.float32).reshape(-1, 3)
        return points, to_uint8(cloud.point.colors.numpy()) if self.has_color else None

    @property
    def _block_limit(self) -> int:
        return int(self.settings.memory_mb * 1e6 / (BLOCK_BYTES + MESH_BLOCK_BYTES))

    def _touch(self, frame: PosedDepth, depth: npt.NDArray[np.float32]) -> Any:
        """Returns the blocks within the truncation of a frame's points as a tensor, or None where it has none.

        Open3D's own search goes by every fourth pixel of the depth, and leaves stripes of a road without blocks,
        whose pixels lie far apart at a grazing angle.
        """
        points = self._rays.points(depth, frame.camera, stride=TOUCH_STRIDE).reshape(-1, 3)
        points = points.take(np.flatnonzero(points[:, 2] > 0), axis=0)
        if len(points) == 0:
            return None
        T = self._pose(frame).astype(np.float32)
        positions = self._o3d.core.Tensor(points @ T[:3, :3].T + T[:3, 3], device=self._device)
        cloud = self._o3d.t.geometry.PointCloud(positions)
        return self.grid.compute_unique_block_coordinates(cloud, float(self.settings.truncation_voxels))

    def _usable_depth(self, frame: PosedDepth) -> npt.NDArray[np.float32]:
        """Returns the depth with 0, Open3D's sign for nothing, where it cannot be used."""
        size = (frame.camera.height, frame.camera.width)
        for what, image in (("depth", frame.depth), ("confidence", frame.confidence)):
            if image is not None and image.shape != size:
                raise FusionError(
                    f"{frame.name}: {what} is {image.shape[1]}x{image.shape[0]}, its camera {size[1]}x{size[0]}"
                )
        if frame.camera.distortion_model != "none":
            raise FusionError(f"{frame.name}: its camera has lens distortion; fusion needs rectified images")
        with np.errstate(invalid="ignore"):
            is_usable = (frame.depth > 0) & (frame.depth <= self.settings.max_depth)
        return np.where(is_usable, frame.depth, np.float32(0.0))

    def _matrices(self, frame: PosedDepth) -> tuple[Any, Any]:
        """Returns K and T_camera_world as tensors."""
        return self._o3d.core.Tensor(frame.camera.K), self._o3d.core.Tensor(np.linalg.inv(self._pose(frame)))

    def _pose(self, frame: PosedDepth) -> npt.NDArray[np.float64]:
        pose = check_rigid(frame.T_world_camera, f"{frame.name}: its pose")
        far = float(np.abs(pose[:3, 3]).max())
        if far * np.finfo(np.float32).eps > self.settings.voxel / 10:
            raise FusionError(
                f"{frame.name}: its pose is {far / 1000:.0f} km from the world's origin, where Open3D's float32 "
                f"does not hold a voxel of {self.settings.voxel:g} m; use a frame that begins near (odom, not UTM)"
            )
        return pose

    def _image(self, pixels: npt.NDArray[np.float32]) -> Any:
        tensor = self._o3d.core.Tensor(np.ascontiguousarray(pixels), device=self._device)
        return self._o3d.t.geometry.Image(tensor)


def import_open3d() -> Any:
    """Returns the module; raises FusionError where it is not installed."""
    try:
        _load_libusb()
        import open3d  # here: it weighs 300 MB, and only fusion needs it
    except (ImportError, OSError) as error:
        raise FusionError(
            f"fusion needs Open3D ({error}): pip install 'recon3d_ros[reconstruction]', or open3d-cpu, trimesh "
            "and libusb-package"
        ) from error
    return open3d


def _load_libusb() -> None:
    """Loads the wheel's libusb where the system has none: Open3D's wheel is linked to it and does not bring it."""
    try:
        ctypes.CDLL("libusb-1.0.so.0")
    except OSError:
        with contextlib.suppress(ImportError):
            import libusb_package

            ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)


def to_uint8(colors: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Returns colours of 0..1 as uint8."""
    return np.rint(np.clip(colors, 0.0, 1.0) * 255).astype(np.uint8)


def _device(core: Any, name: str) -> Any:
    if name != "cpu" and not core.cuda.is_available():
        raise FusionError(f"device is '{name}', but this Open3D finds no CUDA (open3d-cpu never does); use 'cpu'")
    try:
        return core.Device(name.upper() if ":" in name else f"{name.upper()}:0")
    except RuntimeError as error:
        raise FusionError(f"device is '{name}', expected cpu, cuda or cuda:N") from error


def _fit_color(color: npt.NDArray[np.uint8], camera: CameraModel) -> npt.NDArray[np.float32]:
    size = (camera.width, camera.height)
    fitted = color if color.shape[1::-1] == size else cv2.resize(color, size, interpolation=cv2.INTER_AREA)
    return np.asarray(fitted, dtype=np.float32) / np.float32(255)


def _by_confidence(
    depth: npt.NDArray[np.float32], confidence: npt.NDArray[np.float32] | None, levels: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Yields the depth once for each level of weight, without the pixels whose weight is less.

    Open3D weighs each pixel 1, so that a pixel of weight k must go in k times.
    """
    if confidence is None:
        confidence = np.ones_like(depth)
    weight = np.rint(levels * np.nan_to_num(confidence))
    for level in range(1, levels + 1):
        part = np.where(weight >= level, depth, np.float32(0.0))
        if part.any():
            yield part
