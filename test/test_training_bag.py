"""Bags as drives to train on: a made drive past posts whose places are known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drives import (
    HEIGHT,
    T_CAMERA_LIDAR,
    WIDTH,
    K,
    camera_info_message,
    camera_messages,
    header,
    image_message,
    make_image,
    ros_message,
    write_bag,
)

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from recon3d_ros.bags.bag_path import BagError  # noqa: E402
from recon3d_ros.bags.lidar import find_lidar, sweep_of  # noqa: E402
from recon3d_ros.bags.messages import static_tf_message  # noqa: E402
from recon3d_ros.bags.reader import BagReader  # noqa: E402
from recon3d_ros.bags.transforms import read_ego_motion, read_transforms  # noqa: E402
from recon3d_ros.core.calibration import load_calibration  # noqa: E402
from recon3d_ros.core.encodings import EncodingError  # noqa: E402
from recon3d_ros.core.lidar import LidarError  # noqa: E402
from training.datasets.bag import BagFrames, extract_drive  # noqa: E402
from training.datasets.drive import DriveFrames  # noqa: E402
from training.datasets.files import DatasetError  # noqa: E402
from training.datasets.recordings import open_frames  # noqa: E402
from training.extract import main as extract_main  # noqa: E402

SECOND = 1_000_000_000
CAMERA_FRAME = "camera_optical_frame"
# The vehicle's base under the camera; the camera 1.5 m above it, looking forward.
T_BASE_CAMERA = np.array([[0, 0, 1, 0.8], [-1, 0, 0, 0.1], [0, -1, 0, 1.5], [0, 0, 0, 1.0]])
T_LIDAR = np.array(T_CAMERA_LIDAR)
POSTS = np.array([[12.0, 1.0, 1.2], [15.0, -2.0, 2.0], [22.0, 4.0, 1.0], [30.0, -3.0, 0.4]])  # in odom, metres
SPEED, TURN = 10.0, 0.3  # metres and radians a second


def base_pose(seconds: float) -> np.ndarray:
    """Returns T_odom_base of a vehicle that drives along odom's x axis and turns to the left."""
    pose = np.eye(4)
    c, s = math.cos(TURN * seconds), math.sin(TURN * seconds)
    pose[:2, :2] = [[c, -s], [s, c]]
    pose[0, 3] = SPEED * seconds
    return pose


def cloud_message(points: np.ndarray, stamp_ns: int, times_ns: np.ndarray | None = None, **fields: Any) -> Any:
    """Returns a PointCloud2 of x, y, z and, where times are given, t as Ouster writes it (uint32 nanoseconds)."""
    names = [("x", 0, 7), ("y", 4, 7), ("z", 8, 7)] + ([("t", 12, 6)] if times_ns is not None else [])
    rows = np.zeros((len(points), 16), dtype=np.uint8)
    rows[:, :12] = np.ascontiguousarray(points, dtype="<f4").view(np.uint8)
    if times_ns is not None:
        rows[:, 12:] = times_ns.astype("<u4")[:, None].view(np.uint8)
    values = {
        "header": header(stamp_ns, "lidar"),
        "height": 1,
        "width": len(points),
        "fields": [
            ros_message("sensor_msgs/msg/PointField", name=name, offset=offset, datatype=kind, count=1)
            for name, offset, kind in names
        ],
        "is_bigendian": False,
        "point_step": 16,
        "row_step": 16 * len(points),
        "data": rows.reshape(-1),
        "is_dense": True,
    }
    return ros_message("sensor_msgs/msg/PointCloud2", **{**values, **fields})


