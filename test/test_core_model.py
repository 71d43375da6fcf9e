"""The one-file contract: what a model file says of itself, and each way to break it with its message."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import METADATA, write_model

from recon3d_ros.core.model import METADATA_KEYS, ModelError, read_model_info


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "front.onnx"


def test_a_model_says_what_it_is(path: Path) -> None:
    info = read_model_info(write_model(path, height=48, width=96, has_confidence=True))
    assert (info.name, info.version, info.is_metric) == ("tiny", "1.0", True)
    assert (info.min_depth, info.max_depth, info.height, info.width) == (0.1, 80.0, 48, 96)
    assert (info.training_data, info.licence, info.author) == tuple(
        METADATA[key] for key in ("training_data", "licence", "author")
    )
    assert str(info.inputs["image"]) == "uint8[B,48,96,3]"
    assert str(info.inputs["focal"]) == "float32[B]"
    assert str(info.outputs["depth"]) == "float32[B,48,96]"
    assert info.has_confidence


def test_a_model_without_confidence_or_metres_says_so(path: Path) -> None:
    info = read_model_info(write_model(path, metadata={"is_metric": "false"}))
    assert not info.has_confidence
    assert not info.is_metric


def test_a_model_of_free_size_says_its_default_size(path: Path) -> None:
    info = read_model_info(write_model(path, height=96, width=160, has_free_size=True, has_confidence=True))
    assert (info.has_free_size, info.height, info.width) == (True, 96, 160)
    assert str(info.inputs["image"]) == "uint8[B,h,w,3]"
    assert not read_model_info(write_model(path)).has_free_size


@pytest.mark.parametrize(
    "size", ["", "640", "640x", "640x192x3", "640 x 192", "640x190", "630x192", "0x192", "-640x192", "640.0x192"]
)
def test_a_default_size_that_is_none_is_refused(path: Path, size: str) -> None:
    expected = f"front.onnx: size is '{size}', expected WIDTHxHEIGHT in multiples of 32, such as 640x192"
    with pytest.raises(ModelError, match=re.escape(expected)):
        read_model_info(write_model(path, has_free_size=True, metadata={"size": size}))


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ({"has_free_size": True, "metadata": {"size": "99968x99968"}}, "size is '99968x99968'"),
        ({"height": 2**20, "width": 2**20}, r"image' is uint8\[B,1048576,1048576,3\]"),
        ({"height": -1, "width": -1}, "image' is uint8"),  # which its bytes say as 2^64 - 1
    ],
)
def test_a_size_that_no_memory_holds_is_refused(path: Path, model: dict, found: str) -> None:
    with pytest.raises(ModelError, match=f"{found}.* at most 16777216 pixels"):
        read_model_info(write_model(path, **model))


def test_a_model_takes_its_own_size_or_any_multiple_of_32_where_that_is_free(path: Path) -> None:
    fixed = read_model_info(write_model(path, height=30))
    free = read_model_info(write_model(path, has_free_size=True))
    assert fixed.at_size(None) == fixed.at_size((30, 64)) == fixed
    assert free.at_size(None).size == (32, 64)
    assert free.at_size((96, 160)).size == (96, 160)
    assert not free.at_size((96, 160)).has_free_size
    with pytest.raises(ModelError, match=r"tiny: the size is 160x96 \(width x height\), expected 64x30"):
        fixed.at_size((96, 160))
    for height, width in ((96, 100), (100, 96), (0, 64), (-32, 64)):
        with pytest.raises(ModelError, match=f"the size is {width}x{height} .*, expected multiples of 32"):
            free.at_size((height, width))


def test_text_beyond_ascii_survives(path: Path) -> None:
    assert read_model_info(write_model(path, metadata={"author": "Ada Ångström"})).author == "Ada Ångström"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_dtype": TensorProto.FLOAT},
         r"input 'image' is float32\[B,32,64,3\], expected uint8\[B,32,64,3\]"),
        ({"image_shape": ["B", 3, 32, 64]},
         r"input 'image' is uint8\[B,3,32,64\], expected uint8\[B,h,w,3\]"),
        ({"image_shape": ["B", "h", 64, 3]}, r"is uint8\[B,h,64,3\], expected a fixed height and width, or both"),
        ({"image_shape": ["B", 32, "w", 3]}, r"is uint8\[B,32,w,3\], expected a fixed height and width, or both"),
        ({"image_shape": ["B", "h", "h", 3]}, r"is uint8\[B,h,h,3\], expected .* under two names of their own"),
        ({"image_shape": ["B", "B", "w", 3]}, r"is uint8\[B,B,w,3\], expected .* under two names of their own"),
        ({"image_shape": ["B", "", "", 3]}, r"is uint8\[B,\?,\?,3\], expected .* under two names of their own"),
        ({"image_shape": ["B", "h", "w", 3]}, r"output 'depth' is float32\[B,32,64\], expected float32\[B,h,w\]"),
        ({"has_free_size": True, "depth_shape": ["B", "w", "h"]},
         r"output 'depth' is float32\[B,w,h\], expected float32\[B,h,w\]"),
        ({"has_free_size": True, "metadata": {"size": None}}, "metadata lacks 'size', expected .* '640x192'"),
        ({"image_shape": [4, 32, 64, 3]}, r"is uint8\[4,32,64,3\], expected uint8\[B,32,64,3\]"),
        ({"image_shape": [1, 32, 64, 3]}, r"is uint8\[1,32,64,3\], expected uint8\[B,32,64,3\]"),
        ({"image_name": "input_1"}, r"has the inputs \['focal', 'input_1'\], expected \['image', 'focal'\]"),
        ({"depth_dtype": TensorProto.FLOAT16}, r"'depth' is float16\[B,32,64\], expected float32\[B,32,64\]"),
        ({"metadata": {"is_metric": "yes"}}, "is_metric is 'yes', expected 'true' or 'false'"),
        ({"metadata": {"max_depth": "far"}}, "min_depth or max_depth is not a number"),
        ({"metadata": {"max_depth": "inf"}}, r"depth range is 0.1..inf m, expected 0 <= min < max"),
        ({"metadata": {"min_depth": "90"}}, r"depth range is 90.0..80.0 m"),
        ({"metadata": {"min_depth": "nan"}}, r"depth range is nan..80.0 m"),
        ({"metadata": {"sha256": "0" * 64}}, "its metadata says 000000000000...; the file is damaged"),
    ],
)  # fmt: skip
def test_a_model_that_breaks_the_contract_is_refused(path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ModelError, match=f"front.onnx: .*{message}"):
        read_model_info(write_model(path, **changes))


@pytest.mark.parametrize("key", METADATA_KEYS)
def test_each_missing_key_is_named(path: Path, key: str) -> None:
    with pytest.raises(ModelError, match=f"front.onnx: metadata lacks {key};"):
        read_model_info(write_model(path, metadata={key: None}))


def test_a_changed_weight_is_noticed(path: Path) -> None:
    model = onnx.load(str(write_model(path)))
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.float32(0.5), model.graph.initializer[0].name)
    )
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match="the file is damaged or was changed after export"):
        read_model_info(path)


def test_weights_in_another_file_are_refused(path: Path) -> None:
    model = onnx.load(str(write_model(path)))
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(ModelError, match="its weights are in another file; one file is one model"):
        read_model_info(path)


def test_a_second_graph_cannot_hide_behind_the_verified_one(path: Path) -> None:
    path.write_bytes(write_model(path).read_bytes() * 2)
    with pytest.raises(ModelError, match="two graphs"):
        read_model_info(path)


def test_another_networks_onnx_file_is_refused_with_its_inputs(path: Path) -> None:
    tensor = helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 224, 224])
    output = helper.make_tensor_value_info("prob", TensorProto.FLOAT, [1, 3, 224, 224])
    graph = helper.make_graph([helper.make_node("Relu", ["data"], ["prob"])], "foreign", [tensor], [output])
    onnx.save(helper.make_model(graph), str(path))
    with pytest.raises(ModelError, match=r"has the inputs \['data'\], expected \['image', 'focal'\]"):
        read_model_info(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "front.onnx: is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "front.onnx: is not an ONNX file"),
        (b"<html><body>404 Not Found</body></html>", "front.onnx: is not an ONNX file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "is not an ONNX file"),
        (bytes(1000), "front.onnx: is not an ONNX file"),
        (b"\xff" * 1000, "front.onnx: is not an ONNX file"),
    ],
    ids=["empty", "png", "html", "git-lfs pointer", "zeros", "ones"],
)
def test_a_foreign_file_is_refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_model_info(path)


def test_a_missing_file_and_a_folder_are_refused(path: Path) -> None:
    with pytest.raises(ModelError, match=r"front.onnx: cannot be read \(No such file"):
        read_model_info(path)
    with pytest.raises(ModelError, match="cannot be read"):
        read_model_info(path.parent)


def test_every_cut_of_a_model_is_refused(path: Path) -> None:
    content = write_model(path, has_confidence=True).read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match=r"front\.onnx: "):
            read_model_info(path)


def test_random_damage_never_escapes_as_another_error(path: Path) -> None:
    content = np.frombuffer(write_model(path).read_bytes(), dtype=np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = content.copy()
        where = rng.integers(0, len(content), 3)
        damaged[where] ^= rng.integers(1, 256, 3, dtype=np.uint8)
        path.write_bytes(damaged.tobytes())
        try:
            read_model_info(path)
        except ModelError:
            continue
