"""What TensorBoard shows of a run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from tensorboard.backend.event_processing import event_accumulator  # noqa: E402
from toy_runs import TINY, losses_of, toy_source  # noqa: E402

from training.board import cloud  # noqa: E402
from training.train import train  # noqa: E402


def test_tensorboard_shows_curves_pictures_and_points(tmp_path) -> None:
    config = dataclasses.replace(TINY, steps=10, validation_frames=2)
    sources = toy_source(tmp_path)
    train(config, sources, tmp_path / "run", validation=tmp_path / "data", board=True)
    events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "board"), size_guidance={"images": 0})
    events.Reload()
    [logged] = events.Scalars("train/loss")
    assert logged.step == 10
    assert logged.value == pytest.approx(losses_of(tmp_path / "run")[-1], abs=1e-5)
    assert events.Scalars("validation/abs_rel")[0].value > 0
    assert {"train/silog", "train/gradient_norm", "train/learning_rate"} <= set(events.Tags()["scalars"])
    [picture] = events.Images("sample_0")
    # Input, prediction, target and error of a 128 x 64 frame, one below the other.
    assert (picture.width, picture.height) == (128, 4 * 64)
    assert any(tag.startswith("points") for tag in events.Tags()["tensors"])


def test_without_validation_the_board_shows_the_batch(tmp_path) -> None:
    train(dataclasses.replace(TINY, steps=1), toy_source(tmp_path), tmp_path / "run", board=True)
    events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "board"))
    events.Reload()
    assert len([tag for tag in events.Tags()["images"] if tag.startswith("sample_")]) == TINY.batch_size


def test_the_board_s_points_are_those_of_the_depth() -> None:
    depth = np.array([[2.0, 4.0, 100.0]], dtype=np.float32)
    image = np.arange(9, dtype=np.uint8).reshape(1, 3, 3)
    K = np.array([[10.0, 0, 0.0], [0, 20.0, 4.0], [0, 0, 1]], dtype=np.float32)
    points, colours = cloud(depth, image, K, max_depth=100.0)
    # x = (u - 0) / 10 * z; y down is (0 - 4) / 20 * z, drawn upwards; forward is -z there.
    np.testing.assert_allclose(points, [[0.0, 0.4, -2.0], [0.4, 0.8, -4.0]], rtol=1e-6)
    np.testing.assert_array_equal(colours, image[0, :2])
