"""The bytes of messages to numpy and back; every image encoding in one table."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.image_files import read_header
from recon3d_ros.core.preprocess import RawImage

Bytes: TypeAlias = "bytes | bytearray | memoryview | array[int] | npt.NDArray[np.uint8]"

MAX_PIXELS = 2**28  # 16384 x 16384: more than any camera has; a larger size is a damaged message
# A few bytes of JPEG or PNG can claim any size and any number of passes. Within these limits are 8K (7680x4320) in
# colour and one and a half times the passes of a progressive JPEG; the most that they allow takes under 1 s.
MAX_DECODED_PIXELS = 2**25
MAX_DECODED_BYTES = 3 * MAX_DECODED_PIXELS
MAX_DECODE_PASSES = 16


class EncodingError(ValueError):
    """Bytes that are not the image or the cloud they are said to be; the message says what was expected."""


@dataclass(frozen=True)
class Encoding:
    """How the bytes of one sensor_msgs/Image encoding become a RawImage.

    Attributes:
        channels: of the RawImage.
        pixel_bytes: bytes of a row, divided by the width.
        conversion: of cv2.cvtColor to `channels`; None where the bytes are the image already.
        chroma_width, chroma_height: pixels that share their colour.
        rows_per_2: rows of bytes for two rows of pixels.
        is_16_bit: samples are 16-bit and their high byte is kept.
    """

    channels: str
    pixel_bytes: int
    conversion: int | None = None
    chroma_width: int = 1
    chroma_height: int = 1
    rows_per_2: int = 2
    is_16_bit: bool = False


# ROS names a Bayer pattern by its first two pixels of the first two rows, OpenCV by the second and third pixel
# of the second row: ROS's rggb is OpenCV's BG.
ENCODINGS = {
    "rgb8": Encoding("rgb", 3),
    "bgr8": Encoding("bgr", 3),
    "rgba8": Encoding("rgba", 4),
    "bgra8": Encoding("bgra", 4),
    "mono8": Encoding("mono", 1),
    "mono16": Encoding("mono", 2, is_16_bit=True),
    "8UC1": Encoding("mono", 1),
    "8UC3": Encoding("bgr", 3),
    "8UC4": Encoding("bgra", 4),
    "yuv422": Encoding("rgb", 2, cv2.COLOR_YUV2RGB_UYVY, chroma_width=2),
    "uyvy": Encoding("rgb", 2, cv2.COLOR_YUV2RGB_UYVY, chroma_width=2),
    "yuv422_yuy2": Encoding("rgb", 2, cv2.COLOR_YUV2RGB_YUY2, chroma_width=2),
    "yuyv": Encoding("rgb", 2, cv2.COLOR_YUV2RGB_YUY2, chroma_width=2),
    "nv12": Encoding("rgb", 1, cv2.COLOR_YUV2RGB_NV12, chroma_width=2, chroma_height=2, rows_per_2=3),
    "nv21": Encoding("rgb", 1, cv2.COLOR_YUV2RGB_NV21, chroma_width=2, chroma_height=2, rows_per_2=3),
    "bayer_rggb8": Encoding("rgb", 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": Encoding("rgb", 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": Encoding("rgb", 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": Encoding("rgb", 1, cv2.COLOR_BayerGB2RGB),
}


def decode_image(
    data: Bytes, *, encoding: str, height: int, width: int, step: int, is_bigendian: bool = False
) -> RawImage:
    """Returns the image in the bytes of a sensor_msgs/Image.

    rgb8, bgr8, rgba8, bgra8, mono8 and their 8UC names are views into `data`; 8UC3 and 8UC4 are read as bgr
    and bgra, as cv_bridge does. mono16 keeps the high byte of each sample.

    Args:
        data: at least step * height bytes (nv12, nv21: step * height * 3 / 2); not copied where avoidable.
        encoding: a key of ENCODINGS.
        height, width: pixels.
        step: bytes of a row, padding included.
        is_bigendian: byte order of 16-bit samples.

    Raises:
        EncodingError: if the encoding is unknown, or the size, step or number of bytes do not fit each other.
    """
    known = ENCODINGS.get(encoding)
    if known is None:
        raise EncodingError(f"encoding is '{encoding}', expected one of {', '.join(ENCODINGS)}")
    _check_size(height=height, width=width)
    if width % known.chroma_width or height % known.chroma_height:
        raise EncodingError(
            f"{encoding} image is {width}x{height}, expected a multiple of "
            f"{known.chroma_width}x{known.chroma_height} pixels: they share their colour"
        )
    rows, row_bytes = height * known.rows_per_2 // 2, width * known.pixel_bytes
    _check_bytes(data, f"{encoding} image of {width}x{height}", rows=rows, row_bytes=row_bytes, step=step)
    raw = np.frombuffer(data, dtype=np.uint8, count=rows * step).reshape(rows, step)[:, :row_bytes]
    if known.is_16_bit:
        high_byte = 0 if is_bigendian else 1
        return RawImage(np.ascontiguousarray(raw[:, high_byte::2]), known.channels)
    pixels = raw if known.pixel_bytes == 1 else raw.reshape(rows, width, known.pixel_bytes)
    if known.conversion is None:
        return RawImage(pixels, known.channels)
    return RawImage(np.asarray(cv2.cvtColor(pixels, known.conversion), dtype=np.uint8), known.channels)


def decode_depth(
    data: Bytes, *, encoding: str, height: int, width: int, step: int, is_bigendian: bool = False
) -> npt.NDArray[np.float32]:
    """Returns the depth in the bytes of a depth image (REP 118).

    Args:
        data, height, width, step, is_bigendian: as in decode_image.
        encoding: "32FC1", metres, or "16UC1", millimetres with 0 for invalid.

    Returns:
        (height, width) float32 metres; NaN where 16UC1 has 0. A view into `data` where it is 32FC1 of this
        machine's byte order.

    Raises:
        EncodingError: as decode_image.
    """
    if encoding not in ("32FC1", "16UC1"):
        raise EncodingError(f"depth encoding is '{encoding}', expected 32FC1 (metres) or 16UC1 (millimetres)")
    _check_size(height=height, width=width)
    dtype = np.dtype(np.float32 if encoding == "32FC1" else np.uint16).newbyteorder(">" if is_bigendian else "<")
    what = f"{encoding} image of {width}x{height}"
    _check_bytes(data, what, rows=height, row_bytes=width * dtype.itemsize, step=step)
    values = np.ndarray((height, width), dtype, buffer=data, strides=(step, dtype.itemsize))
    if encoding == "32FC1":
        return values.astype(np.float32, copy=False)
    metres = values.astype(np.float32) * np.float32(0.001)
    metres[values == 0] = np.nan
    return metres


def encode_depth(
    depth: npt.NDArray[np.float32], encoding: str
) -> npt.NDArray[np.float32] | npt.NDArray[np.uint16]:
    """Returns the pixels of a depth image (REP 118).

    Args:
        depth: (H, W) float32, metres along z.
        encoding: "32FC1" keeps it; "16UC1" rounds it to millimetres.

    Returns:
        (H, W) float32 metres, or uint16 millimetres with 0 where the depth is NaN, infinite, not positive
        or over 65.535 m.

    Raises:
        EncodingError: if the encoding is neither.
    """
    if encoding == "32FC1":
        return depth
    if encoding != "16UC1":
        raise EncodingError(f"depth encoding is '{encoding}', expected 32FC1 (metres) or 16UC1 (millimetres)")
    depth_mm = depth * np.float32(1000.0)
    is_inside = (depth_mm > 0) & (depth_mm < 65535.5)
    return np.rint(np.where(is_inside, depth_mm, np.float32(0.0))).astype(np.uint16)


def decode_compressed(data: Bytes, format: str = "") -> RawImage:
    """Returns the image in the bytes of a sensor_msgs/CompressedImage.

    Args:
        data: a JPEG or PNG file; which of them, its first bytes say. The EXIF orientation is not applied: the
            calibration belongs to the pixels as they left the sensor.
        format: of the message; only compressedDepth matters, which is refused.

    Returns:
        The image as "bgr", "bgra" or "mono"; of 16-bit samples the high byte.

    Raises:
        EncodingError: if the bytes are empty, neither JPEG nor PNG, cut off, damaged, or would take more than
            MAX_DECODED_PIXELS, MAX_DECODED_BYTES or MAX_DECODE_PASSES to decode.
    """
    if "compresseddepth" in format.lower():
        raise EncodingError(
            f"format is '{format}', a depth image; subscribe to the camera's colour topic (<image>/compressed)"
        )
    content = bytes(data)
    if not content:
        raise EncodingError("compressed image has no bytes")
    try:
        header = read_header(content)
    except ValueError as error:
        raise EncodingError(f"compressed image (format '{format}') {error}") from error
    height, width = header.height, header.width
    _check_size(height=height, width=width)
    claims = (height * width, header.decoded_bytes, header.passes)
    limits = (MAX_DECODED_PIXELS, MAX_DECODED_BYTES, MAX_DECODE_PASSES)
    if any(claim > limit for claim, limit in zip(claims, limits, strict=True)):
        raise EncodingError(
            f"{width}x{height} image takes {header.decoded_bytes} bytes and {header.passes} passes to decode, "
            f"expected at most {MAX_DECODED_PIXELS} pixels, {MAX_DECODED_BYTES} bytes and {MAX_DECODE_PASSES} "
            "passes; send a smaller image, or a raw one"
        )
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise EncodingError(f"{width}x{height} image is damaged ({error.err})") from error
    if pixels is None or pixels.shape[:2] != (height, width):
        raise EncodingError(f"{width}x{height} image of {len(content)} bytes is damaged and cannot be decoded")
    if pixels.dtype == np.uint16:
        pixels = np.right_shift(pixels, 8, out=pixels)
    channels = "mono" if pixels.ndim == 2 else {3: "bgr", 4: "bgra"}[pixels.shape[2]]
    return RawImage(pixels.astype(np.uint8, copy=False), channels)


def pack_points(
    points: npt.NDArray[np.float32], colors: npt.NDArray[np.uint8] | None = None
) -> tuple[npt.NDArray[np.uint8], int]:
    """Returns the bytes of a PointCloud2, in PCL's memory layout, and its point_step.

    Args:
        points: (N, 3) or (H, W, 3) float32, metres.
        colors: uint8 RGB of the same shape, or None.

    Returns:
        (1, N * point_step) or (H, W * point_step) uint8, and point_step: 16 with float32 x, y, z at bytes 0, 4, 8;
        32 with colours, as 0x00RRGGBB in the place of a float32 at byte 16. Bytes between are zero.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if points.ndim not in (2, 3) or points.shape[-1] != 3:
        raise ValueError(f"points have shape {points.shape}, expected (N, 3) or (H, W, 3)")
    if colors is not None and colors.shape != points.shape:
        raise ValueError(f"colours have shape {colors.shape}, expected that of the points, {points.shape}")
    rows = 1 if points.ndim == 2 else points.shape[0]
    point_step = 16 if colors is None else 32
    packed = np.zeros((*points.shape[:-1], point_step // 4), dtype="<f4")
    packed[..., :3] = points
    content = packed.view(np.uint8)
    if colors is not None:
        for byte, channel in ((16, 2), (17, 1), (18, 0)):
            content[..., byte] = colors[..., channel]
    return content.reshape(rows, points.shape[-2] * point_step), point_step


def unpack_points(
    data: Bytes,
    *,
    height: int,
    width: int,
    point_step: int,
    row_step: int,
    offsets: tuple[int, int, int],
    dtype: type[np.float32] | type[np.float64] = np.float32,
    is_bigendian: bool = False,
) -> npt.NDArray[np.float32]:
    """Returns the points in the bytes of a PointCloud2.

    Args:
        data: at least row_step * height bytes.
        height, width: points.
        point_step, row_step: bytes of a point and of a row, padding included.
        offsets: bytes from a point's start to its x, y and z.
        dtype: of x, y and z.
        is_bigendian: their byte order.

    Returns:
        (height * width, 3) float32, in the message's unit (metres), NaN points included.

    Raises:
        EncodingError: if the steps, offsets and number of bytes do not fit each other.
    """
    if height * width == 0:
        return np.empty((0, 3), dtype=np.float32)
    item = np.dtype(dtype).newbyteorder(">" if is_bigendian else "<")
    if max(offsets) + item.itemsize > point_step:
        raise EncodingError(f"point_step is {point_step} bytes, x y z at {offsets} need more")
    what = f"cloud of {width}x{height} points"
    _check_bytes(data, what, rows=height, row_bytes=width * point_step, step=row_step)
    points = np.empty((height, width, 3), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 is infinite there
        for axis, offset in enumerate(offsets):
            points[..., axis] = np.ndarray((height, width), item, data, offset, strides=(row_step, point_step))
    return points.reshape(-1, 3)


def _check_size(*, height: int, width: int) -> None:
    """Raises EncodingError unless an image of that size can exist."""
    if height <= 0 or width <= 0:
        raise EncodingError(f"image is {width}x{height}, expected at least 1x1")
    if height * width > MAX_PIXELS:
        raise EncodingError(f"image is {width}x{height}, more than {MAX_PIXELS} pixels; the message is damaged")


def _check_bytes(data: Bytes, what: str, *, rows: int, row_bytes: int, step: int) -> None:
    """Raises EncodingError unless the data holds that many rows of `step` bytes, of which `row_bytes` count."""
    if step < row_bytes:
        raise EncodingError(f"{what} has a step of {step} bytes, expected at least {row_bytes}")
    size = data.nbytes if isinstance(data, np.ndarray) else memoryview(data).nbytes
    if size < rows * step:
        raise EncodingError(f"{what} is cut off: {size} bytes, expected {rows * step} ({rows} rows of {step})")
