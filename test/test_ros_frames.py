"""Where a transform comes from, how long it is waited for, and what is said where it does not come."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install -r requirements/ros-jazzy.txt")

from geometry_msgs.msg import TransformStamped

from recon3d_ros.core.lidar import pose_matrix
from recon3d_ros.core.transforms import TransformError, parse_transforms
from recon3d_ros.ros.frames import FixedFrames, TfFrames, pose_of, transform_message
from recon3d_ros.ros.parameters import DepthNodeParameters
from recon3d_ros.ros.places import Places

FRONT = "base_link front 1 0.2 1.5 -0.5 0.5 -0.5 0.5"
T_BASE_FRONT = parse_transforms(FRONT).lookup("base_link", "front")
SECOND = 1_000_000_000
PARAMETERS = DepthNodeParameters()


class Buffer:
    """What tf2_ros.Buffer promises of lookup_transform: an answer, or an exception of tf2's own.

    Source: ros2/geometry2, tf2_ros_py/tf2_ros/buffer.py.
    """

    def __init__(self) -> None:
        self.answer: TransformStamped | Exception = RuntimeError(
            '"front" passed to lookupTransform does not exist'
        )
        self.asked: list[tuple[str, str, int]] = []
        self.was_cleared = False

    def lookup_transform(self, target: str, source: str, stamp: object) -> TransformStamped:
        self.asked.append((target, source, stamp.nanoseconds))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def clear(self) -> None:
        self.was_cleared = True


def place(places: Places, *, timeout: float = 0.0, **needs: bool):
    wanted = {"needs_base": True, "needs_mounting": False, "needs_target": False, **needs}
    places.start_batch(timeout)
    return places.locate("front", 7 * SECOND, PARAMETERS, **wanted)


def test_tf_is_asked_at_the_images_stamp():
    buffer = Buffer()
    buffer.answer = transform_message("base_link", "front", T_BASE_FRONT)
    located = place(Places(TfFrames(buffer)))
    np.testing.assert_allclose(located.place.T_base_camera, T_BASE_FRONT, atol=1e-9)
    assert buffer.asked == [("base_link", "front", 7 * SECOND)]
    assert located.problems == {}


def test_a_transform_survives_the_way_through_its_message():
    T = pose_matrix(
        (1, -2, 3), rotation_wxyz=np.array((0.1, 0.7, -0.5, 0.5)) / np.linalg.norm((0.1, 0.7, -0.5, 0.5))
    )
    np.testing.assert_allclose(pose_of(transform_message("a", "b", T)), T, atol=1e-9)


def test_a_transform_that_is_still_under_way_is_waited_for():
    buffer = Buffer()
    answer = transform_message("base_link", "front", T_BASE_FRONT)
    threading.Timer(0.05, lambda: setattr(buffer, "answer", answer)).start()
    assert place(Places(TfFrames(buffer)), timeout=5.0).problems == {}
    assert len(buffer.asked) > 1


def test_a_missing_transform_costs_one_wait_for_all_cameras_and_later_frames():
    buffer = Buffer()
    places = Places(TfFrames(buffer))
    start = time.monotonic()
    assert "does not exist" in place(places, timeout=0.2).problems["transform"]
    assert time.monotonic() - start >= 0.2
    asked = len(buffer.asked)
    for _ in range(5):
        place(places, timeout=0.2)
    assert len(buffer.asked) == asked + 5, "each later frame asks once and does not wait"
    buffer.answer = transform_message("base_link", "front", T_BASE_FRONT)
    assert place(places).problems == {}


class LateBuffer(Buffer):
    """Has each stamp's transform only some time after it was first asked for, as TF behind a fast network."""

    delay = 0.1

    def lookup_transform(self, target: str, source: str, stamp: object) -> TransformStamped:
        self.first = getattr(self, "first", {})
        asked = self.first.setdefault(stamp.nanoseconds, time.monotonic())
        if time.monotonic() - asked < self.delay:
            raise RuntimeError("Lookup would require extrapolation into the future.")
        return transform_message("base_link", "front", T_BASE_FRONT)


def test_a_transform_that_is_always_late_is_not_lost_by_one_longer_delay(monkeypatch):
    monkeypatch.setattr("recon3d_ros.ros.places.RETRY_PERIOD", 0.3)
    buffer = LateBuffer()
    places = Places(TfFrames(buffer))
    needs = {"needs_base": True, "needs_mounting": False, "needs_target": False}

    def is_located(second: int) -> bool:
        places.start_batch(0.2)
        return not places.locate("front", second * SECOND, PARAMETERS, **needs).problems

    assert is_located(1), "it is waited for"
    buffer.delay = 0.5
    assert not is_located(2), "one delay is longer than transform_timeout"
    buffer.delay = 0.05
    assert not is_located(3), "not waited for at each frame"
    time.sleep(0.3)
    assert is_located(4) and is_located(5), "waited for again"


@pytest.mark.parametrize(
    "words",
    [
        "Lookup would require extrapolation into the future. Requested time 7.0 but the latest data is 6.5",
        "The tf tree is invalid because it contains a loop.",
        "Could not find a connection between 'base_link' and 'front' because they are not part of the same tree.",
    ],
    ids=["time gap", "loop", "two trees"],
)
def test_whatever_tf2_refuses_is_told_in_its_words_and_nothing_is_placed(words):
    buffer = Buffer()
    buffer.answer = RuntimeError(words)
    located = place(Places(TfFrames(buffer)), needs_mounting=True)
    assert words in located.problems["transform"]
    assert located.place.T_base_camera is None and located.place.mounting is None


def test_a_transform_without_a_rotation_is_refused():
    buffer = Buffer()
    buffer.answer = TransformStamped()  # w = 1 by default: make it the all-zero quaternion of a careless publisher
    buffer.answer.transform.rotation.w = 0.0
    assert "unit quaternion" in place(Places(TfFrames(buffer))).problems["transform"]


def test_after_a_jump_back_in_time_tf_is_forgotten():
    buffer = Buffer()
    frames = TfFrames(buffer)
    frames.forget()
    assert buffer.was_cleared
    buffer.was_cleared = False
    frames.forget()
    assert not buffer.was_cleared, "the next camera tells of the same jump; what has come since it must stay"


def test_without_tf2_the_parameters_transforms_hold_and_a_missing_one_names_the_way_out():
    frames = FixedFrames(parse_transforms(FRONT))
    assert frames.lookup("base_link", "front", SECOND, timeout=1.0)[0, 3] == 1.0
    with pytest.raises(TransformError, match="static_transforms"):
        frames.lookup("base_link", "rear", SECOND, timeout=1.0)


def test_tf2_itself_keeps_the_promises_that_the_fake_makes():
    tf2_ros = pytest.importorskip("tf2_ros", reason="tf2_ros is not installed (it has no pip wheel)")
    buffer = tf2_ros.Buffer()
    frames = TfFrames(buffer)
    with pytest.raises(TransformError, match="base_link"):
        frames.lookup("base_link", "front", SECOND, timeout=0.0)
    buffer.set_transform_static(transform_message("base_link", "front", T_BASE_FRONT), "test")
    np.testing.assert_allclose(frames.lookup("base_link", "front", SECOND, timeout=0.0), T_BASE_FRONT, atol=1e-9)
