"""Frames out of bags, folders and videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drives import (
    HEIGHT,
    WIDTH,
    camera_info_message,
    camera_messages,
    cut,
    header,
    image_message,
    make_image,
    ros_message,
    write_bag,
    write_drive,
)

from recon3d_ros.bags.bag_path import BagError
from recon3d_ros.core.calibration import Calibration
from recon3d_ros.core.camera import CameraModel
from recon3d_ros.tools.inputs import InputError, InputOptions, open_input

CAMERA = CameraModel(WIDTH, HEIGHT, 60.0, 62.0, 37.5, 20.25)


def compressed_message(index: int, stamp_ns: int) -> Any:
    data = cv2.imencode(".png", make_image(index))[1].reshape(-1)
    return ros_message("sensor_msgs/msg/CompressedImage", header=header(stamp_ns), format="png", data=data)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_frames_of_a_bag_have_their_pixels_stamps_and_camera(tmp_path: Path, storage: str) -> None:
    source = open_input(write_bag(tmp_path / "bag", camera_messages(5), storage=storage), InputOptions())
    frames = list(source)
    assert source.length == len(frames) == 5
    for index, frame in enumerate(frames):
        assert (frame.index, frame.stamp_ns) == (index, 1_000_000_000 + index * 10**8)
        assert (frame.frame_id, frame.camera_name, frame.camera) == ("camera_optical_frame", "camera", CAMERA)
        np.testing.assert_array_equal(frame.image.data, make_image(index))
    assert not source.skipped and not source.damage


def test_an_image_recorded_before_the_first_camera_info_is_not_lost(tmp_path: Path) -> None:
    messages = camera_messages(3)
    bag = write_bag(tmp_path / "bag", [m for m in messages if m[0].endswith("image_raw")] + messages[-1:])
    assert len(list(open_input(bag, InputOptions()))) == 3


def test_a_calibration_that_changes_on_the_way_is_followed(tmp_path: Path) -> None:
    messages = camera_messages(4)
    longer = camera_info_message(1_150_000_000, k=np.array([90.0, 0, 37.5, 0, 90, 20.25, 0, 0, 1]))
    messages = [m for m in messages if m[2] < 1_150_000_000 or m[0].endswith("image_raw")]
    messages.insert(4, ("/camera/camera_info", longer, 1_150_000_000))
    focals = [frame.camera.fx for frame in open_input(write_bag(tmp_path / "bag", messages), InputOptions())]
    assert focals == [60.0, 60.0, 90.0, 90.0]


def test_frames_that_do_not_fit_their_camera_info_are_counted_and_the_next_good_one_comes(tmp_path: Path) -> None:
    def spoil(index: int, **fields: Any) -> Callable[[str, Any, int], tuple[str, Any, int]]:
        pixels = make_image(index, height=HEIGHT - 2)
        return lambda topic, message, stamp: (topic, image_message(pixels, stamp, **fields), stamp)

    messages = camera_messages(5)
    messages[2] = spoil(1)(*messages[2])  # another size
    wrong_frame = image_message(make_image(2), 1_200_000_000, header=header(1_200_000_000, "lidar"))
    messages[4] = ("/camera/image_raw", wrong_frame, 1_200_000_000)
    cut_off = image_message(make_image(3), 1_300_000_000, data=np.zeros(100, np.uint8))
    messages[6] = ("/camera/image_raw", cut_off, 1_300_000_000)
    source = open_input(write_bag(tmp_path / "bag", messages), InputOptions())
    assert [frame.index for frame in source] == [0, 4]
    reasons = "\n".join(source.skipped)
    assert sum(source.skipped.values()) == 3
    assert f"image is {WIDTH}x{HEIGHT - 2}, its CameraInfo {WIDTH}x{HEIGHT}" in reasons
    assert "image has frame_id 'lidar', its CameraInfo 'camera_optical_frame'" in reasons
    assert "100 bytes, expected" in reasons


def test_a_camera_info_of_zeros_is_counted_with_the_reason(tmp_path: Path) -> None:
    messages = [
        ("/camera/camera_info", camera_info_message(1, k=np.zeros(9)), 1),
        ("/camera/image_raw", image_message(make_image(0), 2), 2),
        ("/camera/camera_info", camera_info_message(3), 3),
        ("/camera/image_raw", image_message(make_image(1), 4), 4),
    ]
    source = open_input(write_bag(tmp_path / "bag", messages), InputOptions())
    assert [frame.index for frame in source] == [1]
    assert "the camera is not calibrated" in next(iter(source.skipped))


def test_a_cut_off_bag_gives_its_frames_and_then_says_what_is_lost(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(100))
    cut(bag, 0.5)
    source = open_input(bag, InputOptions())
    frames = list(source)
    assert 45 <= len(frames) <= 51
    assert "was cut off" in source.damage[0]


def test_compressed_images_are_found_and_raw_ones_are_preferred(tmp_path: Path) -> None:
    compressed = [("/front/image_raw/compressed", compressed_message(i, i + 1), i + 1) for i in range(2)]
    infos = [("/front/camera_info", camera_info_message(1), 1)]
    (first, _) = open_input(write_bag(tmp_path / "a", infos + compressed), InputOptions())
    assert first.camera_name == "front"
    np.testing.assert_array_equal(first.image.data, make_image(0))
    raw = [("/front/image_raw", image_message(make_image(7), 1), 1)]
    (only,) = open_input(write_bag(tmp_path / "b", infos + compressed + raw), InputOptions())
    np.testing.assert_array_equal(only.image.data, make_image(7))


def test_depth_images_are_not_taken_for_camera_images(tmp_path: Path) -> None:
    depth = image_message(np.zeros((4, 6), np.uint16), 1, encoding="16UC1")
    bag = write_bag(tmp_path / "bag", [("/camera/depth/image", depth, 1), *camera_messages(2)])
    assert len(list(open_input(bag, InputOptions()))) == 2
    bag = write_bag(tmp_path / "only_depth", [("/camera/depth/image", depth, 1)])
    with pytest.raises(BagError, match=r"no colour or grey images; its topics are /camera/depth/image"):
        open_input(bag, InputOptions())


def test_of_several_cameras_the_user_chooses_one_or_more(tmp_path: Path) -> None:
    messages = camera_messages(2, namespace="/left") + camera_messages(3, namespace="/rear/wide")
    bag = write_bag(tmp_path / "bag", messages)
    with pytest.raises(BagError, match="--image-topic /left/image_raw --image-topic /rear/wide/image_raw"):
        open_input(bag, InputOptions())
    source = open_input(bag, InputOptions(image_topics=("/left/image_raw", "/rear/wide/image_raw")))
    assert sorted(frame.camera_name for frame in source) == ["left"] * 2 + ["rear/wide"] * 3
    with pytest.raises(BagError, match="has no images on '/right/image_raw'; they are on /left/image_raw"):
        open_input(bag, InputOptions(image_topics=("/right/image_raw",)))


def test_without_camera_info_a_bag_needs_a_calibration(tmp_path: Path) -> None:
    images = [message for message in camera_messages(2) if message[0].endswith("image_raw")]
    elsewhere = ("/other/camera_info", camera_info_message(1), 1)
    bag = write_bag(tmp_path / "bag", [*images, elsewhere])
    with pytest.raises(BagError, match=r"expected it on /camera/camera_info, found it on /other/camera_info"):
        open_input(bag, InputOptions())
    frames = list(open_input(bag, InputOptions(calibration=Calibration(CAMERA))))
    assert [frame.camera for frame in frames] == [CAMERA, CAMERA]


def test_rectified_images_use_p_and_no_distortion(tmp_path: Path) -> None:
    p = np.array([50.0, 0, 30, 0, 0, 51, 20, 0, 0, 0, 1, 0])
    info = camera_info_message(1, d=np.array([-0.3, 0.1, 0, 0, 0]), p=p)
    bag = write_bag(
        tmp_path / "bag", [("/c/camera_info", info, 1), ("/c/image", image_message(make_image(0), 1), 1)]
    )
    (frame,) = open_input(bag, InputOptions(rectified=True))
    assert frame.camera == CameraModel(WIDTH, HEIGHT, 50.0, 51.0, 30.0, 20.0)


def test_a_folder_of_images_has_its_calibration_and_rate(tmp_path: Path) -> None:
    source = open_input(write_drive(tmp_path / "drive", 3), InputOptions(start_stamp_ns=5))
    frames = list(source)
    assert [frame.stamp_ns for frame in frames] == [5, 50_000_005, 100_000_005]
    assert {frame.camera for frame in frames} == {CAMERA}
    np.testing.assert_array_equal(frames[2].image.data, make_image(2))


def test_images_in_the_folder_itself_are_found_and_depth_beside_jpeg_is_not(tmp_path: Path) -> None:
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"{index}.color.jpg"), make_image(index))
        cv2.imwrite(str(tmp_path / f"{index}.depth.png"), np.zeros((4, 6), np.uint16))
    source = open_input(tmp_path, InputOptions(hfov_deg=60.0, rate_hz=5.0))
    frames = list(source)
    assert [frame.stamp_ns - frames[0].stamp_ns for frame in frames] == [0, 200_000_000]
    # Half of 60 degrees: tan 30 = 1 / sqrt 3.
    assert frames[0].camera.fx == pytest.approx(WIDTH / 2 * 3**0.5)
    assert "guessed" in source.notes[0]


def test_a_rate_that_nobody_states_is_said(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", 1, rate_hz=None)
    assert "states no rate" in open_input(drive, InputOptions()).notes[0]


def test_a_video_that_ends_early_says_how_many_frames_were_read(tmp_path: Path) -> None:
    path = tmp_path / "drive.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (WIDTH, HEIGHT))
    for index in range(40):
        video.write(make_image(index))
    video.release()
    source = open_input(path, InputOptions(hfov_deg=60.0))
    assert len(list(source)) == 40 and not source.damage
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    source = open_input(path, InputOptions(hfov_deg=60.0))
    assert 0 < len(list(source)) < 40
    assert "of 40 frames could be decoded" in source.damage[0]


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("nowhere", InputOptions(), "does not exist"),
        ("notes.txt", InputOptions(), "is no recording"),
        ("broken.mp4", InputOptions(hfov_deg=60.0), "OpenCV cannot decode this video"),
        ("drive", InputOptions(hfov_deg=200.0), "--hfov-deg is 200, expected 1 to 170"),
        ("drive", InputOptions(hfov_deg=60.0, rate_hz=-5.0), "--rate is -5, expected more than 0"),
        ("drive", InputOptions(hfov_deg=60.0, rate_hz=0.0), "--rate is 0, expected more than 0"),
        ("ring", InputOptions(), "is a camera ring; make a bag of it with 'recon3d bag make"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, name: str, options: InputOptions, reason: str
) -> None:
    for file in ("notes.txt", "broken.mp4"):
        (tmp_path / file).write_bytes(b"hello")
    drive = write_drive(tmp_path / "drive", 1)
    (drive / "calibration.json").unlink()
    (tmp_path / "ring").mkdir()
    (tmp_path / "ring" / "calibration.json").write_text('{"front": {"sensor_in_base": {}}}')
    with pytest.raises(InputError, match=reason):
        open_input(tmp_path / name, options)
