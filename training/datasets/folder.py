"""A folder of images with depth PNGs and intrinsics.

image/NAME.jpg (or .png) and depth/NAME.png, or NAME.color.jpg and NAME.depth.png side by side;
calibration.json (see recon3d_ros.core.calibration), or intrinsics.txt with a 3x3 K in rows.
Depth is uint16 along z of the rectified image, in steps of `depth_unit` metres; 0 and 65535 are unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.calibration import load_calibration
from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.camera_info import check_image_size
from training.datasets.files import DatasetError, read_image
from training.datasets.frame import Frame, depth_map_frame

UNKNOWN = (0, 65535)


class DepthFolderFrames(Sequence[Frame]):
    """The images of a folder that have a depth map, by their names."""

    def __init__(self, folder: Path, *, depth_unit: float = 0.001, is_sparse: bool = False) -> None:
        """Finds the pairs and the camera.

        Args:
            folder: See above.
            depth_unit: Metres of one step; 0.001 is REP 118's and most RGB-D cameras', 1 / 256 KITTI's.
            is_sparse: The maps hold single returns, as projected LiDAR does, not surfaces.

        Raises:
            DatasetError: There is no pair or no intrinsics.
            CameraError: The intrinsics are not those of a camera.
        """
        self._depth_unit, self._is_sparse = depth_unit, is_sparse
        self._pairs = _find_pairs(folder)
        if not self._pairs:
            raise DatasetError(
                f"{folder}: has no image with depth; expected image/NAME.jpg and depth/NAME.png, or "
                "NAME.color.jpg and NAME.depth.png"
            )
        self._camera = _read_camera(folder, self._pairs[0][0])

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Frame:  # type: ignore[override]  # one frame at a time, no slices
        """Returns a frame.

        Raises:
            DatasetError: A file is damaged, or its depth is unknown everywhere.
            CameraError: The image has not the size of its calibration.
        """
        image_path, depth_path = self._pairs[index]
        image = read_image(image_path)
        check_image_size(self._camera, image)
        depth = read_depth(depth_path, self._depth_unit)
        try:
            return depth_map_frame(image, self._camera, depth, is_sparse=self._is_sparse)
        except ValueError as error:
            raise DatasetError(f"{depth_path}: {error}") from error


def read_depth(path: Path, unit: float) -> npt.NDArray[np.float32]:
    """Returns a 16-bit depth PNG as (H, W) float32 metres, NaN where it is unknown.

    Args:
        path: Of the file.
        unit: Metres of one step.

    Raises:
        DatasetError: It is no 16-bit grey PNG, or nothing in it is known.
    """
    steps = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if steps is None or steps.dtype != np.uint16 or steps.ndim != 2:
        found = "cannot be read" if steps is None else f"is {steps.dtype}{list(steps.shape)}"
        raise DatasetError(f"{path}: {found}, expected a 16-bit grey PNG")
    is_known = ~np.isin(steps, UNKNOWN)
    if not is_known.any():
        raise DatasetError(f"{path}: holds no depth: every pixel is 0 or 65535")
    return np.where(is_known, steps * np.float32(unit), np.float32(np.nan)).astype(np.float32)


def _find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Returns images, with or without suffix, and depth maps."""
    pairs = [(folder / "image" / depth.stem, depth) for depth in sorted((folder / "depth").glob("*.png"))]
    for depth in sorted(folder.glob("*.depth.png")):
        stem = depth.name.removesuffix(".depth.png")
        image = next((path for path in sorted(folder.glob(f"{stem}.color.*"))), None)
        if image is None:
            raise DatasetError(f"{depth}: has no {stem}.color.jpg or .png beside it")
        pairs.append((image, depth))
    return pairs


def _read_camera(folder: Path, first_image: Path) -> CameraModel:
    if (folder / "calibration.json").exists():
        return load_calibration(folder / "calibration.json").camera
    path = folder / "intrinsics.txt"
    try:
        K = np.loadtxt(path)
    except OSError as error:
        raise DatasetError(f"{folder}: has neither calibration.json nor intrinsics.txt") from error
    except ValueError as error:
        raise CameraError(f"{path}: {error}; expected the nine numbers of K in three rows") from error
    image = read_image(first_image)
    return CameraModel.from_calibration(width=image.width, height=image.height, K=K)
