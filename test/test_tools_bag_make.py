"""`recon3d bag make` and `bag info`: what goes into a bag, read back by rosbags alone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from drives import (
    HEIGHT,
    T_CAMERA_LIDAR,
    WIDTH,
    K,
    camera_messages,
    cut,
    make_image,
    read_bag,
    write_bag,
    write_drive,
)

from recon3d_ros.core.transforms import quaternion_xyzw
from recon3d_ros.tools import cli

START_NS = 1_700_000_000_000_000_000


def make(source: Path, bag: Path, *options: str) -> int:
    return cli.main(["bag", "make", str(source), "-o", str(bag), *options])


def stamp_ns(message: object) -> int:
    stamp = message.header.stamp  # type: ignore[attr-defined]
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_raw_images_are_pixel_exact_and_stamped_at_the_calibrations_rate(tmp_path: Path, storage: str) -> None:
    assert make(write_drive(tmp_path / "drive", 4), tmp_path / "bag", "--storage", storage) == 0
    images = read_bag(tmp_path / "bag")["/camera/image_raw"]
    for index, image in enumerate(images):
        assert (image.encoding, image.height, image.width, image.step) == ("bgr8", HEIGHT, WIDTH, 3 * WIDTH)
        assert image.header.frame_id == "camera_optical_frame"
        assert stamp_ns(image) == START_NS + index * 50_000_000
        np.testing.assert_array_equal(image.data.reshape(HEIGHT, WIDTH, 3), make_image(index))


@pytest.mark.parametrize(("suffix", "format"), [(".jpg", "jpeg"), (".png", "png")])
def test_compressed_images_keep_the_files_bytes(tmp_path: Path, suffix: str, format: str) -> None:
    drive = write_drive(tmp_path / "drive", 3, suffix=suffix)
    assert make(drive, tmp_path / "bag", "--compressed") == 0
    images = read_bag(tmp_path / "bag")["/camera/image_raw/compressed"]
    files = sorted((drive / "image").iterdir())
    assert [image.data.tobytes() for image in images] == [file.read_bytes() for file in files]
    assert {image.format for image in images} == {format}


def test_grey_images_become_mono8(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", 1)
    grey = make_image(3)[..., 2]
    cv2.imwrite(str(drive / "image" / "000000.png"), grey)
    make(drive, tmp_path / "bag")
    (image,) = read_bag(tmp_path / "bag")["/camera/image_raw"]
    assert image.encoding == "mono8"
    np.testing.assert_array_equal(image.data.reshape(HEIGHT, WIDTH), grey)


def test_every_image_has_its_camera_info(tmp_path: Path) -> None:
    D = [-0.3, 0.1, 0.001, -0.002, 0.01]
    make(write_drive(tmp_path / "drive", 2, D=D), tmp_path / "bag")
    topics = read_bag(tmp_path / "bag")
    infos = topics["/camera/camera_info"]
    assert [stamp_ns(info) for info in infos] == [stamp_ns(image) for image in topics["/camera/image_raw"]]
    assert (infos[0].width, infos[0].height, infos[0].distortion_model) == (WIDTH, HEIGHT, "plumb_bob")
    np.testing.assert_array_equal(infos[0].k.reshape(3, 3), K)
    np.testing.assert_array_equal(infos[0].d, D)
    np.testing.assert_array_equal(infos[0].p.reshape(3, 4)[:, :3], K)


def test_lidar_returns_are_kept_bit_for_bit(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive", 2)
    make(drive, tmp_path / "bag")
    cloud = read_bag(tmp_path / "bag")["/lidar/points"][1]
    assert [(field.name, field.offset, field.datatype) for field in cloud.fields] == [
        ("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("intensity", 12, 7),
    ]  # fmt: skip
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step, cloud.is_dense) == (1, 4, 16, 64, True)
    assert cloud.header.frame_id == "lidar"
    sweep = np.load(drive / "lidar" / "000001.npy")
    np.testing.assert_array_equal(cloud.data.view("<f4").reshape(-1, 4), sweep)


def test_exact_depth_comes_with_the_camera_of_its_own_size(tmp_path: Path) -> None:
    make(write_drive(tmp_path / "drive", 1), tmp_path / "bag")
    topics = read_bag(tmp_path / "bag")
    (depth,), (info,) = topics["/camera/ground_truth/depth"], topics["/camera/ground_truth/camera_info"]
    assert (depth.encoding, depth.height, depth.width, depth.step) == ("16UC1", HEIGHT // 2, WIDTH // 2, WIDTH)
    pixels = depth.data.view("<u2").reshape(HEIGHT // 2, WIDTH // 2)
    assert pixels[3, 0] == 0 and pixels[3, 1] == 7000
    # Half the size: fx / 2, and cx' = (37.5 + 0.5) / 2 - 0.5 by the rule of pixel centres.
    assert (info.width, info.height) == (WIDTH // 2, HEIGHT // 2)
    np.testing.assert_allclose(info.k, [30, 0, 18.5, 0, 31, 9.875, 0, 0, 1])


def test_static_transforms_lead_from_the_ground_to_the_camera_to_the_lidar(tmp_path: Path) -> None:
    make(write_drive(tmp_path / "drive", 1), tmp_path / "bag", "--camera", "front")
    (message,) = read_bag(tmp_path / "bag")["/tf_static"]
    to_camera, to_lidar = message.transforms
    assert (to_camera.header.frame_id, to_camera.child_frame_id) == ("base_link", "front_optical_frame")
    assert (to_lidar.header.frame_id, to_lidar.child_frame_id) == ("front_optical_frame", "lidar")
    t, r = to_camera.transform.translation, to_camera.transform.rotation
    assert (t.x, t.y, t.z) == (0.0, 0.0, 1.5)
    np.testing.assert_allclose([r.x, r.y, r.z, r.w], [-0.5, 0.5, -0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(_rotate(r, [0, 0, 1]), [1, 0, 0], atol=1e-12)  # optical z is forward
    np.testing.assert_allclose(_rotate(r, [0, 1, 0]), [0, 0, -1], atol=1e-12)  # optical y is down
    expected = np.array(T_CAMERA_LIDAR)
    r, t = to_lidar.transform.rotation, to_lidar.transform.translation
    np.testing.assert_allclose([t.x, t.y, t.z], expected[:3, 3])
    for axis in np.eye(3):
        np.testing.assert_allclose(_rotate(r, axis), expected[:3, :3] @ axis, atol=1e-12)


def _rotate(q: object, vector: object) -> np.ndarray:  # type: ignore[type-arg]
    """Rotates by a quaternion: v + 2 w (u x v) + 2 u x (u x v)."""
    u, v, w = np.array([q.x, q.y, q.z]), np.asarray(vector, float), q.w  # type: ignore[attr-defined]
    return v + 2 * w * np.cross(u, v) + 2 * np.cross(u, np.cross(u, v))


@pytest.mark.parametrize("degrees", [0.0, 0.01, 90.0, 179.9, 180.0])
def test_quaternions_of_any_angle_are_those_of_the_formula(degrees: float) -> None:
    a = np.radians(degrees)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]])
    expected = [0, 0, np.sin(a / 2), abs(np.cos(a / 2))]
    np.testing.assert_allclose(np.abs(quaternion_xyzw(about_z)), expected, atol=1e-7)


def test_a_video_becomes_a_bag_at_its_own_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = cv2.VideoWriter(str(tmp_path / "drive.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (WIDTH, HEIGHT))
    for index in range(5):
        video.write(make_image(index))
    video.release()
    assert make(tmp_path / "drive.avi", tmp_path / "bag", "--hfov-deg", "90") == 0
    assert "guessed from a horizontal field of view of 90 degrees" in capsys.readouterr().out
    topics = read_bag(tmp_path / "bag")
    assert [stamp_ns(image) - START_NS for image in topics["/camera/image_raw"]] == [
        40_000_000 * i for i in range(5)
    ]
    np.testing.assert_allclose(topics["/camera/camera_info"][0].k, [40, 0, 39.5, 0, 40, 23.5, 0, 0, 1])
    assert "/tf_static" not in topics


def test_an_unreadable_image_is_counted_and_the_others_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = write_drive(tmp_path / "drive", 3)
    (drive / "image" / "000001.png").write_bytes(b"no picture")
    assert make(drive, tmp_path / "bag") == 1
    assert "skipped: 1 x" in capsys.readouterr().out
    images = read_bag(tmp_path / "bag")["/camera/image_raw"]
    assert [stamp_ns(image) - START_NS for image in images] == [0, 100_000_000]


def test_a_bag_that_fails_half_way_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = write_drive(tmp_path / "drive", 3)
    np.save(drive / "lidar" / "000002.npy", np.zeros((4, 3)))
    assert make(drive, tmp_path / "out" / "bag") == 2
    assert "float64[4, 3], expected float32[N,4]" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_an_existing_bag_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drive = write_drive(tmp_path / "drive", 1)
    assert [make(drive, tmp_path / "bag"), make(drive, tmp_path / "bag")] == [0, 2]
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda drive: (drive / "calibration.json").unlink(), "has no calibration; give --calibration FILE"),
        (lambda drive: [file.unlink() for file in (drive / "image").iterdir()], "has no .jpg, .jpeg, .png files"),
    ],
)
def test_a_folder_that_lacks_something_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prepare: object, reason: str
) -> None:
    drive = write_drive(tmp_path / "drive", 2)
    prepare(drive)  # type: ignore[operator]
    assert make(drive, tmp_path / "bag") == 2
    assert reason in capsys.readouterr().err


def test_info_lists_topics_counts_and_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(11))
    assert cli.main(["bag", "info", str(bag)]) == 0
    out = capsys.readouterr().out
    assert "22 messages in 1.000 s, from 1.000 s" in out
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["/camera/camera_info", "11", "10.00", "Hz", "sensor_msgs/msg/CameraInfo"],
        ["/camera/image_raw", "11", "10.00", "Hz", "sensor_msgs/msg/Image"],
    ]


def test_info_says_where_a_bag_is_cut_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(60), storage="sqlite3")
    cut(bag, 0.7)
    assert cli.main(["bag", "info", str(bag)]) == 1
    assert "damaged: " in capsys.readouterr().out


def test_a_real_drive_round_trips(tmp_path: Path, shared_data: Path) -> None:
    drive = shared_data / "kitti_drive"
    assert make(drive, tmp_path / "bag", "--compressed") == 0
    topics = read_bag(tmp_path / "bag")
    files = sorted((drive / "image").iterdir())
    assert [i.data.tobytes() for i in topics["/camera/image_raw/compressed"]] == [f.read_bytes() for f in files]
    assert len(topics["/lidar/points"]) == len(files) == 78
