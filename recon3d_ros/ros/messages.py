"""ROS messages to numpy and back.

The conversions are our own (recon3d_ros.core.encodings). What they lack, packages do where they are installed:
cv_bridge the rarer image encodings, sensor_msgs_py clouds whose x, y and z are not floating point.
"""

from __future__ import annotations

import sys
from array import array
from typing import Any

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2, PointField
from std_msgs.msg import Header

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.encodings import (
    ENCODINGS,
    EncodingError,
    decode_compressed,
    encode_depth,
    pack_points,
    unpack_points,
)
from recon3d_ros.core.image_message import depth_of, image_of
from recon3d_ros.core.preprocess import RawImage
from recon3d_ros.core.scan import Scan

POINT_DTYPES = {PointField.FLOAT32: np.float32, PointField.FLOAT64: np.float64}


def image_from_msg(message: Image) -> RawImage:
    """Returns the image of a message; a view into it where the encoding allows.

    Raises:
        EncodingError: if the encoding is unknown to us and to cv_bridge, or the message is damaged.
    """
    if message.encoding not in ENCODINGS and (converted := _image_through_cv_bridge(message)) is not None:
        return converted
    return image_of(message)


def image_from_compressed_msg(message: CompressedImage) -> RawImage:
    """Returns the image of a JPEG or PNG message.

    Raises:
        EncodingError: if the bytes are not a whole JPEG or PNG file.
    """
    return decode_compressed(message.data, message.format)


def image_to_msg(image: npt.NDArray[np.uint8], header: Header) -> Image:
    """Returns the rgb8 message of an image (H, W, 3) uint8 RGB."""
    return _pixels_to_msg(image, "rgb8", header)


def depth_from_msg(message: Image) -> npt.NDArray[np.float32]:
    """Returns the (H, W) float32 metres of a 32FC1 or 16UC1 message; NaN where 16UC1 has 0.

    Raises:
        EncodingError: if it is neither, or damaged.
    """
    return depth_of(message)


def depth_to_msg(depth: npt.NDArray[np.float32], header: Header, encoding: str) -> Image:
    """Returns the message of a depth image.

    Args:
        depth: (H, W) float32 metres along z; NaN invalid, +Inf nothing in range.
        header: of the message.
        encoding: "32FC1" or "16UC1", where both become 0.
    """
    return _pixels_to_msg(encode_depth(depth, encoding), encoding, header)


def camera_to_msg(camera: CameraModel, header: Header) -> CameraInfo:
    """Returns the CameraInfo of a camera without a baseline: P is K, R the identity."""
    is_distorted = camera.distortion_model != "none"
    return CameraInfo(
        header=header,
        height=camera.height,
        width=camera.width,
        distortion_model=camera.distortion_model if is_distorted else "plumb_bob",
        d=list(camera.distortion) if is_distorted else [0.0] * 5,
        k=camera.K.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.hstack([camera.K, np.zeros((3, 1))]).reshape(-1),
    )


def points_from_msg(message: PointCloud2) -> npt.NDArray[np.float32]:
    """Returns the points of a cloud, row by row, NaN points included.

    Returns:
        (N, 3) float32 metres, in the frame of the message's header.

    Raises:
        EncodingError: if x, y or z are missing or not floating point, or the message is damaged.
    """
    fields = {field.name: field for field in message.fields}
    if not {"x", "y", "z"} <= set(fields):
        raise EncodingError(f"cloud has the fields {list(fields)}, expected x, y and z")
    axes = [fields[name] for name in "xyz"]
    dtype = POINT_DTYPES.get(axes[0].datatype)
    if dtype is None or len({axis.datatype for axis in axes}) > 1:
        return _points_through_sensor_msgs_py(message)
    return unpack_points(
        message.data,
        height=message.height,
        width=message.width,
        point_step=message.point_step,
        row_step=message.row_step,
        offsets=tuple(axis.offset for axis in axes),
        dtype=dtype,
        is_bigendian=message.is_bigendian,
    )


