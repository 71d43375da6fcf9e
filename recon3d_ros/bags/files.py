"""The storage files of a bag behind one shape: a whole one read by rosbags, a damaged one by salvage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from rosbags.interfaces import ConnectionExtRosbag2, Qos
from rosbags.rosbag2 import Reader

from recon3d_ros.bags.salvage import BagMessage, salvage


class WholeFile:
    """A bag folder or storage file that rosbags opens.

    Attributes:
        counts, types, qos: of each topic; counts as the index promises them.
        start_ns, end_ns: stamps of the first and last message; 0 without messages.
    """

    def __init__(self, path: Path) -> None:
        folder = path if path.is_dir() else path.parent
        if any(log.stat().st_size for log in folder.glob("*.db3-wal")):
            # rosbags reads the database without its log, and would silently miss what is only there.
            raise OSError("its write-ahead log was not merged: the recorder was killed")
        self._reader = Reader(path)
        self._reader.open()
        self.counts: Counter[str] = Counter()
        self.types: dict[str, str] = {}
        self.qos: dict[str, tuple[Qos, ...]] = {}
        for connection in self._reader.connections:
            self.counts[connection.topic] += connection.msgcount
            self.types[connection.topic] = connection.msgtype
            if isinstance(connection.ext, ConnectionExtRosbag2):
                known = self.qos.get(connection.topic, ())
                self.qos[connection.topic] = (*known, *connection.ext.offered_qos_profiles)
        has_messages = self._reader.message_count > 0
        self.start_ns = self._reader.start_time if has_messages else 0
        self.end_ns = self._reader.end_time - 1 if has_messages else 0

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Yields the messages of some topics, by their stamps."""
        connections = [c for c in self._reader.connections if c.topic in topics]
        if connections:
            for connection, stamp_ns, data in self._reader.messages(connections):
                yield BagMessage(connection.topic, connection.msgtype, stamp_ns, data)

    def close(self) -> None:
        self._reader.close()


class SalvagedFile:
    """A damaged storage file, read once from end to end to learn what is left; attributes as in WholeFile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.counts: Counter[str] = Counter()
        self.types: dict[str, str] = {}
        self.qos: dict[str, tuple[Qos, ...]] = {}
        self.start_ns = self.end_ns = 0
        for message in salvage(path):
            is_first = not self.counts
            self.counts[message.topic] += 1
            self.types[message.topic] = message.type
            self.start_ns = message.stamp_ns if is_first else min(self.start_ns, message.stamp_ns)
            self.end_ns = max(self.end_ns, message.stamp_ns)

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Yields the messages of some topics, as they lie in the file."""
        return (message for message in salvage(self._path) if message.topic in topics)

    def close(self) -> None:
        """Does nothing: the file is open only while its messages are read."""
