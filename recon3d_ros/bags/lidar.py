"""LiDAR sweeps of a bag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recon3d_ros.bags.bag_path import BagError
from recon3d_ros.bags.reader import BagReader
from recon3d_ros.core.encodings import Bytes, EncodingError, unpack_points

POINT_CLOUD = "sensor_msgs/msg/PointCloud2"
DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}  # PointField's datatypes
TIME_FIELDS = ("t", "time", "offset_time", "time_offset", "timestamp")  # Ouster, Velodyne, Livox, others, Hesai
MAX_SWEEP_S = 1.0


class PointField(Protocol):
    """The fields of sensor_msgs/PointField that are read."""

    @property
    def name(self) -> str: ...
    @property
    def offset(self) -> int: ...
    @property
    def datatype(self) -> int: ...


class PointCloud(Protocol):
    """The fields of sensor_msgs/PointCloud2 that are read."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def fields(self) -> Sequence[PointField]: ...
    @property
    def is_bigendian(self) -> bool: ...
    @property
    def point_step(self) -> int: ...
    @property
    def row_step(self) -> int: ...
    @property
    def data(self) -> Bytes: ...


@dataclass(frozen=True, eq=False)
class Sweep:
    """A LiDAR's sweep.

    Attributes:
        stamp_ns: of the header.
        frame_id: the LiDAR's frame.
        points: (N, 3) float32 metres; finite, and no return at the LiDAR itself.
        times: (N,) float64 seconds after the stamp at which each was measured, or None.
    """

    stamp_ns: int
    frame_id: str
    points: npt.NDArray[np.float32]
    times: npt.NDArray[np.float64] | None


def find_lidar(reader: BagReader, topic: str = "") -> str:
    """Returns the topic of the LiDAR that is asked for, or of the only one there is.

    Raises:
        BagError: if there is none, or several and none is chosen.
    """
    clouds = [t.name for t in reader.topics.values() if t.type == POINT_CLOUD and t.count]
    if not clouds:
        listing = ", ".join(f"{t.name} ({t.type})" for t in reader.topics.values())
        raise BagError(f"{reader.path}: has no LiDAR, a topic of type {POINT_CLOUD}; its topics are {listing}")
    if topic and topic not in clouds:
        raise BagError(f"{reader.path}: has no point clouds on '{topic}'; they are on {', '.join(clouds)}")
    if not topic and len(clouds) > 1:
        raise BagError(f"{reader.path}: has {len(clouds)} point cloud topics, {', '.join(clouds)}; choose one")
    return topic or clouds[0]


def sweep_of(message: PointCloud, *, stamp_ns: int, frame_id: str) -> Sweep:
    """Returns the sweep of a sensor_msgs/PointCloud2.

    Times of points are integer nanoseconds or floating seconds after the stamp, or seconds or nanoseconds since
    1970; where they do not lie within a second of the stamp they are in a unit of the driver's own, and left out.

    Raises:
        EncodingError: if it has no x, y and z of type FLOAT32 or FLOAT64, or too few bytes.
    """
    fields = {field.name: field for field in message.fields}
    kinds = {DTYPES.get(fields[name].datatype) if name in fields else None for name in "xyz"}
    if len(kinds) != 1 or not kinds <= {"f4", "f8"}:
        raise EncodingError(f"cloud has the fields {sorted(fields)}, expected x, y and z of one floating type")
    points = unpack_points(
        message.data,
        height=message.height,
        width=message.width,
        point_step=message.point_step,
        row_step=message.row_step,
        offsets=(fields["x"].offset, fields["y"].offset, fields["z"].offset),
        dtype=np.float32 if kinds == {"f4"} else np.float64,
        is_bigendian=message.is_bigendian,
    )
    is_return = np.asarray(np.isfinite(points).all(axis=1) & (points != 0).any(axis=1), dtype=np.bool_)
    field = next((fields[name] for name in TIME_FIELDS if name in fields), None)
    times = None if field is None else _times(message, field, stamp_ns, is_return)
    return Sweep(stamp_ns, frame_id, points[is_return], times)


def _times(
    message: PointCloud, field: PointField, stamp_ns: int, is_return: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64] | None:
    """Returns the seconds after the stamp of the returns alone, or None where they make no sense.

    Args:
        message, field: the cloud and its field of times.
        stamp_ns: of the header.
        is_return: (height * width,); a driver leaves the time of a point without a return at 0 or NaN.
    """
    if field.datatype not in DTYPES or not is_return.any():
        return None
    kind = np.dtype(DTYPES[field.datatype]).newbyteorder(">" if message.is_bigendian else "<")
    if field.offset + kind.itemsize > message.point_step:
        return None
    shape, strides = (message.height, message.width), (message.row_step, message.point_step)
    values = np.ndarray(shape, kind, message.data, field.offset, strides).reshape(-1)
    seconds = values[is_return].astype(np.float64)
    if kind.kind != "f":
        seconds = seconds * 1e-9
    elif np.abs(seconds).max() > 1e14:
        seconds = (seconds - stamp_ns) * 1e-9
    elif np.abs(seconds).max() > 1e8:
        seconds = seconds - stamp_ns * 1e-9
    return seconds if bool((np.abs(seconds) <= MAX_SWEEP_S).all()) else None
