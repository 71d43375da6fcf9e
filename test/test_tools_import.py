"""recon3d import: public networks, made here of a few nodes, whose depth can be worked out by hand."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install -r requirements/dev.txt")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from recon3d_ros.core.model import read_model_info  # noqa: E402
from recon3d_ros.engines import load_engine  # noqa: E402
from recon3d_ros.tools.cli import main  # noqa: E402

HEIGHT, WIDTH = 32, 48
FOCALS = np.array([250.0, 500.0], np.float32)
METRIC = ("--normalise", "0-1", "--output", "depth", "--metric", "--min-depth", "0", "--max-depth", "100")


def write_network(
    path: Path,
    *,
    layout: str = "NCHW",
    batch: int | str = "N",
    size: tuple[int | str, int | str] = (HEIGHT, WIDTH),
    dtype: int = TensorProto.FLOAT,
    input_name: str = "input",
    outputs: tuple[str, ...] = ("output",),
    second_input: bool = False,
    reshape_to: list[int] | None = None,
    stride: int = 1,
    only_channel: int | None = None,
    opset: int = 17,
) -> Path:
    """Writes a network whose output is the mean of the three channels of its input (or one of them).

    Args:
        path: of the file.
        layout, batch, size, dtype, input_name: of the input.
        outputs: their names; all are the same.
        second_input: whether it wants a second image.
        reshape_to: what its output is reshaped to at the end, where not None.
        stride: part of the rows and columns that come out: one of `stride`.
        only_channel: the one channel that comes out.
        opset: of the file.
    """
    axis = 1 if layout == "NCHW" else 3
    shape = [batch, 3, *size] if layout == "NCHW" else [batch, *size, 3]
    inputs = [helper.make_tensor_value_info(input_name, dtype, shape)]
    if second_input:
        inputs.append(helper.make_tensor_value_info("other", dtype, shape))
    constants = []
    if only_channel is None:
        nodes = [helper.make_node("ReduceMean", [input_name], ["mean"], axes=[axis], keepdims=1)]
    else:
        constants.append(numpy_helper.from_array(np.array([only_channel]), "channel"))
        nodes = [helper.make_node("Gather", [input_name, "channel"], ["mean"], axis=axis)]
    last = "mean"
    if stride > 1:
        nodes.append(helper.make_node("MaxPool", [last], ["strided"], kernel_shape=[1, 1], strides=[stride] * 2))
        last = "strided"
    if reshape_to is not None:
        constants.append(numpy_helper.from_array(np.array(reshape_to), "shape"))
        nodes.append(helper.make_node("Reshape", [last, "shape"], ["reshaped"]))
        last = "reshaped"
    nodes += [helper.make_node("Identity", [last], [name]) for name in outputs]
    values = [helper.make_tensor_value_info(name, dtype, None) for name in outputs]
    graph = helper.make_graph(nodes, "public", inputs, values, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)


def imported_depth(tmp_path: Path, images: np.ndarray, *options: str, **network: object) -> np.ndarray:
    """Returns the depth of two images, at focal lengths 250 and 500, by an imported network."""
    source, out = write_network(tmp_path / "public.onnx", **network), tmp_path / "ours.onnx"
    assert main(["import", str(source), str(out), *(options or METRIC)]) == 0
    return load_engine(out).infer(images, FOCALS).depth


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_image_reaches_the_network_in_its_layout(tmp_path, images, layout: str) -> None:
    depth = imported_depth(tmp_path, images, *METRIC, "--layout", layout, layout=layout)
    np.testing.assert_allclose(depth, images.astype(np.float64).mean(axis=3) / 255, atol=1e-5)


def test_the_first_channel_is_red(tmp_path, images) -> None:
    depth = imported_depth(tmp_path, images, only_channel=0)
    np.testing.assert_allclose(depth, images[..., 0] / 255, atol=1e-5)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("0-1", 0.4),  # the mean of 0.2, 0.4 and 0.6
        ("0-255", 102.0),
        ("half", -0.2),  # (0.4 - 0.5) / 0.5
        ("0.1,2", 0.15),  # (0.4 - 0.1) / 2
        ("0.2,0.3,0.4,1,2,4", 0.0333333),  # (0 / 1 + 0.1 / 2 + 0.2 / 4) / 3
        ("imagenet", -0.2107731),  # (-0.285 / 0.229 - 0.056 / 0.224 + 0.194 / 0.225) / 3
    ],
)
def test_each_normalisation_is_the_one_it_names(tmp_path, images, how: str, expected: float) -> None:
    images[:] = (51, 102, 153)
    options = ("--normalise", how, "--output", "depth", "--relative", "--shift", "1", "--max-depth", "200")
    depth = imported_depth(tmp_path, images, *options)
    np.testing.assert_allclose(depth, expected + 1, atol=1e-4)


def test_relative_inverse_depth_becomes_its_reciprocal_and_zero_the_far_end(tmp_path, images) -> None:
    images[0], images[1] = 102, 0
    options = ("--normalise", "0-1", "--output", "inverse_depth", "--relative", "--max-depth", "50")
    depth = imported_depth(tmp_path, images, *options)
    np.testing.assert_allclose(depth[0], 2.5, rtol=1e-5)  # 1 / 0.4
    np.testing.assert_allclose(depth[1], 50.0)
    assert not read_model_info(tmp_path / "ours.onnx").is_metric


def test_scale_and_shift_come_before_the_reciprocal(tmp_path, images) -> None:
    images[:] = 102
    options = ("--normalise", "0-1", "--output", "inverse_depth", "--metric", "--scale", "0.2", "--shift", "0.02")
    np.testing.assert_allclose(imported_depth(tmp_path, images, *options), 10.0, rtol=1e-5)  # 1 / (0.08 + 0.02)


def test_depth_of_a_canonical_camera_is_scaled_by_the_focal_length(tmp_path, images) -> None:
    images[:] = 102
    depth = imported_depth(tmp_path, images, *METRIC, "--scale", "20", "--focal-canonical", "500")
    np.testing.assert_allclose(depth[0], 4.0, rtol=1e-5)  # 8 m at 500 px are 4 m at 250 px
    np.testing.assert_allclose(depth[1], 8.0, rtol=1e-5)


def test_a_disparity_in_pixels_becomes_depth_by_focal_length_and_baseline(tmp_path, images) -> None:
    images[:] = 102
    options = ("--normalise", "0-255", "--output", "disparity", "--metric", "--baseline", "0.5")
    depth = imported_depth(tmp_path, images, *options)
    np.testing.assert_allclose(depth[:, 0, 0], [250 * 0.5 / 102, 500 * 0.5 / 102], rtol=1e-5)


def test_depth_stays_within_the_range(tmp_path, images) -> None:
    depth = imported_depth(tmp_path, images, *METRIC[:-4], "--min-depth", "0.3", "--max-depth", "0.6")
    assert (depth.min(), depth.max()) == (np.float32(0.3), np.float32(0.6))


def test_another_size_resizes_image_and_depth_and_counts_the_focal_length_in_the_networks_pixels(
    tmp_path,
) -> None:
    # Each pixel of the network sees 2x2 equal pixels of the image, whose focal length is 2 of its own.
    blocks = np.random.default_rng(2).integers(0, 256, (2, 1, 1, 3), dtype=np.uint8)
    images = np.broadcast_to(blocks, (2, 2 * HEIGHT, 2 * WIDTH, 3)).copy()
    options = (*METRIC, "--size", f"{2 * HEIGHT}x{2 * WIDTH}", "--resize-output", "--focal-canonical", "250")
    depth = imported_depth(tmp_path, images, *options)
    assert depth.shape == (2, 2 * HEIGHT, 2 * WIDTH)
    grey = blocks.astype(np.float64).mean(axis=3) / 255
    np.testing.assert_allclose(depth[0], np.broadcast_to(0.5 * grey[0], depth[0].shape), rtol=1e-4)
    np.testing.assert_allclose(depth[1], np.broadcast_to(1.0 * grey[1], depth[1].shape), rtol=1e-4)


def test_a_coarser_output_is_resized_only_when_asked_to(tmp_path, images, capsys) -> None:
    source = write_network(tmp_path / "a.onnx", stride=4)
    assert main(["import", str(source), str(tmp_path / "b.onnx"), *METRIC]) == 2
    assert "its output is 8x12, the image 32x48" in capsys.readouterr().err
    depth = imported_depth(tmp_path, images, *METRIC, "--resize-output", stride=4)
    assert depth.shape == (2, HEIGHT, WIDTH)


def test_sizes_that_do_not_divide_each_other_lose_no_pixel(tmp_path) -> None:
    images = np.full((2, 37, 53, 3), 102, np.uint8)
    depth = imported_depth(tmp_path, images, *METRIC, "--size", "37x53", "--resize-output")
    np.testing.assert_allclose(depth, np.full((2, 37, 53), 0.4), rtol=1e-5)


@pytest.mark.parametrize(
    "network",
    [
        {"batch": 1},
        {"size": ("h", "w")},
        {"dtype": TensorProto.FLOAT16},
        {"input_name": "image", "outputs": ("depth",)},
        {"reshape_to": [-1, HEIGHT, WIDTH]},
        {"reshape_to": [-1, HEIGHT, WIDTH, 1]},
        {"opset": 9},
        {"opset": 11},
    ],
    ids=["fixed batch", "free size", "float16", "names of the contract", "rank 3", "channel last", "9", "11"],
)
def test_a_network_of_another_kind_is_taken_too(tmp_path, images, network: dict[str, object]) -> None:
    depth = imported_depth(tmp_path, images, *METRIC, "--size", f"{HEIGHT}x{WIDTH}", **network)
    np.testing.assert_allclose(depth, images.astype(np.float64).mean(axis=3) / 255, atol=1e-3)


def test_one_of_several_outputs_can_be_chosen(tmp_path, images) -> None:
    depth = imported_depth(tmp_path, images, *METRIC, "--output-name", "b", outputs=("a", "b"))
    assert depth.shape == (2, HEIGHT, WIDTH)


def test_weights_beside_the_file_are_taken_into_it(tmp_path, images) -> None:
    source = write_with_external_weights(tmp_path)
    assert main(["import", str(source), str(tmp_path / "ours.onnx"), *METRIC]) == 0
    (tmp_path / "weights.bin").unlink()
    depth = load_engine(tmp_path / "ours.onnx").infer(images, FOCALS).depth
    np.testing.assert_allclose(depth, images[..., 1] / 255, atol=1e-5)


def test_the_file_says_what_it_was_told_and_that_it_is_metric(tmp_path, images) -> None:
    about = ("--name", "public-s", "--version", "2", "--licence", "MIT", "--author", "A", "--training-data", "B")
    imported_depth(tmp_path, images, *METRIC, *about)
    info = read_model_info(tmp_path / "ours.onnx")
    assert (info.name, info.version, info.licence, info.author) == ("public-s", "2", "MIT", "A")
    assert (info.training_data, info.is_metric, info.max_depth) == ("B", True, 100.0)
    users = [node.op_type for node in onnx.load(tmp_path / "ours.onnx").graph.node if "image" in node.input]
    assert users == ["Cast"]  # TensorRT refuses anything else on uint8


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ({"second_input": True}, (), r"has the inputs \['input\[4 dimensions\]', 'other"),
        ({"outputs": ("a", "b")}, (), r"outputs \['a', 'b'\]; choose the depth with '--output-name'"),
        ({}, ("--output-name", "disp"), r"has no output 'disp', only \['output'\]"),
        ({}, ("--layout", "NHWC"), r"NHWC has 48 channels, expected 3"),
        ({"size": ("h", "w")}, (), r"give its size with '--size HxW'"),
        (
            {"dtype": TensorProto.UINT8, "only_channel": 0},
            (),
            r"input 'input' is uint8, expected float or float16",
        ),
        ({"reshape_to": [1, HEIGHT * WIDTH]}, (), r"output is \[1, 1536\] for one image"),
        ({"batch": 1, "reshape_to": [1, 1, HEIGHT, WIDTH]}, (), r"batch cannot be made free"),
        ({}, ("--min-depth", "5", "--max-depth", "2"), r"depth range is 5.0..2.0 m"),
        ({}, ("--baseline", "0.5"), r"needs '--baseline METRES', and nothing else does"),
        ({}, ("--focal-canonical", "-3"), r"'--focal-canonical' is -3.0"),
        ({}, ("--scale", "nan"), r"'--scale' is nan"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_with_the_reason(
    tmp_path, capsys, network: dict[str, object], options: tuple[str, ...], message: str
) -> None:
    source, out = write_network(tmp_path / "public.onnx", **network), tmp_path / "ours.onnx"
    out.write_bytes(b"the last good one")
    assert main(["import", str(source), str(out), *METRIC, *options]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert out.read_bytes() == b"the last good one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.onnx", "public.onnx"]


@pytest.mark.parametrize("content", [b"", b"not a network at all", bytes(range(256))])
def test_a_file_that_is_no_onnx_is_refused(tmp_path, capsys, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    assert main(["import", str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx"), *METRIC]) == 2
    assert "a.onnx: is not an ONNX file" in capsys.readouterr().err
    assert not (tmp_path / "b.onnx").exists()


def test_weights_that_are_not_beside_the_file_are_told(tmp_path, capsys) -> None:
    source = write_with_external_weights(tmp_path)
    (tmp_path / "weights.bin").unlink()
    assert main(["import", str(source), str(tmp_path / "b.onnx"), *METRIC]) == 2
    assert "its weights are in another file, which cannot be read" in capsys.readouterr().err


def test_a_file_is_not_imported_over_itself(tmp_path, capsys) -> None:
    source = write_network(tmp_path / "a.onnx")
    assert main(["import", str(source), str(source), *METRIC]) == 2
    assert "give the result another name" in capsys.readouterr().err


def test_without_onnx_the_package_is_named(tmp_path, capsys, monkeypatch) -> None:
    source = write_network(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["import", str(source), str(tmp_path / "b.onnx"), *METRIC]) == 2
    assert "pip install onnx" in capsys.readouterr().err


def test_a_keras_model_without_its_converter_names_what_to_install(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    (tmp_path / "a.keras").write_bytes(b"zip")
    assert main(["import", str(tmp_path / "a.keras"), str(tmp_path / "b.onnx"), *METRIC]) == 2
    assert "pip install tensorflow tf2onnx" in capsys.readouterr().err


def write_with_external_weights(folder: Path) -> Path:
    """Writes a network that gives out its green channel by a 1x1 convolution, its weights in another file."""
    weights = numpy_helper.from_array(np.array([0, 1, 0], np.float32).reshape(1, 3, 1, 1), "weights")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weights"], ["output"])],
        "public",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "external.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path
