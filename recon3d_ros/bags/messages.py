"""Arrays to ROS messages that rosbags can serialise, without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rosbags.typesys.stores import ros2_jazzy as ros

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.encodings import pack_points
from recon3d_ros.core.transforms import quaternion_xyzw

Header = ros.std_msgs__msg__Header
FLOAT32 = ros.sensor_msgs__msg__PointField.FLOAT32


def header(stamp_ns: int, frame_id: str) -> Header:
    """Returns a header."""
    return ros.std_msgs__msg__Header(stamp=stamp(stamp_ns), frame_id=frame_id)


def stamp(stamp_ns: int) -> ros.builtin_interfaces__msg__Time:
    """Returns a time."""
    return ros.builtin_interfaces__msg__Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def image_message(pixels: npt.NDArray[Any], encoding: str, header: Header) -> ros.sensor_msgs__msg__Image:
    """Returns an Image.

    Args:
        pixels: (H, W) or (H, W, C) of any little-endian dtype that the encoding names.
        encoding: a ROS name, for example "bgr8" or "32FC1".
        header: of the message.
    """
    rows = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1).view(np.uint8)
    return ros.sensor_msgs__msg__Image(
        header=header,
        height=rows.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=rows.shape[1],
        data=rows.reshape(-1),
    )


def compressed_message(content: bytes, format: str, header: Header) -> ros.sensor_msgs__msg__CompressedImage:
    """Returns a CompressedImage of a JPEG or PNG file's bytes."""
    return ros.sensor_msgs__msg__CompressedImage(
        header=header, format=format, data=np.frombuffer(content, dtype=np.uint8)
    )


def camera_info_message(camera: CameraModel, header: Header) -> ros.sensor_msgs__msg__CameraInfo:
    """Returns the CameraInfo of a camera; P is K without a baseline."""
    is_distorted = camera.distortion_model != "none"
    return ros.sensor_msgs__msg__CameraInfo(
        header=header,
        height=camera.height,
        width=camera.width,
        distortion_model=camera.distortion_model if is_distorted else "plumb_bob",
        d=np.array(camera.distortion if is_distorted else (0.0,) * 5, dtype=np.float64),
        k=camera.K.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.hstack([camera.K, np.zeros((3, 1))]).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=ros.sensor_msgs__msg__RegionOfInterest(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def cloud_message(
    points: npt.NDArray[np.float32], colors: npt.NDArray[np.uint8], header: Header
) -> ros.sensor_msgs__msg__PointCloud2:
    """Returns an organised PointCloud2 with x, y, z and rgb.

    Args:
        points: (H, W, 3) float32 metres, NaN where there is none.
        colors: (H, W, 3) uint8 RGB.
        header: of the message.
    """
    rows, point_step = pack_points(points, colors)
    fields = [("x", 0), ("y", 4), ("z", 8), ("rgb", 16)]
    return _point_cloud(rows, fields, point_step, header, is_dense=False)


def lidar_message(points: npt.NDArray[np.float32], header: Header) -> ros.sensor_msgs__msg__PointCloud2:
    """Returns a PointCloud2 of (N, 4) float32 x, y, z in metres and intensity."""
    rows = np.ascontiguousarray(points, dtype="<f4").reshape(1, -1).view(np.uint8)
    fields = [("x", 0), ("y", 4), ("z", 8), ("intensity", 12)]
    return _point_cloud(rows, fields, 16, header, is_dense=bool(np.isfinite(points).all()))


def _point_cloud(
    rows: npt.NDArray[np.uint8], fields: list[tuple[str, int]], point_step: int, header: Header, *, is_dense: bool
) -> ros.sensor_msgs__msg__PointCloud2:
    return ros.sensor_msgs__msg__PointCloud2(
        header=header,
        height=rows.shape[0],
        width=rows.shape[1] // point_step,
        fields=[
            ros.sensor_msgs__msg__PointField(name=name, offset=offset, datatype=FLOAT32, count=1)
            for name, offset in fields
        ],
        is_bigendian=False,
        point_step=point_step,
        row_step=rows.shape[1],
        data=rows.reshape(-1),
        is_dense=is_dense,
    )


def static_tf_message(
    transforms: Sequence[tuple[str, str, npt.NDArray[np.float64]]], stamp_ns: int
) -> ros.tf2_msgs__msg__TFMessage:
    """Returns the message of /tf_static.

    Args:
        transforms: (parent frame, child frame, T_parent_child as 4x4, metres) of each.
        stamp_ns: of all.
    """
    return ros.tf2_msgs__msg__TFMessage(
        transforms=[
            ros.geometry_msgs__msg__TransformStamped(
                header=header(stamp_ns, parent), child_frame_id=child, transform=_transform(matrix)
            )
            for parent, child, matrix in transforms
        ]
    )


def _transform(matrix: npt.NDArray[np.float64]) -> ros.geometry_msgs__msg__Transform:
    x, y, z, w = quaternion_xyzw(matrix[:3, :3])
    translation = ros.geometry_msgs__msg__Vector3(*(float(t) for t in matrix[:3, 3]))
    return ros.geometry_msgs__msg__Transform(
        translation=translation, rotation=ros.geometry_msgs__msg__Quaternion(x=x, y=y, z=z, w=w)
    )
