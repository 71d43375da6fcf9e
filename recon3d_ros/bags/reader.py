"""Reading a rosbag2 (mcap or sqlite3), whole or damaged, without ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Qos
from rosbags.typesys import Stores, get_typestore

from recon3d_ros.bags.bag_path import BagError, is_bag, storage_files
from recon3d_ros.bags.files import SalvagedFile, WholeFile
from recon3d_ros.bags.salvage import BagMessage


@dataclass(frozen=True)
class BagTopic:
    """A topic of a bag.

    Attributes:
        name, type: as recorded, for example "/camera/image_raw" and "sensor_msgs/msg/Image".
        count: messages in the bag.
        qos: what each publisher offered while it was recorded; empty where the bag does not say.
    """

    name: str
    type: str
    count: int
    qos: tuple[Qos, ...] = ()


class BagReader:
    """A rosbag2: a folder with metadata.yaml, a folder that lost it, or a single .mcap or .db3 file.

    A damaged file is read up to the damage, and `damage` says so.

    Attributes:
        topics: by name, in alphabetical order.
        start_ns, end_ns: stamps of the first and last message; 0 in a bag without messages.
        damage: a sentence for each thing that is lost; it may grow while messages are read.
    """

    def __init__(self, path: Path | str) -> None:
        """Opens the bag.

        Raises:
            BagError: if the path is no rosbag2, or no message in it can be read.
        """
        self.path = Path(path)
        self.damage: list[str] = []
        self._typestore = get_typestore(Stores.ROS2_JAZZY)
        self._files = self._open_files()
        counts = sum((file.counts for file in self._files), Counter[str]())
        types = {topic: kind for file in self._files for topic, kind in file.types.items()}
        qos = {topic: profiles for file in self._files for topic, profiles in file.qos.items()}
        if not counts:
            self.close()
            raise BagError("; ".join(self.damage) or f"{self.path}: holds no message")
        self.topics = {
            name: BagTopic(name, kind, counts[name], qos.get(name, ())) for name, kind in sorted(types.items())
        }
        self.start_ns = min(file.start_ns for file in self._files if file.counts.total())
        self.end_ns = max(file.end_ns for file in self._files if file.counts.total())

    def _open_files(self) -> list[WholeFile | SalvagedFile]:
        """Returns the folder as one where it is whole, else each of its storage files."""
        if self.path.suffix == ".bag":
            raise BagError(
                f"{self.path}: is a ROS 1 bag; convert it with 'rosbags-convert --src {self.path} --dst FOLDER'"
            )
        if not self.path.exists():
            raise BagError(f"{self.path}: does not exist")
        if not is_bag(self.path):
            raise BagError(f"{self.path}: is no rosbag2; give the folder that holds its .mcap or .db3 files")
        if not self.path.is_dir():
            return [self._open_file(self.path)]
        trouble = ""
        if (self.path / "metadata.yaml").exists():
            try:
                return [WholeFile(self.path)]
            except Exception as error:  # rosbags raises a dozen unrelated classes on damaged bytes
                trouble = f"{self.path}: {error}"
        files = [self._open_file(file) for file in storage_files(self.path)]
        if trouble and not self.damage:
            self.damage.append(trouble)
        return files

    def _open_file(self, path: Path) -> WholeFile | SalvagedFile:
        try:
            return WholeFile(path)
        except Exception as error:  # as above
            file = SalvagedFile(path)
            self.damage.append(
                f"{path}: was cut off or not closed ({error}); "
                f"{_extent(file.counts.total(), file.end_ns)} can be read"
            )
            return file

    def messages(self, topics: Collection[str] = ()) -> Iterator[BagMessage]:
        """Yields the messages of some topics, or of all, by their stamps; it stops at damage and notes it."""
        wanted = frozenset(topics) or frozenset(self.topics)
        for file in self._files:
            count, last_ns, reason = 0, 0, "its index promises more"
            try:
                for message in file.messages(wanted):
                    count, last_ns = count + 1, message.stamp_ns
                    yield message
            except Exception as error:  # as above
                reason = str(error)
            promised = sum(file.counts[topic] for topic in wanted)
            sentence = f"{self.path}: damaged ({reason}); {_extent(count, last_ns)} of {promised} can be read"
            if count < promised and sentence not in self.damage:
                self.damage.append(sentence)

    def deserialise(self, message: BagMessage) -> Any:
        """Returns the message's content; its fields have the names that ROS gives them.

        Raises:
            BagError: if the bytes are not a message of that type.
        """
        try:
            return self._typestore.deserialize_cdr(message.data, message.type)
        except Exception as error:  # as above
            raise BagError(
                f"{message.topic}: a message's bytes are no {message.type} ({type(error).__name__}: {error})"
            ) from error

    def close(self) -> None:
        """Closes the files."""
        for file in self._files:
            file.close()
        self._files = []

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _extent(count: int, last_ns: int) -> str:
    return f"{count} messages, up to {last_ns / 1e9:.3f} s," if count else "0 messages"
