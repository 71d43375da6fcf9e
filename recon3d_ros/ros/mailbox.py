"""A keep-latest mailbox: a slow reader gets the newest item of each sender, never a queue of old ones."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """One slot for each sender; putting into a full slot replaces what it holds."""

    def __init__(self) -> None:
        self._slots: dict[str, Item] = {}
        self._changed = threading.Condition()
        self._is_open = True

    def put(self, sender: str, item: Item) -> Item | None:
        """Stores the sender's newest item; returns the unread one that it replaced, or None."""
        with self._changed:
            replaced = self._slots.pop(sender, None)
            self._slots[sender] = item
            self._changed.notify()
            return replaced

    def take_all(self) -> dict[str, Item]:
        """Waits for an item, then empties every slot; returns no item once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._slots or not self._is_open)
            items = self._slots if self._is_open else {}
            self._slots = {}
            return items

    def close(self) -> dict[str, Item]:
        """Wakes the reader for the last time; returns what was never read."""
        with self._changed:
            self._is_open = False
            unread, self._slots = self._slots, {}
            self._changed.notify_all()
            return unread
