"""Files of any content are read or refused with a reason: model files, recordings, calibrations."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install -r requirements/dev.txt")
pytest.importorskip("onnx", reason="onnx, which makes the model of these tests, is not installed")

from drives import CALIBRATION, camera_messages, write_bag
from fuzzing import bounded, damaged, inputs
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import write_model

from recon3d_ros.bags.bag_path import BagError
from recon3d_ros.bags.cameras import decode, find_cameras
from recon3d_ros.bags.reader import BagReader
from recon3d_ros.bags.transforms import read_transforms
from recon3d_ros.core.calibration import load_calibration
from recon3d_ros.core.camera import CameraError
from recon3d_ros.core.camera_info import camera_from_info
from recon3d_ros.core.drive import DriveError
from recon3d_ros.core.encodings import EncodingError
from recon3d_ros.core.lidar import LidarError
from recon3d_ros.core.model import ModelError, read_model_info
from recon3d_ros.core.ring import is_ring, load_ring
from recon3d_ros.engines import EngineError, load_engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def model(folder: Path) -> bytes:
    return write_model(folder / "whole.onnx", height=8, width=12, has_confidence=True).read_bytes()


@inputs(0.16)
@given(data=st.data())
def test_any_model_file_is_described_or_refused(folder: Path, model: bytes, data: st.DataObject) -> None:
    path = folder / "fuzz.onnx"
    path.write_bytes(data.draw(st.one_of(damaged([model]), st.binary(max_size=200))))
    with bounded():
        try:
            info = read_model_info(path)
        except ModelError as error:
            assert "fuzz.onnx: " in str(error)
        else:
            # The graph is whole: only its description may differ, within the contract.
            assert (info.height, info.width) == (8, 12) and 0 <= info.min_depth < info.max_depth


@inputs(0.02)
@given(data=st.data())
def test_a_model_with_damage_around_its_graph_runs_or_is_refused(
    folder: Path, model: bytes, data: st.DataObject
) -> None:
    # The graph's hash does not cover what stands around it: versions, operator sets, functions.
    path = folder / "around.onnx"
    head, tail = model[:4], model[-16:]
    begin, end = data.draw(damaged([head])), data.draw(damaged([tail]))
    path.write_bytes(data.draw(st.sampled_from((begin + model[4:], model[:-16] + end))))
    with bounded():
        try:
            engine = load_engine(str(path), "onnxruntime", 1)
            prediction = engine.infer(np.zeros((1, 8, 12, 3), np.uint8), np.ones(1, np.float32))
        except (ModelError, EngineError) as error:
            assert "around.onnx" in str(error)
        else:
            assert prediction.depth.shape == (1, 8, 12)


@pytest.fixture(scope="module")
def bags(folder: Path) -> dict[str, bytes]:
    messages = camera_messages(2)
    kinds = {"mcap": {}, "zstd.mcap": {"compressed": True}, "db3": {"storage": "sqlite3"}}
    files = {}
    for kind, options in kinds.items():
        bag = write_bag(folder / kind.replace(".", "_"), messages, **options)
        (file,) = [file for file in bag.iterdir() if file.suffix in (".mcap", ".db3")]
        files[kind] = file.read_bytes()
    files["yaml"] = (bag / "metadata.yaml").read_bytes()
    return files


@inputs(0.08)
@given(data=st.data())
def test_any_recording_is_read_as_far_as_it_goes_or_refused(
    folder: Path, bags: dict[str, bytes], data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(sorted(set(bags) - {"yaml"})))
    path = folder / "bag" / f"bag.{kind.split('.')[-1]}"
    path.parent.mkdir(exist_ok=True)
    for old in path.parent.iterdir():
        old.unlink()
    path.write_bytes(data.draw(damaged([bags[kind]])))
    if path.suffix == ".db3" and data.draw(st.booleans()):
        metadata = data.draw(damaged([bags["yaml"]])).replace(b"db3.db3", b"bag.db3")
        (path.parent / "metadata.yaml").write_bytes(metadata)
    with bounded():
        try:
            with BagReader(path.parent) as reader:
                for message in reader.messages():
                    try:
                        content = reader.deserialise(message)
                        decode(content) if "image" in message.topic else camera_from_info(content)
                    except (BagError, CameraError, EncodingError) as error:
                        assert str(error)
                find_cameras(reader)
                read_transforms(reader)
        except BagError as error:
            assert str(path.parent) in str(error)


CALIBRATION_TEXT = json.dumps(CALIBRATION).encode()
CAMERA_INFO_YAML = b"""image_width: 80
image_height: 48
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [60.0, 0.0, 37.5, 0.0, 62.0, 20.25, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.05, 0.001, 0.0, 0.0]}
"""
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.just(10**400), st.sampled_from((0, -1, "", "x", None, True, [], {}))
)
VALUES = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=9), max_leaves=16)


@st.composite
def calibrations(draw: st.DrawFn) -> tuple[str, bytes]:
    """Returns the suffix and content of a calibration file with damaged bytes, or with keys of any value."""
    suffix = draw(st.sampled_from((".json", ".yaml")))
    if draw(st.booleans()):
        return suffix, draw(damaged([CALIBRATION_TEXT, CAMERA_INFO_YAML]))
    content: dict[str, Any] = dict(CALIBRATION)
    for key in draw(st.sets(st.sampled_from(sorted(content)), min_size=1, max_size=3)):
        content[key] = draw(VALUES)
    return suffix, json.dumps(content).encode()


@inputs(0.1)
@given(file=calibrations())
def test_any_calibration_gives_a_camera_or_is_refused(folder: Path, file: tuple[str, bytes]) -> None:
    path = folder / f"calibration{file[0]}"
    path.write_bytes(file[1])
    with bounded():
        try:
            calibration = load_calibration(path)
        except CameraError as error:
            assert f"{path}: " in str(error) and len(str(error)) < 2000
        else:
            assert calibration.camera.width > 0


RING = {
    "lidar_top": {"K": None, "size_wh": None},
    "cam_front": {"K": CALIBRATION["K"], "size_wh": [80, 48]},
}
POSE = {"translation_m": [1.0, 0.0, 1.5], "rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}


@pytest.fixture(scope="module")
def ring(folder: Path) -> Path:
    path = folder / "ring"
    path.mkdir()
    np.save(path / "lidar_top.npy", np.ones((4, 4), np.float32))
    (path / "cam_front.jpg").touch()
    return path


@inputs(0.04)
@given(data=st.data())
def test_any_ring_is_placed_or_refused(ring: Path, data: st.DataObject) -> None:
    sensors = {name: {**sensor, "sensor_in_base": POSE, "base_in_map": POSE} for name, sensor in RING.items()}
    sensor = sensors[data.draw(st.sampled_from(sorted(sensors)))]
    for key in data.draw(st.sets(st.sampled_from(sorted(sensor)), max_size=2)):
        sensor[key] = data.draw(VALUES)
    if data.draw(st.booleans()):
        pose = data.draw(st.sampled_from(("sensor_in_base", "base_in_map")))
        sensor[pose] = {**POSE, data.draw(st.sampled_from(sorted(POSE))): data.draw(VALUES)}
    (ring / "calibration.json").write_text(json.dumps(sensors))
    with bounded():
        try:
            cameras = load_ring(ring) if is_ring(ring) else []
        except (CameraError, DriveError, LidarError) as error:
            assert str(error)
        else:
            assert all(camera.points.shape == (4, 3) for camera in cameras)


def billion_laughs() -> str:
    """Returns a YAML text of a few hundred bytes whose K has 9^8 numbers."""
    names = "abcdefghi"
    lines = ["a: &a [1, 2]"]
    for before, name in pairwise(names):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    return "\n".join([*lines, "width: 80", "height: 48", "K: *i"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("deep.json", '{"a":' * 2_700),
        ("deep.yaml", "[" * 2**14),
        ("laughs.yaml", billion_laughs()),
        ("many.yaml", "- 1\n" * 2**12),
    ],
    ids=["json", "yaml", "laughs", "many"],
)
def test_a_calibration_made_to_exhaust_its_reader_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with bounded(), pytest.raises(CameraError, match=name):
        load_calibration(path)