def odometry_message(seconds: float, stamp_ns: int) -> Any:
    pose, half = base_pose(seconds), TURN * seconds / 2
    zero = ros_message("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
    return ros_message(
        "nav_msgs/msg/Odometry",
        header=header(stamp_ns, "odom"),
        child_frame_id="base_link",
        pose=ros_message(
            "geometry_msgs/msg/PoseWithCovariance",
            pose=ros_message(
                "geometry_msgs/msg/Pose",
                position=ros_message("geometry_msgs/msg/Point", x=float(pose[0, 3]), y=0.0, z=0.0),
                orientation=ros_message(
                    "geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=math.sin(half), w=math.cos(half)
                ),
            ),
            covariance=np.zeros(36),
        ),
        twist=ros_message(
            "geometry_msgs/msg/TwistWithCovariance",
            twist=ros_message("geometry_msgs/msg/Twist", linear=zero, angular=zero),
            covariance=np.zeros(36),
        ),
    )


STATIC = [("base_link", CAMERA_FRAME, T_BASE_CAMERA), (CAMERA_FRAME, "lidar", T_LIDAR)]


def posts_from_lidar(seconds: np.ndarray) -> np.ndarray:
    """Returns each post in the LiDAR's frame at its own time."""
    seen = []
    for post, second in zip(POSTS, seconds, strict=True):
        T_odom_lidar = base_pose(second) @ T_BASE_CAMERA @ T_LIDAR
        seen.append((np.linalg.inv(T_odom_lidar) @ [*post, 1.0])[:3])
    return np.array(seen)


def write_drive_bag(
    path: Path,
    *,
    odometry: str = "odometry",
    with_times: bool = True,
    static: list[Any] | None = None,
    poses: int = 27,
) -> Path:
    """Writes two images at 0.08 and 0.18 s, and sweeps that begin at 0.05 and 0.15 s and last 0.06 s."""
    stamp = lambda seconds: SECOND + round(seconds * SECOND)  # noqa: E731
    messages: list[tuple[str, Any, int]] = []
    if static is None or static:
        messages.append(("/tf_static", static_tf_message(static or STATIC, SECOND), SECOND))
    for begin in (0.05, 0.15):
        times = np.array([0.0, 0.02, 0.04, 0.06]) if with_times else np.zeros(4)
        sweep = cloud_message(
            posts_from_lidar(begin + times), stamp(begin), np.rint(times * SECOND) if with_times else None
        )
        messages.append(("/lidar/points", sweep, stamp(begin + 0.06)))
    for index, seconds in enumerate((0.08, 0.18)):
        message = image_message(make_image(index), stamp(seconds))
        messages.append(("/camera/image_raw", message, stamp(seconds)))
        messages.append(("/camera/camera_info", camera_info_message(stamp(seconds)), stamp(seconds)))
    for step in range(poses):
        seconds = step * 0.01
        if odometry == "odometry":
            messages.append(("/odom", odometry_message(seconds, stamp(seconds)), stamp(seconds)))
        elif odometry == "tf":
            tf = static_tf_message([("odom", "base_link", base_pose(seconds))], stamp(seconds))
            messages.append(("/tf", tf, stamp(seconds)))
    return write_bag(path, sorted(messages, key=lambda message: message[2]))


def posts_in_camera(seconds: float) -> np.ndarray:
    T_camera_odom = np.linalg.inv(base_pose(seconds) @ T_BASE_CAMERA)
    return (T_camera_odom @ np.hstack([POSTS, np.ones((4, 1))]).T).T[:, :3]


@pytest.mark.parametrize("odometry", ["odometry", "tf"])
@pytest.mark.parametrize("with_times", [True, False])
def test_posts_stand_where_the_camera_sees_them_at_the_images_time(
    tmp_path: Path, odometry: str, with_times: bool
) -> None:
    frames = BagFrames(write_drive_bag(tmp_path / "bag", odometry=odometry, with_times=with_times))
    found = list(frames)
    assert not frames.skipped
    assert frames.ego_motion is not None
    assert [frame.stamp_ns for frame in found] == [1_080_000_000, 1_180_000_000]
    for frame, seconds in zip(found, (0.08, 0.18), strict=True):
        # 0.08 s is 0.8 m: without the motion the posts would be off by half a metre. Odometry comes every 10 ms.
        np.testing.assert_allclose(frame.points, posts_in_camera(seconds), atol=2e-3)


def test_without_odometry_the_sweep_stays_as_it_was_measured(tmp_path: Path) -> None:
    frames = BagFrames(write_drive_bag(tmp_path / "bag", odometry="", with_times=False))
    first = next(iter(frames))
    assert frames.ego_motion is None
    np.testing.assert_allclose(first.points, posts_in_camera(0.05), atol=1e-5)


def test_a_frame_that_odometry_does_not_reach_stays_as_measured_and_is_counted(tmp_path: Path) -> None:
    frames = BagFrames(write_drive_bag(tmp_path / "bag", with_times=False, poses=4))  # up to 0.03 s, and 0.1 s on
    first, second = frames
    np.testing.assert_allclose(first.points, posts_in_camera(0.08), atol=2e-3)
    np.testing.assert_allclose(second.points, posts_in_camera(0.15), atol=1e-5)
    assert frames.unmoved == 1


def test_a_bag_becomes_a_drive_folder_with_the_same_pixels_and_returns(tmp_path: Path) -> None:
    frames = BagFrames(write_drive_bag(tmp_path / "bag"))
    assert extract_drive(frames, tmp_path / "drive") == 2
    drive = DriveFrames(tmp_path / "drive")
    np.testing.assert_array_equal(drive[1].image, make_image(1)[..., ::-1])
    expected = posts_in_camera(0.18)
    matrix = np.array(K)
    pixels = (matrix @ (expected / expected[:, 2:]).T).T[:, :2]
    for (u, v), z in zip(np.rint(pixels).astype(int), expected[:, 2], strict=True):
        assert 0 <= u < WIDTH
        assert 0 <= v < HEIGHT
        assert drive[1].depth[v, u] == pytest.approx(z, abs=5e-3)
    with pytest.raises(FileExistsError, match="adapt from that folder, or remove it"):
        extract_drive(frames, tmp_path / "drive")


def test_a_bag_to_train_on_is_written_out_first_by_the_command_that_the_message_names(
    tmp_path: Path, capsys
) -> None:
    bag, folder = write_drive_bag(tmp_path / "bag"), tmp_path / "drive"
    with pytest.raises(DatasetError, match=rf"python -m training\.extract {bag} FOLDER"):
        open_frames(bag)
    extract_main([str(bag), str(folder)])
    assert "2 images with a sweep, moved by the motion of" in capsys.readouterr().out
    assert len(open_frames(folder)) == 2
    with pytest.raises(SystemExit):
        extract_main([str(bag), str(folder)])
    assert "exists already" in capsys.readouterr().err


def test_a_compressed_image_is_kept_as_it_is(tmp_path: Path) -> None:
    content = cv2.imencode(".jpg", make_image(3))[1].reshape(-1)
    image = ros_message("sensor_msgs/msg/CompressedImage", header=header(SECOND), format="jpeg", data=content)
    messages = [
        ("/tf_static", static_tf_message(STATIC, SECOND), SECOND),
        ("/camera/image_raw/compressed", image, SECOND),
        ("/camera/camera_info", camera_info_message(SECOND), SECOND),
        ("/lidar/points", cloud_message(posts_from_lidar(np.zeros(4)), SECOND), SECOND),
    ]
    extract_drive(BagFrames(write_bag(tmp_path / "bag", messages)), tmp_path / "drive")
    assert (tmp_path / "drive" / "image" / "000000.jpg").read_bytes() == content.tobytes()


def test_a_calibration_file_stands_in_for_camera_info_and_tf(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"width": WIDTH, "height": HEIGHT, "K": K, "T_camera_lidar": T_LIDAR.tolist()}))
    messages = [
        ("/camera/image_raw", image_message(make_image(0), SECOND), SECOND),
        ("/lidar/points", cloud_message(posts_from_lidar(np.zeros(4)), SECOND), SECOND),
    ]
    bag = write_bag(tmp_path / "bag", messages)
    with pytest.raises(BagError, match="no CameraInfo for /camera/image_raw"):
        BagFrames(bag)
    [frame] = BagFrames(bag, calibration=load_calibration(path))
    np.testing.assert_allclose(frame.points, posts_in_camera(0.0), atol=1e-5)