def points_to_msg(
    points: npt.NDArray[np.float32], header: Header, colors: npt.NDArray[np.uint8] | None = None
) -> PointCloud2:
    """Returns the cloud of points in PCL's memory layout.

    Args:
        points: float32 metres; (H, W, 3) gives an organised cloud with NaN where there is no point, (N, 3) a
            dense one, in which every point must be finite.
        header: of the message; its frame is that of the points.
        colors: uint8 RGB of the same shape, or None.
    """
    rows, point_step = pack_points(points, colors)
    offsets = {"x": 0, "y": 4, "z": 8} if colors is None else {"x": 0, "y": 4, "z": 8, "rgb": 16}
    message = PointCloud2(
        header=header,
        height=rows.shape[0],
        width=rows.shape[1] // point_step,
        fields=[
            PointField(name=name, offset=offset, datatype=PointField.FLOAT32, count=1)
            for name, offset in offsets.items()
        ],
        is_bigendian=False,
        point_step=point_step,
        row_step=rows.shape[1],
        is_dense=points.ndim == 2,
    )
    _fill(message, rows)
    return message


def scan_to_msg(scan: Scan, header: Header) -> LaserScan:
    """Returns the LaserScan of a scan; all beams are of one moment, so that its time increment is 0."""
    return LaserScan(
        header=header,
        angle_min=scan.angle_min,
        angle_max=scan.angle_max,
        angle_increment=scan.angle_increment,
        range_min=scan.range_min,
        range_max=scan.range_max,
        ranges=array("f", scan.ranges.astype(np.float32).tobytes()),
    )


def _pixels_to_msg(pixels: npt.NDArray[Any], encoding: str, header: Header) -> Image:
    height, width = pixels.shape[:2]
    message = Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=pixels.nbytes // height,
    )
    _fill(message, pixels)
    return message


def _fill(message: Image | PointCloud2, values: npt.NDArray[Any]) -> None:
    """Appends an array's bytes to a new message's empty data.

    The default `data` is an array('B'); filling it in place copies once. The setter copies once more, and takes an
    ndarray byte by byte, a thousand times slower (benchmarks/message_fill.py).
    """
    message.data.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)


def _image_through_cv_bridge(message: Image) -> RawImage | None:
    """Returns the image of an encoding that we do not know, or None where cv_bridge is not installed."""
    try:
        from cv_bridge import CvBridge

        image = RawImage(CvBridge().imgmsg_to_cv2(message, "bgr8"), "bgr")
    except ImportError:
        return None
    except Exception as error:  # whatever cv_bridge's C++ throws
        raise EncodingError(f"cv_bridge refuses the image, encoding '{message.encoding}': {error}") from error
    if (image.height, image.width) != (message.height, message.width):  # it cuts where the step is too small
        raise EncodingError(
            f"{message.encoding} image of {message.width}x{message.height} has a step of {message.step} bytes, "
            f"enough for {image.width} pixels only"
        )
    return image


def _points_through_sensor_msgs_py(message: PointCloud2) -> npt.NDArray[np.float32]:
    types = {field.name: field.datatype for field in message.fields}
    what = f"cloud whose fields have the PointField datatypes {types} (x, y and z are neither FLOAT32 nor FLOAT64)"
    try:
        from sensor_msgs_py import point_cloud2
    except ImportError as error:
        raise EncodingError(f"{what} needs sensor_msgs_py, which is not installed") from error
    # read_points passes over row_step, and swaps the bytes of a big-endian message in place.
    if message.is_bigendian or message.row_step != message.width * message.point_step:
        raise EncodingError(f"{what} is big-endian or has padded rows, which sensor_msgs_py does not read")
    try:
        points = point_cloud2.read_points(message, field_names=("x", "y", "z"))
    except (AssertionError, TypeError, ValueError) as error:
        raise EncodingError(f"sensor_msgs_py refuses the {what}: {error}") from error
    return np.stack([points[name] for name in "xyz"], axis=-1).astype(np.float32)
