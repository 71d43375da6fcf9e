"""Bytes of images and clouds: each encoding against pixels made by hand, and each error's message."""

from __future__ import annotations

import struct
import zlib
from array import array

import cv2
import numpy as np
import pytest

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.encodings import (
    MAX_PIXELS,
    EncodingError,
    decode_compressed,
    decode_depth,
    decode_image,
    encode_depth,
    pack_points,
    unpack_points,
)
from recon3d_ros.core.preprocess import RawImage, Rectifier

HEIGHT, WIDTH = 6, 10
PADDING = 7
DIRECT = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1, "8UC3": 3, "8UC4": 4}


def padded(rows: np.ndarray, padding: int = PADDING) -> tuple[bytes, int]:
    """Returns the bytes of uint8 rows, each followed by 0xEE bytes of padding, and the step."""
    height = rows.shape[0]
    flat = rows.reshape(height, -1)
    filler = np.full((height, padding), 0xEE, dtype=np.uint8)
    return np.hstack([flat, filler]).tobytes(), flat.shape[1] + padding


def random_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("encoding", DIRECT)
@pytest.mark.parametrize("padding", [0, PADDING])
def test_direct_encodings_give_back_the_very_pixels(encoding: str, padding: int) -> None:
    pixels = random_pixels(HEIGHT, WIDTH, DIRECT[encoding])
    data, step = padded(pixels, padding)
    image = decode_image(data, encoding=encoding, height=HEIGHT, width=WIDTH, step=step)
    np.testing.assert_array_equal(image.data.reshape(pixels.shape), pixels)
    assert image.data.shape == ((HEIGHT, WIDTH) if DIRECT[encoding] == 1 else pixels.shape)


@pytest.mark.parametrize(
    ("encoding", "channels"),
    [("rgb8", "rgb"), ("bgr8", "bgr"), ("rgba8", "rgba"), ("bgra8", "bgra"), ("mono8", "mono"), ("8UC1", "mono"),
     ("8UC3", "bgr"), ("8UC4", "bgra")],
)  # fmt: skip
def test_channel_order_follows_the_encodings_name(encoding: str, channels: str) -> None:
    data = bytes(HEIGHT * WIDTH * DIRECT[encoding])
    step = WIDTH * DIRECT[encoding]
    assert decode_image(data, encoding=encoding, height=HEIGHT, width=WIDTH, step=step).channels == channels


@pytest.mark.parametrize("container", [bytes, bytearray, memoryview, lambda b: array("B", b), np.frombuffer])
def test_every_kind_of_buffer_is_read_without_a_copy(container: type) -> None:
    pixels = random_pixels(HEIGHT, WIDTH, 3)
    content, step = padded(pixels)
    data = np.frombuffer(content, np.uint8) if container is np.frombuffer else container(content)
    image = decode_image(data, encoding="bgr8", height=HEIGHT, width=WIDTH, step=step)
    np.testing.assert_array_equal(image.data, pixels)
    assert np.shares_memory(image.data, np.frombuffer(data, np.uint8))


def test_a_read_only_padded_view_can_be_rectified() -> None:
    pixels = random_pixels(HEIGHT, WIDTH, 3)
    data, step = padded(pixels)
    image = decode_image(data, encoding="rgb8", height=HEIGHT, width=WIDTH, step=step)
    assert not image.data.flags.writeable
    rectifier = Rectifier(CameraModel(WIDTH, HEIGHT, 20.0, 20.0, 4.0, 2.0), width=WIDTH, height=HEIGHT)
    np.testing.assert_array_equal(rectifier(image), pixels)