def test_a_bag_without_lidar_says_what_it_has(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", camera_messages(2))
    with pytest.raises(BagError, match=r"has no LiDAR, .* its topics are /camera/camera_info \(sensor_msgs"):
        BagFrames(bag)


def test_two_lidars_want_a_choice(tmp_path: Path) -> None:
    cloud = cloud_message(POSTS, SECOND)
    bag = write_bag(tmp_path / "bag", [(name, cloud, SECOND) for name in ("/a", "/b")])
    with BagReader(bag) as reader:
        assert find_lidar(reader, "/b") == "/b"
        with pytest.raises(BagError, match="2 point cloud topics, /a, /b; choose one"):
            find_lidar(reader)
        with pytest.raises(BagError, match="no point clouds on '/c'; they are on /a, /b"):
            find_lidar(reader, "/c")


def test_a_missing_transform_names_both_frames_and_what_there_is(tmp_path: Path) -> None:
    bag = write_drive_bag(tmp_path / "bag", odometry="", static=STATIC[:1])
    with pytest.raises(
        BagError, match=r"no fixed transform between 'lidar' and 'camera_optical_frame'; .* base_link ->"
    ):
        list(BagFrames(bag))


def test_an_inverted_transform_is_noticed(tmp_path: Path) -> None:
    static = [STATIC[0], (CAMERA_FRAME, "lidar", np.linalg.inv(T_LIDAR))]
    with pytest.raises(LidarError, match=r"first sweep: of 4 LiDAR returns .* is inverted"):
        list(BagFrames(write_drive_bag(tmp_path / "bag", odometry="", static=static)))


def test_sweeps_too_far_from_every_image_are_an_error_with_the_gap(tmp_path: Path) -> None:
    sweep = cloud_message(posts_from_lidar(np.zeros(4)), 5 * SECOND)
    messages = [
        ("/tf_static", static_tf_message(STATIC, SECOND), SECOND),
        *camera_messages(2),
        ("/lidar/points", sweep, 2 * SECOND),
    ]
    with pytest.raises(BagError, match=r"no image can be used .* within 0\.06 s; the nearest is 4 s away"):
        list(BagFrames(write_bag(tmp_path / "bag", messages)))


def test_images_after_the_lidar_has_stopped_are_left_out_and_counted(tmp_path: Path) -> None:
    messages = [
        ("/tf_static", static_tf_message(STATIC, SECOND), SECOND),
        ("/lidar/points", cloud_message(posts_from_lidar(np.zeros(4)), SECOND), SECOND),
        *camera_messages(60),  # at 10 Hz, from the sweep on
    ]
    frames = BagFrames(write_bag(tmp_path / "bag", messages))
    assert [frame.stamp_ns for frame in frames] == [SECOND]
    assert sum(frames.skipped.values()) == 59


def test_transforms_chain_through_a_common_parent_and_still_ones_on_tf_count(tmp_path: Path) -> None:
    left, right = np.eye(4), np.eye(4)
    left[:3, 3], right[:3, 3] = (1, 2, 3), (5, 5, 5)
    messages = [("/tf_static", static_tf_message([("base", "left", left)], SECOND), SECOND)]
    for index in range(3):
        stamp = SECOND + index
        messages.append(("/tf", static_tf_message([("/base", "/right", right)], stamp), stamp))
        messages.append(("/tf", static_tf_message([("odom", "base", base_pose(index))], stamp), stamp))
    with BagReader(write_bag(tmp_path / "bag", messages)) as reader:
        transforms = read_transforms(reader)
    np.testing.assert_allclose(transforms.fixed.lookup("left", "right")[:3, 3], (4, 3, 2))
    assert list(transforms.moving) == [("odom", "base")]
    assert not transforms.fixed.connects("left", "odom")


@pytest.mark.parametrize(
    ("kind", "dtype", "values", "expected"),
    [
        (6, "<u4", [0, 50_000_000], [0.0, 0.05]),  # nanoseconds after the stamp
        (7, "<f4", [-0.05, 0.0], [-0.05, 0.0]),  # seconds after the stamp
        (6, "<u4", [0, 4_000_000_000], None),  # no such sweep: another unit
    ],
)
def test_the_times_of_points_are_read_in_their_drivers_units(
    kind: int, dtype: str, values: list[float], expected: list[float] | None
) -> None:
    message = cloud_message(POSTS[:2], SECOND, np.zeros(2))
    message.fields[3].datatype = kind
    message.data.reshape(2, 16)[:, 12:] = np.array(values, dtype=dtype)[:, None].view(np.uint8)
    times = sweep_of(message, stamp_ns=SECOND, frame_id="lidar").times
    assert (times is None) == (expected is None)
    if expected is not None:
        np.testing.assert_allclose(times, expected, atol=1e-6)


def test_the_time_of_a_point_without_a_return_does_not_count() -> None:
    points = np.vstack([POSTS[:1], np.full((1, 3), np.nan), POSTS[1:2]])
    message = cloud_message(points, SECOND, np.array([10_000_000, 4_000_000_000, 30_000_000]))
    times = sweep_of(message, stamp_ns=SECOND, frame_id="lidar").times
    np.testing.assert_allclose(times, [0.01, 0.03])


@pytest.mark.parametrize(("unit_s", "stamp_s"), [(1.0, 1.7e9), (1e-9, 1.7e9)])
def test_times_since_1970_are_told_from_times_after_the_stamp(unit_s: float, stamp_s: float) -> None:
    message = cloud_message(POSTS, SECOND)
    rows = np.zeros((len(POSTS), 24), dtype=np.uint8)
    rows[:, :12] = message.data.reshape(-1, 16)[:, :12]
    rows[:, 16:] = ((stamp_s + np.array([0.0, 0.03, 0.06, 0.09])) / unit_s).astype("<f8")[:, None].view(np.uint8)
    message.fields.append(
        ros_message("sensor_msgs/msg/PointField", name="timestamp", offset=16, datatype=8, count=1)
    )
    message.data, message.point_step, message.row_step = rows.reshape(-1), 24, 24 * len(POSTS)
    times = sweep_of(message, stamp_ns=round(stamp_s * SECOND), frame_id="lidar").times
    np.testing.assert_allclose(times, [0.0, 0.03, 0.06, 0.09], atol=1e-6)


def test_odometry_that_never_set_its_rotation_is_named(tmp_path: Path) -> None:
    messages = [("/tf_static", static_tf_message(STATIC, SECOND), SECOND)]
    for index in range(2):
        odometry = odometry_message(0.0, SECOND + index)
        odometry.pose.pose.orientation.w = 0.0
        messages.append(("/odom", odometry, SECOND + index))
    with (
        BagReader(write_bag(tmp_path / "bag", messages)) as reader,
        pytest.raises(
            BagError, match=r"/odom: a rotation is \[0\.0, 0\.0, 0\.0, 0\.0\], expected a unit quaternion"
        ),
    ):
        read_ego_motion(reader, read_transforms(reader), "lidar")


def test_a_cloud_without_coordinates_or_bytes_is_refused_and_nan_returns_dropped() -> None:
    with pytest.raises(EncodingError, match=r"has the fields \['x', 'y'\], expected x, y and z"):
        message = cloud_message(POSTS, SECOND)
        message.fields.pop()
        sweep_of(message, stamp_ns=SECOND, frame_id="lidar")
    with pytest.raises(EncodingError, match="cut off: 10 bytes"):
        sweep_of(cloud_message(POSTS, SECOND, data=np.zeros(10, np.uint8)), stamp_ns=SECOND, frame_id="lidar")
    points = np.vstack([POSTS, np.full((2, 3), np.nan), np.zeros((1, 3))])
    assert len(sweep_of(cloud_message(points, SECOND), stamp_ns=SECOND, frame_id="lidar").points) == len(POSTS)
