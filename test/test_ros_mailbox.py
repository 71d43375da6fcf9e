"""The keep-latest mailbox."""

import threading
import time

from recon3d_ros.ros.mailbox import Mailbox


def test_a_full_slot_gives_back_what_it_held_and_keeps_the_newest():
    mailbox: Mailbox[int] = Mailbox()
    assert mailbox.put("front", 1) is None
    assert mailbox.put("front", 2) == 1
    assert mailbox.put("rear", 3) is None
    assert mailbox.take_all() == {"front": 2, "rear": 3}


def test_the_reader_waits_until_something_comes():
    mailbox: Mailbox[int] = Mailbox()
    taken = []
    reader = threading.Thread(target=lambda: taken.append(mailbox.take_all()))
    reader.start()
    time.sleep(0.05)
    assert taken == []
    mailbox.put("front", 7)
    reader.join(5)
    assert taken == [{"front": 7}]


def test_closing_wakes_the_reader_and_returns_what_was_unread():
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put("front", 1)
    assert mailbox.close() == {"front": 1}
    assert mailbox.take_all() == {}
