"""Writing a rosbag2 without ROS; a bag that was not finished never stands under its final name."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from recon3d_ros.bags.bag_path import BagError
from recon3d_ros.core.atomic_file import naming_errors

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
LATCHED_TOPICS = ("/tf_static",)
# Version 8 writes QoS as a string: Humble reads it as well as Jazzy; version 9 is read from Jazzy on only.
METADATA_VERSION: Literal[8] = 8


class BagWriter:
    """A rosbag2 that is being written into `.NAME.partial` beside its path, and moved there when it is whole.

    Args:
        path: the bag's folder; it must not exist.
        storage: "mcap" or "sqlite3".

    Raises:
        BagError: if the path exists.
    """

    def __init__(self, path: Path | str, *, storage: str = "mcap") -> None:
        self.path = Path(path)
        if self.path.exists():
            raise BagError(f"{self.path}: exists already; remove it or give another name")
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        if self._partial.exists():
            shutil.rmtree(self._partial)
        self._writer = Writer(
            self._partial / self.path.name, version=METADATA_VERSION, storage_plugin=STORAGES[storage]
        )
        self._typestore = get_typestore(Stores.ROS2_JAZZY)
        self._connections: dict[str, Connection] = {}

    def write(self, topic: str, message: Any, stamp_ns: int) -> None:
        """Writes a message (of rosbags' own classes) under its topic; `stamp_ns` is its time in the bag."""
        data = self._typestore.serialize_cdr(message, message.__msgtype__)
        self.write_serialised(topic, message.__msgtype__, data, stamp_ns)

    def write_serialised(self, topic: str, type_name: str, data: bytes | memoryview, stamp_ns: int) -> None:
        """Writes a message that is serialised already."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, type_name, typestore=self._typestore, offered_qos_profiles=[_qos(topic in LATCHED_TOPICS)]
            )
        with self._telling_errors():
            self._writer.write(self._connections[topic], stamp_ns, data)

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._telling_errors():
                self._writer.__exit__(kind, error, trace)
            if error is None:
                (self._partial / self.path.name).rename(self.path)
        finally:
            shutil.rmtree(self._partial)

    @contextmanager
    def _telling_errors(self) -> Iterator[None]:
        """Tells a full disk as an error of this bag, whichever storage meets it."""
        try:
            with naming_errors(self.path):
                yield
        except sqlite3.Error as error:
            raise BagError(f"{self.path}: cannot be written ({error})") from error


def _qos(is_latched: bool) -> Qos:
    """Returns what a publisher of such a topic offers: reliable, depth 10, latched for static transforms."""
    forever = QosTime(9223372036, 854775807)  # RMW_DURATION_INFINITE
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if is_latched else QosDurability.VOLATILE,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )
