"""nuScenes' key frames of one camera with the LiDAR's sweep, read from the tables without the devkit.

ROOT/v1.0-trainval/{sample_data,calibrated_sensor,ego_pose,sensor}.json
ROOT/samples/CAM_FRONT/*.jpg, ROOT/samples/LIDAR_TOP/*.pcd.bin (rows of five float32, x y z first)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.camera_info import check_image_size
from recon3d_ros.core.lidar import Pose, check_fits, pose_matrix, transform
from training.datasets.files import DatasetError, read_image, read_sweep
from training.datasets.frame import Frame, lidar_frame

Row = dict[str, Any]


class NuScenesFrames(Sequence[Frame]):
    """The key frames of a camera, by their stamps.

    The sweep goes from the LiDAR to the vehicle at the sweep's time, to the map, to the vehicle at the image's
    time and to the camera: between the two the vehicle has moved.
    """

    def __init__(
        self, root: Path, *, version: str = "v1.0-mini", camera: str = "CAM_FRONT", lidar: str = "LIDAR_TOP"
    ) -> None:
        """Reads the tables.

        Args:
            root: Of the data set.
            version: Folder of its tables.
            camera, lidar: Channels.

        Raises:
            DatasetError: A table is missing or damaged, or has no key frame of the channels.
        """
        self._root = root
        tables = root / version
        channels: dict[str, dict[str, Row]] = {camera: {}, lidar: {}}
        try:
            sensors = {row["token"]: row["channel"] for row in _read_table(tables / "sensor.json")}
            self._calibrations = {row["token"]: row for row in _read_table(tables / "calibrated_sensor.json")}
            self._poses = {row["token"]: row for row in _read_table(tables / "ego_pose.json")}
            for row in _read_table(tables / "sample_data.json"):
                channel = sensors[self._calibrations[row["calibrated_sensor_token"]]["sensor_token"]]
                if row["is_key_frame"] and channel in channels:
                    channels[channel][row["sample_token"]] = row
        except KeyError as error:
            raise DatasetError(f"{tables}: its tables do not fit each other: there is no {error}") from error
        pairs = [(row, channels[lidar].get(sample)) for sample, row in channels[camera].items()]
        self._pairs = sorted(
            ((image, sweep) for image, sweep in pairs if sweep is not None), key=lambda pair: pair[0]["timestamp"]
        )
        if not self._pairs:
            known = ", ".join(sorted(set(sensors.values()))) or "none"
            raise DatasetError(f"{tables}: no key frame with both {camera} and {lidar}; its channels are {known}")

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Frame:  # type: ignore[override]  # one frame at a time, no slices
        """Returns a frame.

        Raises:
            DatasetError: A file is missing or damaged.
            CameraError: The calibration is not that of the image.
            LidarError: The sweep does not fall into the image.
        """
        image_row, sweep_row = self._pairs[index]
        K = self._calibrations[image_row["calibrated_sensor_token"]]["camera_intrinsic"]
        camera = CameraModel.from_calibration(width=image_row["width"], height=image_row["height"], K=K)
        image = read_image(self._root / image_row["filename"])
        check_image_size(camera, image)
        T_camera_lidar = np.linalg.inv(self._T_map_sensor(image_row)) @ self._T_map_sensor(sweep_row)
        points = transform(read_sweep(self._root / sweep_row["filename"], columns=5), T_camera_lidar)
        check_fits(points, camera, sweep_row["filename"])
        return lidar_frame(image, camera, points)

    def _T_map_sensor(self, row: Row) -> Pose:
        """Returns the (4, 4) pose of a sensor in the map at the time of its data."""
        try:
            ego, sensor = self._poses[row["ego_pose_token"]], self._calibrations[row["calibrated_sensor_token"]]
        except KeyError as error:
            raise DatasetError(f"{self._root}: no ego pose {error} of {row['filename']}") from error
        T_map_ego = pose_matrix(ego["translation"], rotation_wxyz=ego["rotation"])
        T_ego_sensor = pose_matrix(sensor["translation"], rotation_wxyz=sensor["rotation"])
        return np.asarray(T_map_ego @ T_ego_sensor, dtype=np.float64)


def _read_table(path: Path) -> list[Row]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); give the folder that holds it") from error
    except ValueError as error:
        raise DatasetError(f"{path}: is no JSON ({error})") from error
    if not isinstance(rows, list):
        raise DatasetError(f"{path}: is no table: expected a list of rows")
    return rows
