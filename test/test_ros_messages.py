"""Messages to numpy and back: through real serialisation, and in agreement with cv_bridge and sensor_msgs_py."""

from __future__ import annotations

import array
import importlib.util

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.camera_info import camera_from_info
from recon3d_ros.core.encodings import ENCODINGS, EncodingError
from recon3d_ros.core.preprocess import RawImage, Rectifier
from recon3d_ros.ros import messages

HEIGHT, WIDTH = 12, 20
HEADER = Header(stamp=Time(sec=12, nanosec=345), frame_id="front_optical_frame")


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


needs_cv_bridge = pytest.mark.skipif(not installed("cv_bridge"), reason="cv_bridge is not installed")
needs_sensor_msgs_py = pytest.mark.skipif(
    not installed("sensor_msgs_py"), reason="sensor_msgs_py is not installed"
)


def sent(message: object) -> object:
    """Returns the message as a subscriber gets it."""
    return deserialize_message(serialize_message(message), type(message))


def random_image(*channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, *channels), dtype=np.uint8)


def random_points(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(*shape, 3)).astype(np.float32)


def raw_message(encoding: str, padding: int = 0, is_bigendian: bool = False) -> Image:
    """Returns a message of random bytes that is right in size."""
    known = ENCODINGS[encoding]
    rows, row_bytes = HEIGHT * known.rows_per_2 // 2, WIDTH * known.pixel_bytes
    data = np.random.default_rng(2).integers(0, 256, (rows, row_bytes + padding), dtype=np.uint8)
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=row_bytes + padding)
    message.is_bigendian = int(is_bigendian)
    message.data = array.array("B", data.tobytes())
    return message


def rgb_of(image: RawImage) -> np.ndarray:
    camera = CameraModel(WIDTH, HEIGHT, 30.0, 30.0, 8.0, 7.0)
    return Rectifier(camera, width=WIDTH, height=HEIGHT)(image)


def test_an_image_survives_the_wire_with_its_header() -> None:
    image = random_image(3)
    message = sent(messages.image_to_msg(image, HEADER))
    assert message.header == HEADER
    assert (message.height, message.width, message.encoding, message.step) == (HEIGHT, WIDTH, "rgb8", WIDTH * 3)
    received = messages.image_from_msg(message)
    assert received.channels == "rgb"
    np.testing.assert_array_equal(received.data, image)


def test_a_part_of_a_larger_image_becomes_a_message_too() -> None:
    image = random_image(3)[2:9, 5:16]
    np.testing.assert_array_equal(messages.image_from_msg(messages.image_to_msg(image, HEADER)).data, image)