@pytest.mark.parametrize("is_bigendian", [False, True])
def test_mono16_keeps_the_high_byte_of_either_byte_order(is_bigendian: bool) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
    rows = values.astype(">u2" if is_bigendian else "<u2").view(np.uint8).reshape(HEIGHT, -1)
    data, step = padded(rows)
    image = decode_image(data, encoding="mono16", height=HEIGHT, width=WIDTH, step=step, is_bigendian=is_bigendian)
    assert image.channels == "mono"
    np.testing.assert_array_equal(image.data, values // 256)


def bt601(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Returns the RGB of studio-range YUV (ITU-R BT.601)."""
    luma = 1.164 * (y.astype(float) - 16)
    cb, cr = u.astype(float) - 128, v.astype(float) - 128
    rgb = np.stack([luma + 1.596 * cr, luma - 0.392 * cb - 0.813 * cr, luma + 2.017 * cb], axis=-1)
    return np.clip(np.rint(rgb), 0, 255)


def yuv_planes(chroma_height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = rng.integers(30, 220, (HEIGHT, WIDTH), dtype=np.uint8)
    u = rng.integers(60, 190, (HEIGHT // chroma_height, WIDTH // 2), dtype=np.uint8)
    v = rng.integers(60, 190, (HEIGHT // chroma_height, WIDTH // 2), dtype=np.uint8)
    return y, u, v


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
@pytest.mark.parametrize("padding", [0, PADDING])
def test_packed_yuv_becomes_the_rgb_of_bt601(encoding: str, padding: int) -> None:
    y, u, v = yuv_planes(1)
    first, second = y[:, 0::2], y[:, 1::2]
    order = [u, first, v, second] if encoding in ("yuv422", "uyvy") else [first, u, second, v]
    data, step = padded(np.stack(order, axis=-1), padding)
    image = decode_image(data, encoding=encoding, height=HEIGHT, width=WIDTH, step=step)
    assert image.channels == "rgb"
    expected = bt601(y, u.repeat(2, axis=1), v.repeat(2, axis=1))
    np.testing.assert_allclose(image.data, expected, atol=2)


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
@pytest.mark.parametrize("padding", [0, PADDING])
def test_planar_yuv_becomes_the_rgb_of_bt601(encoding: str, padding: int) -> None:
    y, u, v = yuv_planes(2)
    chroma = np.stack([u, v] if encoding == "nv12" else [v, u], axis=-1).reshape(HEIGHT // 2, WIDTH)
    data, step = padded(np.vstack([y, chroma]), padding)
    image = decode_image(data, encoding=encoding, height=HEIGHT, width=WIDTH, step=step)
    assert image.channels == "rgb"
    full = [plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (u, v)]
    np.testing.assert_allclose(image.data, bt601(y, *full), atol=2)


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """Returns what a sensor with that colour filter over its top-left 2x2 pixels sees."""
    raw = np.empty(rgb.shape[:2], dtype=np.uint8)
    for index, letter in enumerate(pattern):
        row, column = divmod(index, 2)
        raw[row::2, column::2] = rgb[row::2, column::2, "rgb".index(letter)]
    return raw


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("padding", [0, PADDING])
def test_each_bayer_pattern_gives_back_the_colour_that_made_it(pattern: str, padding: int) -> None:
    colour = np.array([200, 100, 50], dtype=np.uint8)
    data, step = padded(mosaic(np.broadcast_to(colour, (HEIGHT, WIDTH, 3)), pattern), padding)
    image = decode_image(data, encoding=f"bayer_{pattern}8", height=HEIGHT, width=WIDTH, step=step)
    assert image.channels == "rgb"
    np.testing.assert_array_equal(image.data, np.broadcast_to(colour, (HEIGHT, WIDTH, 3)))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_bayer_ramp_is_interpolated_in_place(pattern: str) -> None:
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rgb = np.stack([20 + 8 * u, 30 + 4 * u + 6 * v, 200 - 9 * u], axis=-1).astype(np.uint8)
    raw = mosaic(rgb, pattern)
    image = decode_image(raw.tobytes(), encoding=f"bayer_{pattern}8", height=HEIGHT, width=WIDTH, step=WIDTH)
    np.testing.assert_allclose(image.data[1:-1, 1:-1], rgb[1:-1, 1:-1].astype(int), atol=1)


def decode(**changes: object) -> RawImage:
    arguments = {"encoding": "rgb8", "height": HEIGHT, "width": WIDTH, "step": WIDTH * 3, **changes}
    data = arguments.pop("data", bytes(HEIGHT * WIDTH * 3))
    return decode_image(data, **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoding": "rgb10"}, "encoding is 'rgb10', expected one of rgb8, bgr8, .*nv12.*bayer_grbg8"),
        ({"encoding": "16UC1"}, "encoding is '16UC1', expected one of"),
        ({"height": 0}, "image is 10x0, expected at least 1x1"),
        ({"width": 0}, "image is 0x6, expected at least 1x1"),
        ({"step": 29}, "rgb8 image of 10x6 has a step of 29 bytes, expected at least 30"),
        ({"data": bytes(179)}, r"rgb8 image of 10x6 is cut off: 179 bytes, expected 180 \(6 rows of 30\)"),
        ({"data": b""}, "is cut off: 0 bytes, expected 180"),
        ({"encoding": "yuv422", "width": 9}, "yuv422 image is 9x6, expected a multiple of 2x1 pixels"),
        ({"encoding": "nv12", "width": 9}, "nv12 image is 9x6, expected a multiple of 2x2 pixels"),
        ({"encoding": "nv12", "height": 5}, "nv12 image is 10x5, expected a multiple of 2x2 pixels"),
        ({"encoding": "nv12", "data": bytes(90 * 3 - 1), "step": 30}, r"expected 270 \(9 rows of 30\)"),
        ({"height": 2**20, "width": 2**20}, f"more than {MAX_PIXELS} pixels; the message is damaged"),
    ],
)
def test_a_malformed_image_is_refused_with_what_was_got_and_expected(changes: dict, message: str) -> None:
    with pytest.raises(EncodingError, match=message):
        decode(**changes)


def smooth_image() -> np.ndarray:
    v, u = np.mgrid[:40, :60]
    return np.stack([4 * u, 6 * v, 250 - 2 * u - 3 * v], axis=-1).astype(np.uint8)


def encoded(extension: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(extension, pixels)[1].tobytes()


def test_png_gives_back_the_very_pixels() -> None:
    bgr = smooth_image()
    image = decode_compressed(encoded(".png", bgr), "bgr8; png compressed bgr8")
    assert image.channels == "bgr"
    np.testing.assert_array_equal(image.data, bgr)


def test_jpeg_gives_back_nearly_the_pixels() -> None:
    bgr = smooth_image()
    image = decode_compressed(array("B", encoded(".jpg", bgr)), "jpeg")
    assert image.channels == "bgr"
    np.testing.assert_allclose(image.data, bgr.astype(int), atol=12)


@pytest.mark.parametrize(
    ("pixels", "channels"),
    [(smooth_image()[..., 0], "mono"), (np.dstack([smooth_image(), smooth_image()[..., 0]]), "bgra")],
)
def test_png_with_one_or_four_channels_keeps_them(pixels: np.ndarray, channels: str) -> None:
    image = decode_compressed(encoded(".png", pixels))
    assert image.channels == channels
    np.testing.assert_array_equal(image.data, pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_png_keeps_the_high_byte(channels: int) -> None:
    values = np.random.default_rng(2).integers(0, 65536, (9, 13, channels), dtype=np.uint16).squeeze()
    image = decode_compressed(encoded(".png", values), "png")
    assert image.data.dtype == np.uint8
    np.testing.assert_array_equal(image.data, values // 256)


def test_the_exif_orientation_of_a_jpeg_is_not_applied() -> None:
    plain = encoded(".jpg", smooth_image())
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)  # orientation 6: turned by a quarter
    tiff = b"MM\x00\x2a" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    app1 = b"\xff\xe1" + struct.pack(">H", 2 + 6 + len(tiff)) + b"Exif\x00\x00" + tiff
    image = decode_compressed(plain[:2] + app1 + plain[2:], "jpeg")
    np.testing.assert_array_equal(image.data, decode_compressed(plain).data)


def test_fill_bytes_before_a_jpeg_marker_are_passed_over() -> None:
    content = encoded(".jpg", smooth_image())
    assert decode_compressed(content[:2] + b"\xff\xff" + content[2:]).data.shape == (40, 60, 3)


def png_that_claims(width: int, height: int) -> bytes:
    """Returns a PNG whose header states another size than it has."""
    content = bytearray(encoded(".png", smooth_image()))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


JPEG, PNG = encoded(".jpg", smooth_image()), encoded(".png", smooth_image())


BAD_FILES = {
    "empty": (b"", "jpeg", "compressed image has no bytes"),
    "bmp": (b"BM6\x00\x00\x00", "bmp", r"\(format 'bmp'\) begins with 42 4d 36 00, expected JPEG or PNG"),
    "jpeg cut in its header": (JPEG[:10], "jpeg", "is cut off in its header, after 10 bytes"),
    "png cut in its header": (PNG[:20], "png", "is cut off in its header, after 20 bytes"),
    "half a jpeg": (JPEG[: len(JPEG) // 2], "jpeg", "of 60x40 is cut off after .* no EOI at its end"),
    "half a png": (PNG[: len(PNG) // 2], "png", "of 60x40 is cut off after .* no IEND at its end"),
    "jpeg header of zeros": (
        JPEG[:2] + bytes(40) + JPEG[42:],
        "jpeg",
        "is damaged at byte 2: no JPEG marker there",
    ),
    "png with a hole": (
        PNG[:60] + bytes(40) + PNG[100:],
        "png",
        "60x40 image of .* is damaged and cannot be decoded",
    ),
    "png of 3.6 gigapixels": (png_that_claims(60000, 60000), "png", f"60000x60000, more than {MAX_PIXELS} pixels"),
    "png wider than OpenCV takes": (png_that_claims(2**21, 1), "png", "2097152x1 image .* is damaged"),
    "png with rows missing": (
        png_that_claims(60, 50),
        "png",
        "60x50 image of .* is damaged and cannot be decoded",
    ),
    "depth image": (PNG, "16UC1; compressedDepth png", "a depth image; subscribe to the camera's colour topic"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_malformed_file_is_refused_and_the_reason_given(name: str) -> None:
    data, format, message = BAD_FILES[name]
    with pytest.raises(EncodingError, match=message):
        decode_compressed(data, format)


def test_every_cut_of_a_file_is_refused() -> None:
    for content in (JPEG, PNG):
        for length in range(0, len(content) - 2, 37):
            with pytest.raises(EncodingError):
                decode_compressed(content[:length])


def test_millimetres_are_rounded_and_everything_else_is_zero() -> None:
    depth = np.array([[1.0004, 1.0006, 65.535], [np.nan, np.inf, -np.inf], [0.0, -3.0, 65.536]], dtype=np.float32)
    encoded_mm = encode_depth(depth, "16UC1")
    assert encoded_mm.dtype == np.uint16
    np.testing.assert_array_equal(encoded_mm, [[1000, 1001, 65535], [0, 0, 0], [0, 0, 0]])


def test_float_depth_is_not_touched() -> None:
    depth = np.array([[1.5, np.nan, np.inf]], dtype=np.float32)
    np.testing.assert_array_equal(encode_depth(depth, "32FC1"), depth)


@pytest.mark.parametrize("is_bigendian", [False, True])
@pytest.mark.parametrize("encoding", ["32FC1", "16UC1"])
def test_depth_survives_its_bytes_in_either_byte_order(encoding: str, is_bigendian: bool) -> None:
    depth = np.random.default_rng(3).uniform(0.5, 60, (HEIGHT, WIDTH)).astype(np.float32)
    depth[2, 3] = np.nan
    pixels = encode_depth(depth, encoding)
    data, step = padded(pixels.astype(pixels.dtype.newbyteorder(">" if is_bigendian else "<")).view(np.uint8))
    decoded = decode_depth(
        data, encoding=encoding, height=HEIGHT, width=WIDTH, step=step, is_bigendian=is_bigendian
    )
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, depth, atol=0 if encoding == "32FC1" else 0.00051)


def test_an_unknown_depth_encoding_is_refused() -> None:
    message = r"depth encoding is 'mono16', expected 32FC1 \(metres\) or 16UC1 \(millimetres\)"
    with pytest.raises(EncodingError, match=message):
        encode_depth(np.ones((2, 3), np.float32), "mono16")
    with pytest.raises(EncodingError, match=message):
        decode_depth(bytes(12), encoding="mono16", height=2, width=3, step=6)


@pytest.mark.parametrize("shape", [(5, 3), (4, 6, 3)])
def test_packed_points_have_the_layout_of_pcl(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    points = rng.normal(size=shape).astype(np.float32)
    colors = rng.integers(0, 256, shape, dtype=np.uint8)
    rows, point_step = pack_points(points, colors)
    assert point_step == 32
    assert rows.shape == (1 if len(shape) == 2 else shape[0], shape[-2] * 32)
    content, flat, rgb = rows.tobytes(), points.reshape(-1, 3), colors.reshape(-1, 3)
    for index in range(len(flat)):
        assert struct.unpack_from("<3f", content, 32 * index) == tuple(flat[index])
        red, green, blue = (int(c) for c in rgb[index])
        assert struct.unpack_from("<I", content, 32 * index + 16)[0] == red << 16 | green << 8 | blue
        assert content[32 * index + 12 : 32 * index + 16] == bytes(4)
        assert content[32 * index + 20 : 32 * index + 32] == bytes(12)


def test_points_without_colour_take_sixteen_bytes() -> None:
    points = np.array([[1, 2, 3], [4, 5, np.nan]], dtype=np.float32)
    rows, point_step = pack_points(points)
    assert (point_step, rows.shape) == (16, (1, 32))
    assert struct.unpack_from("<4f", rows.tobytes(), 0) == (1, 2, 3, 0)


@pytest.mark.parametrize(
    ("points", "colors", "message"),
    [
        (np.zeros((4, 2), np.float32), None, r"shape \(4, 2\), expected \(N, 3\) or \(H, W, 3\)"),
        (np.zeros((4, 3), np.float32), np.zeros((5, 3), np.uint8), r"shape \(5, 3\), expected .*\(4, 3\)"),
    ],
)
def test_points_of_another_shape_are_refused(points: np.ndarray, colors: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack_points(points, colors)


@pytest.mark.parametrize("is_bigendian", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_points_are_found_at_any_offset_and_padding(dtype: type, is_bigendian: bool) -> None:
    expected = np.random.default_rng(5).normal(size=(2, 3, 3)).astype(np.float32)
    order, letter = (">" if is_bigendian else "<"), "f" if dtype is np.float32 else "d"
    point_step, row_step = 41, 3 * 41 + 9
    content = bytearray(b"\xee" * (2 * row_step))
    for row in range(2):
        for column in range(3):
            start = row * row_step + column * point_step
            for offset, value in zip((22, 5, 30), expected[row, column], strict=True):
                struct.pack_into(order + letter, content, start + offset, value)
    points = unpack_points(
        bytes(content),
        height=2,
        width=3,
        point_step=point_step,
        row_step=row_step,
        offsets=(22, 5, 30),
        dtype=dtype,
        is_bigendian=is_bigendian,
    )
    np.testing.assert_array_equal(points, expected.reshape(-1, 3))


def test_an_empty_cloud_has_no_points() -> None:
    points = unpack_points(b"", height=1, width=0, point_step=16, row_step=0, offsets=(0, 4, 8))
    assert points.shape == (0, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"point_step": 11}, r"point_step is 11 bytes, x y z at \(0, 4, 8\) need more"),
        ({"row_step": 40}, "cloud of 3x2 points has a step of 40 bytes, expected at least 48"),
        ({"data": bytes(95)}, r"cloud of 3x2 points is cut off: 95 bytes, expected 96 \(2 rows of 48\)"),
    ],
)
def test_a_malformed_cloud_is_refused(changes: dict, message: str) -> None:
    layout = {"data": bytes(96), "height": 2, "width": 3, "point_step": 16, "row_step": 48, "offsets": (0, 4, 8)}
    layout.update(changes)
    with pytest.raises(EncodingError, match=message):
        unpack_points(layout.pop("data"), **layout)
