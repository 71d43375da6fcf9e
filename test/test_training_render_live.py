"""Frames rendered on the fly: the same for a number whoever asks, and usable by a data loader's workers."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("embreex", reason="embreex is not installed; see requirements/training.txt")
pytest.importorskip("torch", reason="torch is not installed; see requirements/training.txt")

from torch.utils.data import DataLoader

from training.render import live, renderers
from training.render.frames import RenderedFrame
from training.render.live import LiveFrames, LiveSamples, LiveStream
from training.render.photo import Camera, develop
from training.render.views import is_usable

SIZE = {"width": 96, "height": 32}


class NumberedScene:
    """Stands for an open scene: what it shows tells its seed and the view's number."""

    def __init__(self, seed, **_):
        self.seed = seed

    def frames(self, views):
        for k in views:
            depth = np.full((32, 96), self.seed % 10**13 * 100.0 + k)
            yield RenderedFrame(np.zeros((32, 96, 3), np.uint8), depth, np.diag([90.0, 90, 1]))


def test_a_frame_depends_on_its_number_and_seed_alone(monkeypatch):
    monkeypatch.setattr(live, "open_scene", NumberedScene)
    frames = LiveFrames(**SIZE, seed=3)
    shown = [frames[number].depth[0, 0] for number in range(12)]
    copy = pickle.loads(pickle.dumps(frames))
    assert [copy[number].depth[0, 0] for number in reversed(range(12))] == shown[::-1]
    other = LiveFrames(**SIZE, seed=4)
    assert not {other[number].depth[0, 0] for number in range(12)} & set(shown)


def test_a_group_takes_every_view_of_its_scenes_once_and_mixes_them(monkeypatch):
    monkeypatch.setattr(live, "open_scene", NumberedScene)
    frames = LiveFrames(**SIZE, seed=0)
    shown = [divmod(int(frames[number].depth[0, 0]), 100) for number in range(live.GROUP)]
    assert frames[0].camera.fx == 90
    assert len(set(shown)) == live.GROUP
    assert len({seed for seed, _ in shown}) == live.SCENES_A_GROUP
    assert len({seed for seed, _ in shown[:12]}) > 1


def test_frames_asked_for_together_are_drawn_together_scene_by_scene(monkeypatch):
    calls = []

    class Scene(NumberedScene):
        def frames(self, views):
            calls.append(list(views))
            return super().frames(views)

    monkeypatch.setattr(live, "open_scene", Scene)
    frames = LiveFrames(**SIZE, seed=3)
    numbers = [5, 90, 2, 6, 81, 5]
    together = frames.__getitems__(numbers)
    assert len(calls) < len(numbers)
    assert [frame.depth[0, 0] for frame in together] == [frames[number].depth[0, 0] for number in numbers]


def test_a_sample_of_the_rasteriser_is_of_the_view_that_rays_show():
    drawn, cast = (LiveSamples(width=64, height=32, seed=2, renderer=name)[5] for name in ("cpu", "embree"))
    np.testing.assert_array_equal(drawn["K"], cast["K"])
    difference = (drawn["depth"] - cast["depth"]).abs() <= 1e-3 * cast["depth"]
    assert (difference | (drawn["depth"] == cast["depth"])).float().mean() > 0.995  # +Inf - +Inf is NaN


def test_a_renderer_that_cannot_work_here_is_named(monkeypatch):
    monkeypatch.setattr(renderers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"embreex is not installed.*renderer cpu"):
        LiveSamples(**SIZE, seed=0)
    with pytest.raises(ValueError, match=r"numba-cuda: False.*renderer cpu or embree"):
        LiveSamples(**SIZE, seed=0, renderer="cuda")
    with pytest.raises(ValueError, match="renderer is 'gpu', expected one of"):
        LiveSamples(**SIZE, seed=0, renderer="gpu")


def test_workers_of_a_loader_yield_the_groups_that_are_theirs():
    frames = LiveFrames(**SIZE, seed=1)
    stream = DataLoader(LiveStream(frames), batch_size=None, num_workers=1)
    frame = next(iter(stream))
    np.testing.assert_array_equal(frame.image, frames[0].image)


def test_live_samples_have_the_size_asked_for():
    sample = LiveSamples(width=64, height=32, seed=2)[5]
    assert sample["image"].shape == (32, 64, 3)
    assert sample["valid_mask"].all()
    assert sample["K"].shape == (3, 3)


def test_views_before_a_wall_or_within_a_thing_are_not_usable():
    street = np.tile(np.linspace(60, 4, 24, dtype=np.float32)[:, None], (1, 80))
    assert is_usable(street)
    near = street.copy()
    near[:, :30] = 2.0
    assert not is_usable(near)
    inside = street.copy()
    inside[:, :3] = 0.5
    assert not is_usable(inside)


def test_a_dark_street_stays_darker_and_noisier_than_a_bright_one():
    flat = np.full((48, 96, 3), 1.0, np.float32)
    bright, dark = (develop(flat * light, np.random.default_rng(0), camera=Camera()) for light in (1.0, 0.004))
    # A metered grey of 0.17 stored with gamma 2.2.
    assert bright.mean() == pytest.approx(255 * 0.17 ** (1 / 2.2), abs=2)
    assert dark.mean() < 0.6 * bright.mean()
    assert dark.std() > 1.5 * bright.std()


def test_motion_blur_smears_along_its_path_only():
    image = np.full((48, 96, 3), 0.02, np.float32)
    image[20:24, 40:44] = 1.0
    sharp, moved = (
        develop(image, np.random.default_rng(0), key=0.17, camera=Camera(noise=0, motion_px=path))
        for path in ((0.0, 0.0), (8.0, 0.0))
    )
    assert moved[22, 37, 0] > sharp[22, 37, 0] + 30
    assert abs(int(moved[15, 42, 0]) - int(sharp[15, 42, 0])) <= 2
