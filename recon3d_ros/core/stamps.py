"""Stamps of messages as one integer; rclpy's and rosbags' messages both serve."""

from __future__ import annotations

from typing import Protocol


class Time(Protocol):
    """The fields of builtin_interfaces/Time."""

    @property
    def sec(self) -> int: ...
    @property
    def nanosec(self) -> int: ...


class Header(Protocol):
    """The field of std_msgs/Header that is read."""

    @property
    def stamp(self) -> Time: ...


def stamp_ns_of(header: Header) -> int:
    """Returns a header's stamp, nanoseconds."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)
