"""Messages of any content are decoded or refused with a reason: no crash, no hang, no more memory than stated."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install -r requirements/dev.txt")

from fuzzing import bounded, damaged, inputs
from hypothesis import event, example, given
from hypothesis import strategies as st

from recon3d_ros.bags.lidar import sweep_of
from recon3d_ros.core.camera import CameraError
from recon3d_ros.core.camera_info import camera_from_info
from recon3d_ros.core.cloud import RayTable
from recon3d_ros.core.encodings import (
    ENCODINGS,
    MAX_DECODE_PASSES,
    MAX_DECODED_BYTES,
    EncodingError,
    decode_compressed,
)
from recon3d_ros.core.image_message import depth_of, image_of
from recon3d_ros.core.preprocess import RawImage, Rectifier

UINT32 = st.one_of(
    st.integers(0, 40),
    st.sampled_from((640, 100_000, 2**16, 2**31 - 1, 2**31, 2**32 - 1)),
    st.integers(0, 2**32 - 1),
)
LENSES = ("plumb_bob", "rational_polynomial", "equidistant", "fisheye", "", "x")
FLOATS = st.floats(width=64)  # NaN, infinities, negative, denormal


@dataclass
class Image:
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: bytes = field(repr=False)


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Returns an Image of which up to three fields do not fit the others."""
    encoding = draw(st.sampled_from([*ENCODINGS, "32FC1", "16UC1", "rgb16", "", "jpeg", "mono8\x00"]))
    height, width = draw(st.integers(0, 40)), draw(st.integers(0, 40))
    step = width * draw(st.sampled_from((1, 2, 3, 4))) + draw(st.sampled_from((0, 0, 1, 13)))
    size = max(height * step * draw(st.sampled_from((2, 3))) // 2 + draw(st.sampled_from((0, 0, -1, 7))), 0)
    image = Image(height, width, encoding, draw(st.integers(0, 255)), step, draw(st.randoms()).randbytes(size))
    for name in draw(st.sets(st.sampled_from(("height", "width", "step")), max_size=2)):
        setattr(image, name, draw(UINT32))
    return image


@inputs(0.24)
@given(image=images())
def test_any_image_is_decoded_or_refused(image: Image) -> None:
    with bounded():
        for decode in (image_of, depth_of):
            try:
                decoded = decode(image)
            except EncodingError as error:
                assert str(error)
            else:
                pixels = decoded.data if isinstance(decoded, RawImage) else decoded
                assert pixels.shape[:2] == (image.height, image.width)


def encoded(suffix: str, *shape: int, dtype: type = np.uint8, **options: int) -> bytes:
    pixels = np.random.default_rng(sum(shape)).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    flags = [number for name, value in options.items() for number in (getattr(cv2, name), value)]
    return cv2.imencode(suffix, pixels, flags)[1].tobytes()


FILES = [
    encoded(".jpg", 24, 40, 3),
    encoded(".jpg", 24, 40),
    encoded(".jpg", 24, 40, 3, IMWRITE_JPEG_PROGRESSIVE=1),
    encoded(".jpg", 24, 40, 3, IMWRITE_JPEG_RST_INTERVAL=2),
    encoded(".png", 24, 40, 3),
    encoded(".png", 24, 40, 4),
    encoded(".png", 24, 40, dtype=np.uint16),
]


@st.composite
def resized_files(draw: st.DrawFn) -> bytes:
    """Returns a file whose header claims another size: what a decompression bomb begins with."""
    content = bytearray(draw(st.sampled_from(FILES)))
    if content.startswith(b"\x89PNG"):
        struct.pack_into(">II", content, 16, draw(UINT32), draw(UINT32))
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    else:
        frame = min(place for marker in (b"\xff\xc0", b"\xff\xc2") if (place := content.find(marker)) >= 0)
        struct.pack_into(">HH", content, frame + 5, draw(st.integers(0, 65535)), draw(st.integers(0, 65535)))
    return bytes(content)


@inputs(0.24)
@given(
    content=st.one_of(damaged(FILES), damaged(FILES), resized_files(), st.binary(max_size=64)), format=st.text()
)
def test_any_compressed_image_is_decoded_or_refused(content: bytes, format: str) -> None:
    with bounded():
        try:
            image = decode_compressed(content, format)
        except EncodingError as error:
            assert str(error)
        else:
            assert image.data.dtype == np.uint8 and image.data.nbytes <= MAX_DECODED_BYTES


def progressive(height: int, width: int, *, passes: int) -> bytes:
    """Returns a grey progressive JPEG, whose last scan is repeated until there are so many."""
    pixels = np.zeros((height, width, 3), np.uint8)
    content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    scan = content[content.rfind(b"\xff\xda") : -2]
    return content[:-2] + scan * (passes - content.count(b"\xff\xda")) + content[-2:]


def test_the_most_expensive_jpeg_that_is_decoded_stays_within_the_bounds() -> None:
    content = progressive(4320, 7680, passes=MAX_DECODE_PASSES)
    assert len(content) < 200_000  # two hundred kilobytes that become a hundred megabytes
    with bounded():
        assert decode_compressed(content).data.shape == (4320, 7680, 3)


@pytest.mark.parametrize(
    "bomb",
    [
        progressive(48, 80, passes=MAX_DECODE_PASSES + 1),
        encoded(".jpg", 1, 1).replace(b"\x00\x01\x00\x01\x01\x01\x11", b"\xff\xff\xff\xff\x01\x01\x11"),
        cv2.imencode(".png", np.zeros((6000, 3000, 4), np.uint16))[1].tobytes(),
    ],
    ids=["passes", "65535x65535", "16-bit"],
)
def test_a_bomb_is_refused_before_it_is_decoded(bomb: bytes) -> None:
    with bounded(), pytest.raises(EncodingError, match=r"bytes and|more than"):
        decode_compressed(bomb)


@dataclass
class Region:
    x_offset: int
    y_offset: int
    height: int
    width: int


@dataclass
class Info:
    height: int
    width: int
    distortion_model: str
    d: list[float]
    k: list[float]
    p: list[float]
    binning_x: int
    binning_y: int
    roi: Region


@st.composite
def camera_infos(draw: st.DrawFn) -> Info:
    """Returns a CameraInfo: a usable one in which up to four things are anything that the message can hold."""
    fx, cx, cy = draw(st.floats(1.0, 2000.0)), draw(st.floats(0, 80)), draw(st.floats(0, 48))
    coefficients = draw(st.sampled_from((0, 4, 5, 8, 12, 14, 3, 100)))
    info = Info(
        height=48,
        width=80,
        distortion_model=draw(st.sampled_from(LENSES)),
        d=draw(st.lists(st.floats(-0.5, 0.5), min_size=coefficients, max_size=coefficients)),
        k=[fx, 0, cx, 0, fx * draw(st.floats(0.5, 2)), cy, 0, 0, 1],
        p=[fx, 0, cx, 0, 0, fx, cy, 0, 0, 0, 1, 0],
        binning_x=draw(st.integers(0, 4)),
        binning_y=draw(st.integers(0, 4)),
        roi=Region(*draw(st.sampled_from(((0, 0, 0, 0), (8, 4, 20, 40))))),
    )
    changes: dict[str, st.SearchStrategy[Any]] = {
        "height": UINT32,
        "width": UINT32,
        "d": st.lists(FLOATS, max_size=14),
        "k": st.lists(FLOATS, min_size=9, max_size=9),
        "p": st.lists(FLOATS, min_size=12, max_size=12),
        "binning_x": UINT32,
        "binning_y": UINT32,
        "roi": st.builds(Region, UINT32, UINT32, UINT32, UINT32),
    }
    for name in draw(st.sets(st.sampled_from(sorted(changes)), max_size=3)):
        setattr(info, name, draw(changes[name]))
    if draw(st.booleans()):
        info.k[draw(st.sampled_from((0, 2, 4, 5)))] = draw(FLOATS)
    return info


NO_REGION = Region(0, 0, 0, 0)
TINY_FOCAL = Info(48, 80, "plumb_bob", [], [3e-160, 0, 0, 0, 1, 0, 0, 0, 1], [0.0] * 12, 0, 0, NO_REGION)


@inputs(0.2)
@example(info=TINY_FOCAL, rectified=False)  # its rays were infinite
@given(info=camera_infos(), rectified=st.booleans())
def test_any_camera_info_gives_a_camera_that_can_be_used_or_is_refused(info: Info, rectified: bool) -> None:
    with bounded():
        try:
            camera = camera_from_info(info, rectified=rectified)
            rectifier = Rectifier(camera, width=40, height=16)
        except CameraError as error:
            event(str(error)[:16])
            return
        points = RayTable().points(np.ones((16, 40), np.float32), rectifier.camera)
        assert np.isfinite(points).all()
        if camera.width * camera.height < 2**20:
            image = RawImage(np.full((camera.height, camera.width, 3), 77, np.uint8), "rgb")
            assert rectifier(image).min() == 77
            event("an image is rectified")


@dataclass
class Field:
    name: str
    offset: int
    datatype: int


@dataclass
class Cloud:
    height: int
    width: int
    fields: list[Field]
    is_bigendian: bool
    point_step: int
    row_step: int
    data: bytes = field(repr=False)


@st.composite
def clouds(draw: st.DrawFn) -> Cloud:
    """Returns a PointCloud2 of which up to three fields do not fit the others."""
    kind, size = draw(st.sampled_from(((7, 4), (8, 8))))
    names = ["x", "y", "z", draw(st.sampled_from(("t", "time", "timestamp", "intensity")))]
    fields = [Field(name, index * size, kind) for index, name in enumerate(names)]
    fields[3].datatype = draw(st.integers(0, 9))
    height, width = draw(st.integers(0, 4)), draw(st.integers(0, 20))
    point_step = 4 * size + draw(st.sampled_from((0, 0, 3, 16)))
    row_step = width * point_step + draw(st.sampled_from((0, 0, 5)))
    data = draw(st.randoms()).randbytes(max(height * row_step + draw(st.sampled_from((0, 0, -1, 9))), 0))
    cloud = Cloud(height, width, fields, draw(st.booleans()), point_step, row_step, data)
    for name in draw(st.sets(st.sampled_from(("height", "width", "point_step", "row_step")), max_size=2)):
        setattr(cloud, name, draw(UINT32))
    for changed in draw(st.lists(st.sampled_from(fields), max_size=2)):
        changed.offset = draw(UINT32)
        changed.datatype = draw(st.integers(0, 255))
    del fields[draw(st.sampled_from((4, 4, 4, 2))) :]
    return cloud


@inputs(0.12)
@given(cloud=clouds(), stamp_ns=st.integers(0, 2**63))
def test_any_cloud_is_read_or_refused(cloud: Cloud, stamp_ns: int) -> None:
    with bounded():
        try:
            sweep = sweep_of(cloud, stamp_ns=stamp_ns, frame_id="lidar")
        except EncodingError as error:
            assert str(error)
        else:
            assert np.isfinite(sweep.points).all()
            assert sweep.times is None or len(sweep.times) == len(sweep.points)
