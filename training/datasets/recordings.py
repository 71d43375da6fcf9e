"""Any recording on the disk as frames, by what lies in its folder."""

from __future__ import annotations

from pathlib import Path

from recon3d_ros.bags.bag_path import is_bag
from training.datasets.drive import DriveFrames
from training.datasets.files import DatasetError
from training.datasets.folder import DepthFolderFrames
from training.datasets.frame import Frames
from training.datasets.kitti import KittiFrames
from training.datasets.nuscenes import NuScenesFrames
from training.datasets.packed import PACK_NAME, PackedFrames
from training.datasets.rendered import ShardFrames

KITTI_DEPTH = "data_depth_annotated"  # the archive's own name


def open_frames(path: Path) -> Frames:
    """Returns the frames of a recording.

    Args:
        path: A pack (training.pack); a folder of rendered shards; a drive with lidar/; images with depth PNGs; the
            root of nuScenes (its v1.0-* folder beside samples/); or a KITTI split's .txt file in KITTI raw's root,
            with the annotated maps in data_depth_annotated/ beside it where they are to be used.

    Raises:
        DatasetError: It is none of these, or lacks a part.
        DriveError, CameraError, LidarError: As the adapters raise them.
    """
    if not path.exists():
        raise DatasetError(f"{path}: does not exist")
    if path.is_file() and path.suffix == ".txt":
        annotated = path.parent / KITTI_DEPTH
        return KittiFrames(path.parent, path, depth_root=annotated if annotated.is_dir() else None)
    if (path / PACK_NAME).is_file():
        return PackedFrames(path)
    if next(path.glob("shard_*"), None) is not None:
        return ShardFrames([path])
    if (path / "lidar").is_dir():
        return DriveFrames(path)
    if (path / "depth").is_dir() or next(path.glob("*.depth.png"), None) is not None:
        return DepthFolderFrames(path)
    version = next((folder for folder in sorted(path.glob("v1.0-*")) if folder.is_dir()), None)
    if version is not None:
        return NuScenesFrames(path, version=version.name)
    if is_bag(path):
        raise DatasetError(
            f"{path}: is a rosbag2, read from its beginning only; write it out once as a drive folder with "
            f"'python -m training.extract {path} FOLDER'"
        )
    raise DatasetError(
        f"{path}: is no recording with depth; expected a folder with shard_NNNNN/ (rendered), frames.pack, "
        "lidar/, depth/, *.depth.png or v1.0-*/ (nuScenes), or a KITTI split's .txt file in KITTI raw's folder"
    )