def test_an_image_is_read_without_a_copy() -> None:
    message = sent(messages.image_to_msg(random_image(3), HEADER))
    assert np.shares_memory(messages.image_from_msg(message).data, np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_is_read_from_a_message(encoding: str) -> None:
    plain, padded = raw_message(encoding), raw_message(encoding)
    step = plain.step
    rows = np.frombuffer(plain.data, np.uint8).reshape(-1, step)
    padded.data = array.array("B", np.pad(rows, ((0, 0), (0, 5)), constant_values=238).tobytes())
    padded.step = step + 5
    first, second = (messages.image_from_msg(sent(message)) for message in (plain, padded))
    assert (first.height, first.width, first.channels) == (HEIGHT, WIDTH, second.channels)
    np.testing.assert_array_equal(first.data, second.data)


def test_the_byte_order_of_the_message_counts() -> None:
    little, big = (messages.image_from_msg(raw_message("mono16", is_bigendian=order)) for order in (False, True))
    data = np.frombuffer(raw_message("mono16").data, np.uint8).reshape(HEIGHT, WIDTH, 2)
    np.testing.assert_array_equal(little.data, data[..., 1])
    np.testing.assert_array_equal(big.data, data[..., 0])


def test_a_message_of_unknown_encoding_is_refused_with_the_known_ones() -> None:
    message = raw_message("rgb8")
    message.encoding = "mystery"
    with pytest.raises(EncodingError, match="'mystery'"):
        messages.image_from_msg(message)


def test_a_message_that_was_never_filled_is_refused() -> None:
    with pytest.raises(EncodingError):
        messages.image_from_msg(Image())
    with pytest.raises(EncodingError, match="compressed image has no bytes"):
        messages.image_from_compressed_msg(CompressedImage())


def test_a_compressed_image_is_read() -> None:
    image = random_image(3)
    message = CompressedImage(header=HEADER, format="rgb8; png compressed bgr8")
    message.data = array.array("B", cv2.imencode(".png", image)[1].tobytes())
    received = messages.image_from_compressed_msg(sent(message))
    assert received.channels == "bgr"
    np.testing.assert_array_equal(received.data, image)


@pytest.mark.parametrize(("encoding", "tolerance"), [("32FC1", 0.0), ("16UC1", 0.00051)])
def test_depth_survives_the_wire(encoding: str, tolerance: float) -> None:
    depth = np.random.default_rng(3).uniform(0.5, 60, (HEIGHT, WIDTH)).astype(np.float32)
    depth[1, 2] = np.nan
    message = sent(messages.depth_to_msg(depth, HEADER, encoding))
    assert (message.height, message.width, message.encoding, message.header) == (HEIGHT, WIDTH, encoding, HEADER)
    assert message.step == WIDTH * (4 if encoding == "32FC1" else 2)
    np.testing.assert_allclose(messages.depth_from_msg(message), depth, atol=tolerance)


def test_infinity_stays_in_32fc1_and_is_zero_in_16uc1() -> None:
    depth = np.full((HEIGHT, WIDTH), np.inf, dtype=np.float32)
    assert np.isposinf(messages.depth_from_msg(messages.depth_to_msg(depth, HEADER, "32FC1"))).all()
    assert not any(messages.depth_to_msg(depth, HEADER, "16UC1").data)


@pytest.mark.parametrize(
    ("model", "distortion"),
    [("none", ()), ("plumb_bob", (-0.28, 0.07, 0.001, -0.002, 0.01)), ("equidistant", (0.1, 0.02, 0.003, 0.0004))],
)
def test_a_camera_survives_the_wire_exactly(model: str, distortion: tuple[float, ...]) -> None:
    camera = CameraModel(640, 360, 500.123456789, 480.5, 300.25, 190.125, model, distortion)
    message = sent(messages.camera_to_msg(camera, HEADER))
    assert message.header == HEADER
    assert camera_from_info(message) == camera
    assert camera_from_info(message, rectified=True) == camera.undistorted()


def test_the_camera_info_of_a_rectified_image_is_that_of_image_proc() -> None:
    message = messages.camera_to_msg(CameraModel(640, 360, 500.0, 480.0, 300.25, 190.125), HEADER)
    assert (message.width, message.height, message.distortion_model) == (640, 360, "plumb_bob")
    assert list(message.d) == [0.0] * 5
    assert list(message.k) == [500.0, 0.0, 300.25, 0.0, 480.0, 190.125, 0.0, 0.0, 1.0]
    assert list(message.r) == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    assert list(message.p) == [500.0, 0.0, 300.25, 0.0, 0.0, 480.0, 190.125, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_a_camera_info_that_was_never_filled_is_refused() -> None:
    with pytest.raises(ValueError, match="the camera's driver does not fill it in"):
        camera_from_info(CameraInfo())


@pytest.mark.parametrize("with_color", [False, True])
@pytest.mark.parametrize("shape", [(30,), (HEIGHT, WIDTH)])
def test_points_survive_the_wire(shape: tuple[int, ...], with_color: bool) -> None:
    points = random_points(*shape)
    is_organised = len(shape) == 2
    if is_organised:
        points[3, 4] = np.nan
    colors = np.random.default_rng(4).integers(0, 256, points.shape, dtype=np.uint8) if with_color else None
    message = sent(messages.points_to_msg(points, HEADER, colors))
    assert message.header == HEADER
    assert (message.height, message.width) == (shape if is_organised else (1, *shape))
    assert message.is_dense is not is_organised
    assert message.point_step == (32 if with_color else 16)
    assert message.row_step == message.width * message.point_step
    assert len(message.data) == message.height * message.row_step
    offsets = {field.name: field.offset for field in message.fields}
    assert offsets == {"x": 0, "y": 4, "z": 8, **({"rgb": 16} if with_color else {})}
    assert {field.datatype for field in message.fields} == {PointField.FLOAT32}
    np.testing.assert_array_equal(messages.points_from_msg(message), points.reshape(-1, 3))


def test_a_cloud_without_points_is_a_message_too() -> None:
    message = sent(messages.points_to_msg(np.empty((0, 3), np.float32), HEADER))
    assert (message.height, message.width, len(message.data)) == (1, 0, 0)
    assert messages.points_from_msg(message).shape == (0, 3)


def lidar_message(datatype: int, dtype: str, is_bigendian: bool = False) -> tuple[PointCloud2, np.ndarray]:
    """Returns a 2 x 5 cloud with intensity before x, y, z and padding after each row, and its points."""
    points = np.random.default_rng(5).integers(-100, 100, (2, 5, 3)).astype(np.float32)
    order = ">" if is_bigendian else "<"
    layout = np.dtype({"names": ["i", "x", "y", "z"], "formats": ["<f4", *[order + dtype] * 3],
                       "offsets": [0, 4, 14, 24], "itemsize": 36})  # fmt: skip
    cloud = np.zeros((2, 5), layout)
    for axis, name in enumerate("xyz"):
        cloud[name] = points[..., axis]
    rows = np.pad(cloud.view(np.uint8).reshape(2, -1), ((0, 0), (0, 12)))
    names = {"intensity": 0, "x": 4, "y": 14, "z": 24}
    message = PointCloud2(height=2, width=5, point_step=36, row_step=192, is_bigendian=is_bigendian)
    message.fields = [
        PointField(
            name=name, offset=offset, datatype=PointField.FLOAT32 if name == "intensity" else datatype, count=1
        )
        for name, offset in names.items()
    ]
    message.data = array.array("B", rows.tobytes())
    return message, points.reshape(-1, 3)


@pytest.mark.parametrize("is_bigendian", [False, True])
@pytest.mark.parametrize(("datatype", "dtype"), [(PointField.FLOAT32, "f4"), (PointField.FLOAT64, "f8")])
def test_a_lidars_own_layout_is_read(datatype: int, dtype: str, is_bigendian: bool) -> None:
    message, points = lidar_message(datatype, dtype, is_bigendian)
    np.testing.assert_array_equal(messages.points_from_msg(sent(message)), points)


def test_a_cloud_without_coordinates_is_refused() -> None:
    message = PointCloud2(height=1, width=1, point_step=4, row_step=4)
    message.fields = [PointField(name="range", offset=0, datatype=PointField.FLOAT32, count=1)]
    message.data = array.array("B", bytes(4))
    with pytest.raises(EncodingError, match=r"cloud has the fields \['range'\], expected x, y and z"):
        messages.points_from_msg(message)


def test_a_cut_off_cloud_is_refused() -> None:
    message, _ = lidar_message(PointField.FLOAT32, "f4")
    message.data = message.data[:-1]
    with pytest.raises(EncodingError, match=r"cloud of 5x2 points is cut off: 383 bytes, expected 384"):
        messages.points_from_msg(message)


@pytest.mark.skipif(installed("sensor_msgs_py"), reason="sensor_msgs_py is installed and reads them")
def test_integer_coordinates_need_sensor_msgs_py() -> None:
    message, _ = lidar_message(PointField.INT16, "i2")
    with pytest.raises(EncodingError, match="needs sensor_msgs_py, which is not installed"):
        messages.points_from_msg(message)


@needs_sensor_msgs_py
def test_integer_coordinates_are_read_through_sensor_msgs_py() -> None:
    points = np.random.default_rng(6).integers(-100, 100, (7, 3)).astype(np.int16)
    message = PointCloud2(height=1, width=7, point_step=6, row_step=42)
    message.fields = [
        PointField(name=name, offset=2 * axis, datatype=PointField.INT16, count=1)
        for axis, name in enumerate("xyz")
    ]
    message.data = array.array("B", points.tobytes())
    received = messages.points_from_msg(message)
    assert received.dtype == np.float32
    np.testing.assert_array_equal(received, points)
    message.data = message.data[:-1]
    with pytest.raises(EncodingError, match="sensor_msgs_py refuses the cloud"):
        messages.points_from_msg(message)


@needs_sensor_msgs_py
@pytest.mark.parametrize("is_bigendian", [False, True])
def test_layouts_that_sensor_msgs_py_reads_wrongly_are_refused(is_bigendian: bool) -> None:
    message, _ = lidar_message(PointField.INT16, "i2", is_bigendian)
    with pytest.raises(EncodingError, match="is big-endian or has padded rows"):
        messages.points_from_msg(message)


@needs_sensor_msgs_py
@pytest.mark.parametrize("shape", [(30,), (HEIGHT, WIDTH)])
def test_sensor_msgs_py_reads_the_points_that_we_write(shape: tuple[int, ...]) -> None:
    from sensor_msgs_py import point_cloud2

    points = random_points(*shape)
    colors = np.random.default_rng(7).integers(0, 256, points.shape, dtype=np.uint8)
    message = sent(messages.points_to_msg(points, HEADER, colors))
    cloud = point_cloud2.read_points(message)
    np.testing.assert_array_equal(np.stack([cloud[name] for name in "xyz"], axis=-1), points.reshape(-1, 3))
    packed = cloud["rgb"].view(np.uint32)
    rgb = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1)
    np.testing.assert_array_equal(rgb, colors.reshape(-1, 3))


@needs_sensor_msgs_py
def test_we_read_the_points_that_sensor_msgs_py_writes() -> None:
    from sensor_msgs_py import point_cloud2

    points = random_points(30)
    message = sent(point_cloud2.create_cloud_xyz32(HEADER, points))
    np.testing.assert_array_equal(messages.points_from_msg(message), points)


def cv_bridge_or_skip() -> object:
    from cv_bridge import CvBridge

    try:
        CvBridge().imgmsg_to_cv2(raw_message("bgr8"), "rgb8")
    except ImportError as error:
        pytest.skip(f"cv_bridge's C++ part is not installed ({error})")
    return CvBridge()


@needs_cv_bridge
@pytest.mark.parametrize(
    "encoding",
    ["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "mono16", "yuv422", "yuv422_yuy2", "bayer_rggb8", "bayer_bggr8",
     "bayer_gbrg8", "bayer_grbg8"],
)  # fmt: skip
def test_cv_bridge_reads_the_same_image(encoding: str) -> None:
    message = raw_message(encoding)
    theirs = cv_bridge_or_skip().imgmsg_to_cv2(message, "rgb8")
    # cv_bridge rounds 16 bits to 8 where we keep the high byte; OpenCV 4 and 5 differ by one in YUV.
    tolerance = 1 if encoding.startswith(("mono16", "yuv")) else 0
    np.testing.assert_allclose(rgb_of(messages.image_from_msg(message)), theirs.astype(int), atol=tolerance)


@needs_cv_bridge
@pytest.mark.parametrize("encoding", ["rgb16", "bgr16", "rgba16", "bgra16", "bayer_rggb16"])
def test_an_encoding_that_only_cv_bridge_knows_is_read_through_it(encoding: str) -> None:
    cv_bridge_or_skip()
    channels = 1 if encoding.startswith("bayer") else len(encoding) - 2
    values = np.full((HEIGHT, WIDTH, channels), 200 * 256, dtype="<u2")
    if channels > 1:
        values[..., encoding.index("r")] = 50 * 256
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=WIDTH * channels * 2)
    message.data = array.array("B", values.tobytes())
    rgb = rgb_of(messages.image_from_msg(message))
    np.testing.assert_allclose(rgb, np.broadcast_to([200 if channels == 1 else 50, 200, 200], rgb.shape), atol=1)


