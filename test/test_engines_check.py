"""What proves an engine: its answers on the self-test images that travel inside the model file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine

pytest.importorskip("onnx", reason="onnx, which makes the models of these tests, is not installed")
import onnx
from onnx_models import write_model

from recon3d_ros.core.model import ModelError, read_model_info
from recon3d_ros.core.pipeline import Prediction
from recon3d_ros.core.self_test import (
    METADATA_KEY,
    SelfTest,
    drive_self_test,
    read_self_test,
    self_test_metadata,
)
from recon3d_ros.engines import EngineError, default_model_path, load_engine
from recon3d_ros.engines.check import LIMITS, check_engine

IMAGES = np.random.default_rng(3).integers(0, 256, (5, 24, 40, 3), dtype=np.uint8)
FOCALS = np.array([200.0, 300.0, 400.0, 500.0, 600.0], np.float32)


def depth_of(images, focals):
    """A depth that depends on every pixel and on the focal length, 2 to 12 m."""
    return (images.mean(axis=3) / 255 * 4 + focals[:, None, None] / 75).astype(np.float32)


def honest(images, focals) -> Prediction:
    return Prediction(depth_of(images, focals))


def checked(answer, precision: str = "fp32", max_batch: int = 4, reference=honest):
    return check_engine(FakeEngine(answer), FakeEngine(reference), IMAGES, FOCALS, precision, max_batch)


def test_an_engine_that_answers_as_onnx_runtime_does_is_proved_at_every_batch_size():
    engine = FakeEngine(honest)
    report = check_engine(engine, FakeEngine(honest), IMAGES, FOCALS, "fp32", 4)
    assert report.is_good and report.reason == ""
    assert {len(images) for images, _ in engine.batches} == {1, 2, 4}


@pytest.mark.parametrize("precision", list(LIMITS))
def test_a_scale_just_beyond_the_limit_of_its_precision_fails_and_one_within_it_passes(precision):
    scale = LIMITS[precision].scale
    limit = min(scale, LIMITS[precision].mean)
    within = checked(lambda i, f: Prediction(depth_of(i, f) * np.float32(1 + 0.8 * limit)), precision)
    beyond = checked(lambda i, f: Prediction(depth_of(i, f) * np.float32(1 - 1.2 * scale)), precision)
    assert within.is_good, within.lines()
    assert "scale error" in beyond.reason


def with_one_nan(images, focals) -> Prediction:
    depth = depth_of(images, focals)
    depth[-1, 5, 7] = np.nan
    return Prediction(depth)


def with_a_wrong_corner(images, focals) -> Prediction:
    depth = depth_of(images, focals)
    depth[:, :6, :8] *= 3  # a twentieth of the image: the median does not see it
    return Prediction(depth)


def mixes_up_the_batch(images, focals) -> Prediction:
    return Prediction(depth_of(images, focals)[::-1])


def ignores_the_focal_length(images, focals) -> Prediction:
    return Prediction(depth_of(images, np.full_like(focals, FOCALS[0])))


def makes_zero_of_the_second_image(images, focals) -> Prediction:
    return Prediction(depth_of(images, focals) * (np.arange(len(images)) != 1)[:, None, None])


def raises(images, focals) -> Prediction:
    raise RuntimeError("CUDA error 700: an illegal memory access")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (with_one_nan, "not finite"),
        (with_a_wrong_corner, "99th percentile"),
        (mixes_up_the_batch, "(batch 4)"),
        (ignores_the_focal_length, "scale error"),
        (makes_zero_of_the_second_image, "(batch 2)"),
        (raises, "illegal memory access"),
    ],
)
def test_a_wrong_engine_is_refused_and_the_report_says_what_is_wrong(answer, words):
    report = checked(answer, "int8")  # the widest limits
    assert not report.is_good
    assert words in report.reason
    assert any("FAILED" in line and words in line for line in report.lines())


def test_an_engine_whose_answer_changes_from_run_to_run_is_refused():
    count = iter(range(1000))
    report = checked(lambda i, f: Prediction(depth_of(i, f) * np.float32(1 + 0.003 * (next(count) >= 5))))
    assert "(second run)" in report.reason
    assert "mean relative error" not in report.reason  # the first answer was right


def test_beyond_max_depth_every_depth_means_the_same():
    far = checked(
        lambda i, f: Prediction(depth_of(i, f) + 500), reference=lambda i, f: Prediction(depth_of(i, f) + 200)
    )
    assert far.is_good, far.lines()


def test_an_engine_that_reuses_its_buffer_is_judged_by_what_it_answered():
    buffer = np.zeros((4, 24, 40), np.float32)

    def answer(images, focals) -> Prediction:
        buffer[: len(images)] = depth_of(images, focals)
        return Prediction(buffer[: len(images)])

    assert checked(answer).is_good


def test_a_wrong_confidence_is_found():
    def sure(share):
        return lambda i, f: Prediction(depth_of(i, f), np.full(i.shape[:3], share, np.float32))

    assert checked(sure(0.800), reference=sure(0.801)).is_good
    assert "confidence" in checked(sure(0.7), reference=sure(0.8)).reason
    assert "not finite" not in checked(sure(np.nan), reference=sure(0.8)).reason
    assert not checked(sure(np.nan), reference=sure(0.8)).is_good


def test_a_model_that_is_itself_broken_is_not_blamed_on_the_engine():
    with pytest.raises(EngineError, match="ONNX Runtime's own depth"):
        checked(honest, reference=with_one_nan)


@pytest.mark.parametrize(("height", "width"), [(192, 640), (256, 448)])
def test_openvino_is_proved_on_the_shipped_model_at_its_default_size_and_at_another(height, width):
    pytest.importorskip("openvino", reason="openvino is not installed")
    test = drive_self_test(height=height, width=width)
    engine, reference = load_engine(backend="openvino", threads=1), load_engine(threads=1)
    report = check_engine(engine, reference, test.images[:2], test.focals[:2], "fp32", 2)
    assert report.is_good, report.lines()


def test_the_images_come_back_as_they_were_stored_but_for_jpeg(tmp_path: Path):
    test = drive_self_test(height=64, width=96)
    path = write_model(tmp_path / "model.onnx", height=64, width=96, metadata=self_test_metadata(test))
    found = read_self_test(path, read_model_info(path))
    assert found.source == "the bundled drive"
    assert found.images.shape == (4, 64, 96, 3)
    assert np.abs(found.images.astype(int) - test.images).mean() < 4
    np.testing.assert_allclose(found.focals, test.focals)
    # 640x360 at the aspect of 96x64 is 540x360 wide: a resize by 96 / 540 of fx 440.44.
    assert found.focals[0] == pytest.approx(440.442 * 96 / 540, rel=1e-3)


def test_the_images_of_a_model_of_free_size_come_at_the_size_asked_for_with_their_focal_lengths(tmp_path: Path):
    test = drive_self_test(height=64, width=192)
    path = write_model(
        tmp_path / "model.onnx", height=64, width=192, has_free_size=True, metadata=self_test_metadata(test)
    )
    info = read_model_info(path)
    assert read_self_test(path, info).images.shape == (4, 64, 192, 3)
    found = read_self_test(path, info, (128, 256))
    assert found.images.shape == (4, 128, 256, 3)
    # The middle 128 of 192 columns, enlarged twice.
    np.testing.assert_allclose(found.focals, test.focals * 2, rtol=1e-5)
    middle = np.asarray(test.images[:, :, 32:160], np.float32)
    means = np.asarray(found.images, np.float32).reshape(4, 64, 2, 128, 2, 3).mean(axis=(2, 4))
    assert np.abs(means - middle).mean() < 10 < np.abs(means[..., ::-1, :] - middle).mean()
    assert read_self_test(path, info, (64, 192)).images.tobytes() == read_self_test(path, info).images.tobytes()


def test_images_of_a_focal_length_that_no_lens_has_are_not_resized():
    test = drive_self_test(height=64, width=192)
    odd = SelfTest(test.images, np.full(4, 0.5, np.float32), "a joker")
    assert odd.at_size((64, 192)) is odd
    with pytest.raises(ModelError, match="a self-test image of a joker cannot be resized: focal lengths are"):
        odd.at_size((32, 64))


def test_a_model_without_images_is_proved_on_made_ones_and_says_so(tmp_path: Path):
    path = write_model(tmp_path / "model.onnx", height=32, width=64)
    test = read_self_test(path, read_model_info(path))
    assert "no self-test images" in test.source
    assert test.images.shape == (4, 32, 64, 3) and test.images.std() > 20
    free = write_model(tmp_path / "free.onnx", height=32, width=64, has_free_size=True)
    assert read_self_test(free, read_model_info(free), (96, 64)).images.shape == (4, 96, 64, 3)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: "{",
        lambda entry: json.dumps({**entry, "jpegs": ["!!!"]}),
        lambda entry: json.dumps({**entry, "jpegs": ["AAAA"], "focals": [1.0]}),
        lambda entry: json.dumps({**entry, "focals": [1.0]}),
        lambda entry: json.dumps({"jpegs": []}),
        lambda entry: json.dumps([]),
    ],
    ids=["json", "base64", "jpeg", "counts", "keys", "list"],
)
def test_damaged_images_are_told_with_the_files_name(tmp_path: Path, change):
    entry = json.loads(self_test_metadata(drive_self_test(height=32, width=64))[METADATA_KEY])
    path = write_model(tmp_path / "model.onnx", height=32, width=64, metadata={METADATA_KEY: change(entry)})
    with pytest.raises(ModelError, match=r"model\.onnx: its self-test images are"):
        read_self_test(path, read_model_info(path))


def test_the_shipped_model_carries_frames_of_the_bundled_drive():
    info = read_model_info(default_model_path())
    assert read_self_test(default_model_path(), info).source == "the bundled drive"
    assert default_model_path().stat().st_size < 25e6


def test_images_are_added_to_a_finished_model_without_touching_its_graph(tmp_path: Path):
    pytest.importorskip("torch", reason="training needs torch")
    from training.self_test import main

    path = write_model(tmp_path / "model.onnx", height=32, width=64, metadata={"author": "somebody"})
    before, graph = read_model_info(path), onnx.load(path).graph.SerializeToString()
    main([str(path)])
    assert read_model_info(path) == before
    assert onnx.load(path).graph.SerializeToString() == graph
    assert read_self_test(path, before).source == "the bundled drive"
    main([str(path)])  # a second time replaces them
    assert [p.key for p in onnx.load(path).metadata_props].count(METADATA_KEY) == 1
