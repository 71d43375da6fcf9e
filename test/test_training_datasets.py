"""Samples: augmentation keeps the geometry true, and a sample is a function of its number."""

from __future__ import annotations

import numpy as np
import pytest
from toy_shards import CAMERA_HEIGHT, write_toy_shards

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from recon3d_ros.core.camera import CameraModel  # noqa: E402
from training.augmentation import augment_photometry  # noqa: E402
from training.datasets import (  # noqa: E402
    Frame,
    ShardFrames,
    TrainingSamples,
    augment_geometry,
    crop_frame,
    flip_frame,
)


def make_frame() -> Frame:
    """A frame whose image encodes the pixel: red is the column, green the row."""
    height, width = 48, 80
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    depth = np.random.default_rng(0).uniform(2, 50, size=(height, width)).astype(np.float32)
    return Frame(image, depth, CameraModel(width=width, height=height, fx=70, fy=72, cx=35.5, cy=20.25))


def points(frame: Frame) -> np.ndarray:
    return frame.camera.rays() * frame.depth[..., None]


def test_a_crop_sees_the_same_points() -> None:
    frame = make_frame()
    crop = crop_frame(frame, left=11, top=7, crop_width=40, crop_height=30, width=40, height=30)
    np.testing.assert_allclose(points(crop), points(frame)[7:37, 11:51], rtol=1e-5)
    np.testing.assert_array_equal(crop.image, frame.image[7:37, 11:51])


def test_a_flip_mirrors_the_points() -> None:
    frame = make_frame()
    np.testing.assert_allclose(points(flip_frame(frame)), points(frame)[:, ::-1] * [-1, 1, 1], rtol=1e-5)


def test_a_cropped_resized_flipped_sample_still_shows_flat_ground_at_its_height(tmp_path) -> None:
    frames = ShardFrames([write_toy_shards(tmp_path, height=192, width=320)])
    for seed in range(8):
        frame = frames[seed % len(frames)]
        sample = augment_geometry(frame, width=96, height=64, rng=np.random.default_rng(seed))
        near = sample.depth < 8
        assert near.any()
        # The nearest pixel's depth is off by at most half a source pixel: 2 % this close.
        np.testing.assert_allclose(points(sample)[near][:, 1], CAMERA_HEIGHT, rtol=0.05)
        assert np.median(points(sample)[near][:, 1]) == pytest.approx(CAMERA_HEIGHT, rel=0.01)


def test_a_sample_depends_on_seed_and_number_alone(tmp_path) -> None:
    folder = write_toy_shards(tmp_path, shards=2, frames=3)
    first = TrainingSamples([folder], width=96, height=32, seed=5)
    expected = [first[number] for number in range(8)]
    again = TrainingSamples([folder], width=96, height=32, seed=5)
    for number in (6, 1, 7):
        sample = again[number]
        for name, value in expected[number].items():
            assert torch.equal(sample[name].nan_to_num(), value.nan_to_num()), name
    other = TrainingSamples([folder], width=96, height=32, seed=6)
    assert not torch.equal(other[1]["image"], expected[1]["image"])


def test_an_epoch_takes_every_frame_once_and_finds_new_shards(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "a", shards=1, frames=4)
    samples = TrainingSamples([folder], width=96, height=32, seed=0)
    assert sorted(samples._frame_index(number) for number in range(4)) == [0, 1, 2, 3]
    write_toy_shards(tmp_path / "b", shards=1, frames=4)
    (tmp_path / "b" / "shard_00000").rename(folder / "shard_00001")
    assert len({samples._frame_index(number) for number in range(8, 16)}) == 8


def test_shards_that_appear_in_mid_run_do_not_stop_it(tmp_path) -> None:
    folder = write_toy_shards(tmp_path / "a", shards=1, frames=2)
    samples = TrainingSamples([folder], width=96, height=32, seed=0)
    for number in range(2):
        assert samples[number]["depth"].shape == (32, 96)
    for shard in range(1, 6):
        write_toy_shards(tmp_path / f"{shard}", shards=1, frames=9)
        (tmp_path / f"{shard}" / "shard_00000").rename(folder / f"shard_{shard:05d}")
        for number in range(shard * 60, shard * 60 + 20):
            assert samples[number]["depth"].shape == (32, 96)


def test_a_sample_has_the_shapes_and_types_it_promises(tmp_path) -> None:
    sample = TrainingSamples([write_toy_shards(tmp_path)], width=96, height=32, seed=0)[0]
    assert {name: (tuple(v.shape), v.dtype) for name, v in sample.items()} == {
        "image": ((32, 96, 3), torch.uint8),
        "depth": ((32, 96), torch.float32),
        "valid_mask": ((32, 96), torch.bool),
        "K": ((3, 3), torch.float32),
    }


def test_photometric_augmentation_changes_colours_and_keeps_form() -> None:
    image = np.random.default_rng(0).integers(0, 256, size=(48, 80, 3), dtype=np.uint8)
    for seed in range(40):
        result = augment_photometry(image, np.random.default_rng(seed))
        assert result.dtype == np.uint8
        assert result.shape == image.shape
        assert not np.array_equal(result, image)


def test_a_folder_without_shards_says_how_to_make_them(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"training\.render\.shards"):
        ShardFrames([tmp_path])


def test_a_shard_whose_arrays_do_not_belong_together_is_named(tmp_path) -> None:
    folder = write_toy_shards(tmp_path)
    np.save(folder / "shard_00000" / "K.npy", np.zeros((9, 3, 3), dtype=np.float32))
    with pytest.raises(ValueError, match=r"shard_00000.*K \(9, 3, 3\)"):
        ShardFrames([folder])