@needs_cv_bridge
@pytest.mark.parametrize(
    ("encoding", "step", "message"),
    [
        ("mystery", WIDTH * 3, "cv_bridge refuses the image, encoding 'mystery': "),
        ("rgb16", WIDTH * 6, "cv_bridge refuses the image, encoding 'rgb16': "),  # cut off
        ("rgb16", WIDTH * 3, "rgb16 image of 20x12 has a step of 60 bytes, enough for 10 pixels only"),
    ],
)
def test_what_cv_bridge_cannot_read_is_refused(encoding: str, step: int, message: str) -> None:
    cv_bridge_or_skip()
    image = raw_message("rgb8")
    image.encoding, image.step = encoding, step
    with pytest.raises(EncodingError, match=message):
        messages.image_from_msg(image)


@needs_cv_bridge
@pytest.mark.parametrize("encoding", ["32FC1", "16UC1"])
def test_cv_bridge_reads_the_depth_that_we_write(encoding: str) -> None:
    bridge = cv_bridge_or_skip()
    depth = np.random.default_rng(8).uniform(0.5, 60, (HEIGHT, WIDTH)).astype(np.float32)
    theirs = bridge.imgmsg_to_cv2(sent(messages.depth_to_msg(depth, HEADER, encoding)))
    expected = depth if encoding == "32FC1" else np.rint(depth * 1000)
    np.testing.assert_array_equal(theirs, expected)
    message = bridge.cv2_to_imgmsg(theirs, encoding)
    np.testing.assert_allclose(messages.depth_from_msg(message), depth, atol=0.00051)


@needs_cv_bridge
def test_we_read_the_images_that_cv_bridge_writes() -> None:
    from cv_bridge import CvBridge

    image = random_image(3)
    plain = messages.image_from_msg(CvBridge().cv2_to_imgmsg(image))  # encoding 8UC3: needs no C++ part
    assert plain.channels == "bgr"
    np.testing.assert_array_equal(plain.data, image)
    compressed = CvBridge().cv2_to_compressed_imgmsg(image, "png")
    np.testing.assert_array_equal(messages.image_from_compressed_msg(compressed).data, image)
