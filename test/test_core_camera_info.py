"""CameraInfo to CameraModel: region of interest, binning, rectified images, and calibrations that are none."""

from __future__ import annotations

import array
from types import SimpleNamespace

import numpy as np
import pytest

from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.camera_info import camera_from_info, check_image_size
from recon3d_ros.core.preprocess import RawImage

K = [500.0, 0.0, 300.5, 0.0, 480.0, 190.25, 0.0, 0.0, 1.0]
P = [400.0, 0.0, 310.0, -48.0, 0.0, 410.0, 185.0, 0.0, 0.0, 0.0, 1.0, 0.0]
D = [-0.28, 0.07, 0.001, -0.002, 0.01]


def roi(x_offset: int = 0, y_offset: int = 0, width: int = 0, height: int = 0) -> SimpleNamespace:
    return SimpleNamespace(x_offset=x_offset, y_offset=y_offset, width=width, height=height, do_rectify=False)


def camera_info(**changes: object) -> SimpleNamespace:
    """Returns an object with the fields of sensor_msgs/CameraInfo, in the types that rclpy gives them."""
    fields = {
        "width": 640,
        "height": 360,
        "distortion_model": "plumb_bob",
        "d": array.array("d", D),
        "k": np.array(K),
        "r": np.eye(3).reshape(-1),
        "p": np.array(P),
        "binning_x": 0,
        "binning_y": 0,
        "roi": roi(),
    }
    return SimpleNamespace(**{**fields, **changes})


def test_a_raw_image_has_k_and_d() -> None:
    expected = CameraModel(640, 360, 500.0, 480.0, 300.5, 190.25, "plumb_bob", tuple(D))
    assert camera_from_info(camera_info()) == expected


def test_a_rectified_image_has_p_and_no_distortion() -> None:
    assert camera_from_info(camera_info(), rectified=True) == CameraModel(640, 360, 400.0, 410.0, 310.0, 185.0)


@pytest.mark.parametrize(
    ("name", "coefficients"), [("", []), ("plumb_bob", [0.0] * 5), ("equidistant", [0.0] * 4)]
)
def test_zero_coefficients_are_no_distortion(name: str, coefficients: list[float]) -> None:
    info = camera_info(distortion_model=name, d=coefficients)
    assert camera_from_info(info) == CameraModel(640, 360, 500.0, 480.0, 300.5, 190.25)


def test_fisheye_is_another_name_for_equidistant() -> None:
    camera = camera_from_info(camera_info(distortion_model="fisheye", d=[0.1, 0.2, 0.3, 0.4]))
    assert (camera.distortion_model, camera.distortion) == ("equidistant", (0.1, 0.2, 0.3, 0.4))


def test_a_region_of_interest_moves_the_principal_point() -> None:
    camera = camera_from_info(camera_info(roi=roi(100, 50, 320, 240)))
    assert (camera.width, camera.height, camera.fx, camera.fy) == (320, 240, 500.0, 480.0)
    assert (camera.cx, camera.cy) == (200.5, 140.25)


def test_a_region_of_interest_may_lie_far_from_the_principal_point() -> None:
    camera = camera_from_info(camera_info(roi=roi(0, 280, 100, 80)))
    assert (camera.cx, camera.cy) == (300.5, -89.75)


def test_binning_scales_as_averaging_pixels_does() -> None:
    camera = camera_from_info(camera_info(binning_x=2, binning_y=4))
    assert (camera.width, camera.height, camera.fx, camera.fy) == (320, 90, 250.0, 120.0)
    # A binned pixel 0 lies between raw pixels 0 and 1, or 0 to 3: its centre is raw 0.5, or 1.5.
    assert (camera.cx, camera.cy) == ((300.5 - 0.5) / 2, (190.25 - 1.5) / 4)


def test_the_region_of_interest_comes_before_the_binning() -> None:
    camera = camera_from_info(camera_info(roi=roi(100, 50, 321, 240), binning_x=2, binning_y=2))
    assert (camera.width, camera.height, camera.fx) == (160, 120, 250.0)
    assert (camera.cx, camera.cy) == ((200.5 - 0.5) / 2, (140.25 - 0.5) / 2)


def test_a_rectified_image_is_cropped_and_binned_too() -> None:
    camera = camera_from_info(camera_info(roi=roi(10, 20, 600, 300), binning_x=2, binning_y=2), rectified=True)
    assert (camera.width, camera.height, camera.fx, camera.cx) == (300, 150, 200.0, (300.0 - 0.5) / 2)


def test_without_p_a_rectified_image_has_k_if_its_lens_is_straight() -> None:
    info = camera_info(p=np.zeros(12), d=[0.0] * 5)
    assert camera_from_info(info, rectified=True) == CameraModel(640, 360, 500.0, 480.0, 300.5, 190.25)


@pytest.mark.parametrize(
    ("changes", "rectified", "message"),
    [
        (
            {"width": 0, "height": 0},
            False,
            "CameraInfo is of a 0x0 image; the camera's driver does not fill it in",
        ),
        ({"k": np.zeros(9)}, False, "fx=0.0, fy=0.0, expected positive pixels; the camera is not calibrated"),
        ({"p": np.zeros(12)}, True, "P is all zero.*calibrate the camera, or use the raw image"),
        ({"p": np.zeros(9)}, True, "P has 9 numbers, expected 12"),
        ({"d": [0.1] * 3}, False, "plumb_bob has 3 coefficients, expected 4 or 5"),
        ({"distortion_model": "mystery"}, False, "distortion model is 'mystery', expected one of none, plumb_bob"),
        ({"roi": roi(400, 0, 300, 100)}, False, r"region of interest 300x100 at \(400, 0\) does not fit"),
        ({"binning_x": 1000}, False, "image size is 0x360"),
    ],
)
def test_a_message_without_a_usable_calibration_is_refused(changes: dict, rectified: bool, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        camera_from_info(camera_info(**changes), rectified=rectified)


def test_an_image_of_another_size_than_its_camera_is_refused() -> None:
    camera = camera_from_info(camera_info())
    check_image_size(camera, RawImage(np.zeros((360, 640, 3), np.uint8), "rgb"))
    with pytest.raises(CameraError, match="image is 320x180, its CameraInfo 640x360; usual causes"):
        check_image_size(camera, RawImage(np.zeros((180, 320, 3), np.uint8), "rgb"))


def test_rosbags_messages_are_read_too() -> None:
    ros = pytest.importorskip("rosbags.typesys.stores.ros2_jazzy", reason="rosbags is not installed")
    time = ros.builtin_interfaces__msg__Time(sec=0, nanosec=0)
    info = ros.sensor_msgs__msg__CameraInfo(
        header=ros.std_msgs__msg__Header(stamp=time, frame_id="camera"),
        height=360,
        width=640,
        distortion_model="plumb_bob",
        d=np.array(D),
        k=np.array(K),
        r=np.eye(3).reshape(-1),
        p=np.array(P),
        binning_x=2,
        binning_y=2,
        roi=ros.sensor_msgs__msg__RegionOfInterest(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )
    assert camera_from_info(info) == camera_from_info(camera_info(binning_x=2, binning_y=2))
