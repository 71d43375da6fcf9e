"""DepthPipeline: what the network is asked, what becomes of its answer, and one batch for several cameras."""

from __future__ import annotations

import time

import numpy as np
import pytest
from fake_engine import FakeEngine

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import back_project
from recon3d_ros.core.pipeline import DepthPipeline, Framing, Prediction
from recon3d_ros.core.preprocess import RawImage

FRONT = CameraModel(width=80, height=60, fx=64.0, fy=66.0, cx=38.0, cy=27.0)
REAR = CameraModel(width=120, height=60, fx=90.0, fy=91.0, cx=62.0, cy=30.0)


def image_of(camera: CameraModel, value: int = 90, channels: str = "bgr") -> RawImage:
    return RawImage(np.full((camera.height, camera.width, 3), value, dtype=np.uint8), channels)


def constant(depth: float) -> FakeEngine:
    return FakeEngine(lambda images, focals: Prediction(np.full(images.shape[:3], depth, dtype=np.float32)))


def scene_engine(values: dict[tuple[int, int], float]) -> FakeEngine:
    """Returns an engine that sees 5 m everywhere but at the given (row, column) pixels."""

    def answer(images: np.ndarray, focals: np.ndarray) -> Prediction:
        depth = np.full(images.shape[:3], 5.0, dtype=np.float32)
        for (row, column), value in values.items():
            depth[:, row, column] = value
        return Prediction(depth)

    return FakeEngine(answer)


def test_the_network_is_asked_for_rgb_at_its_size_with_the_focal_length_of_that_size() -> None:
    engine = constant(5.0)
    image = RawImage(np.full((60, 80, 3), (50, 100, 200), dtype=np.uint8), "bgr")
    (frame,) = DepthPipeline(engine)([image], [FRONT])
    images, focals = engine.batches[0]
    assert (images.shape, images.dtype, images.flags.c_contiguous) == ((1, 24, 40, 3), np.uint8, True)
    np.testing.assert_array_equal(images[0, 12, 20], [200, 100, 50])
    # 80x60 is cut to 80x48, then halved.
    assert (focals.dtype, focals.tolist()) == (np.float32, [32.0])
    assert frame.camera == CameraModel(40, 24, 32.0, 33.0, 18.75, (27.0 - 6 + 0.5) / 2 - 0.5)
    np.testing.assert_array_equal(frame.image, images[0])


def test_a_wall_at_a_known_distance_comes_out_flat_at_that_distance() -> None:
    (frame,) = DepthPipeline(constant(7.25))([image_of(FRONT)], [FRONT])
    assert (frame.depth.shape, frame.depth.dtype) == ((24, 40), np.float32)
    points = back_project(frame.depth, frame.camera.rays())
    np.testing.assert_array_equal(points[..., 2], np.float32(7.25))


def test_depth_out_of_range_is_marked_as_ros_marks_it() -> None:
    values = {(0, 0): 0.4, (1, 2): 60.5, (3, 4): 100.0, (5, 6): 0.0, (7, 8): -2.0, (9, 10): np.nan, (11, 12): 59.9}
    pipeline = DepthPipeline(scene_engine(values), min_range=0.5, max_range=60.0)
    (frame,) = pipeline([image_of(FRONT)], [FRONT])
    expected = np.full((24, 40), 5.0, dtype=np.float32)
    for (row, column), value in {**values, (0, 0): np.nan, (1, 2): np.inf, (3, 4): np.inf}.items():
        expected[row, column] = np.nan if value <= 0 else value
    np.testing.assert_array_equal(frame.depth, expected)


def test_the_networks_own_limit_means_nothing_in_range() -> None:
    (frame,) = DepthPipeline(scene_engine({(2, 3): 100.0, (4, 5): 99.0}))([image_of(FRONT)], [FRONT])
    assert frame.depth[2, 3] == np.inf
    assert frame.depth[4, 5] == 99.0


def test_pixels_that_the_camera_does_not_see_have_no_depth() -> None:
    lens = CameraModel(80, 60, 64.0, 66.0, 38.0, 27.0, "plumb_bob", (0.4, 0.0, 0.0, 0.0, 0.0))
    pipeline = DepthPipeline(constant(5.0))
    (frame,) = pipeline([image_of(lens)], [lens])
    mask = pipeline.rectifier(lens).valid_mask
    assert 0 < np.count_nonzero(~mask) < mask.size / 2
    np.testing.assert_array_equal(np.isnan(frame.depth), ~mask)


def test_cameras_of_different_sizes_share_one_batch_and_keep_their_own_results() -> None:
    engine = FakeEngine(
        lambda images, focals: Prediction(
            images[..., 0].astype(np.float32) / 10 + focals[:, None, None], images[..., 1].astype(np.float32) / 255
        )
    )
    pipeline = DepthPipeline(engine)
    frames = pipeline([image_of(FRONT, 20), image_of(REAR, 40), image_of(FRONT, 60)], [FRONT, REAR, FRONT])
    assert [len(images) for images, _ in engine.batches] == [3]
    focals = [32.0, 36.0, 32.0]  # 120x60 is cut to 100x60: a scale of 0.4
    for frame, value, focal in zip(frames, (20, 40, 60), focals, strict=True):
        np.testing.assert_allclose(frame.depth, value / 10 + focal, rtol=1e-6)
        np.testing.assert_allclose(frame.confidence, value / 255, rtol=1e-6)
    assert frames[1].camera.fx == pytest.approx(focals[1])


def free_engine() -> FakeEngine:
    """Returns an engine of any size; its depth depends on the image, the place in it and the focal length."""

    def answer(images: np.ndarray, focals: np.ndarray) -> Prediction:
        _, h, w, _ = images.shape
        grey = images[..., 0].astype(np.float32)
        place = np.arange(h * w, dtype=np.float32).reshape(h, w) / (h * w)
        return Prediction(grey / 50 + place + focals[:, None, None] / 100, grey / 255)

    return FakeEngine(answer, height=192, width=640, has_free_size=True)


def test_cameras_of_different_shapes_get_networks_of_their_own_and_the_depth_that_each_has_alone() -> None:
    wide = CameraModel(width=160, height=90, fx=120.0, fy=121.0, cx=78.0, cy=47.0)  # 16:9
    shapes = {"wide": (wide, (256, 448)), "front": (FRONT, (288, 384)), "rear": (REAR, (256, 512))}
    engine = free_engine()
    pipeline = DepthPipeline(engine)
    order = ["front", "wide", "rear", "wide", "front"]
    images = [image_of(shapes[name][0], 20 * place) for place, name in enumerate(order)]
    frames = pipeline(images, [shapes[name][0] for name in order])
    assert [len(batch) for batch, _ in engine.batches] == [2, 2, 1]
    for name, image, frame in zip(order, images, frames, strict=True):
        camera, size = shapes[name]
        assert frame.depth.shape == frame.confidence.shape == frame.image.shape[:2] == size
        assert (frame.camera.height, frame.camera.width) == size
        (alone,) = DepthPipeline(free_engine())([image], [camera])
        np.testing.assert_array_equal(frame.depth, alone.depth)
        np.testing.assert_array_equal(frame.image, alone.image)
        assert frame.camera == alone.camera


def test_no_row_of_a_16_9_camera_is_lost_where_the_size_is_free() -> None:
    wide = CameraModel(width=1280, height=720, fx=900.0, fy=905.0, cx=652.0, cy=348.0)
    rows = np.arange(720, dtype=np.uint8)[:, None, None].repeat(1280, axis=1).repeat(3, axis=2)
    for size_is_free, first, last in ((True, 0, 719), (False, 168, 551)):  # 640x192 keeps 384 of 720 rows
        engine = FakeEngine(
            lambda images, focals: Prediction(np.full(images.shape[:3], 5.0, np.float32)),
            height=192, width=640, has_free_size=size_is_free,
        )  # fmt: skip
        (frame,) = DepthPipeline(engine)([RawImage(rows // 4, "rgb")], [wide])
        v = (np.array([-0.5, frame.camera.height - 0.5]) - frame.camera.cy) / frame.camera.fy * wide.fy + wide.cy
        assert v == pytest.approx([first - 0.5, last + 0.5], abs=0.6)


def test_the_size_follows_the_pixels_asked_for_and_a_camera_may_have_its_own() -> None:
    engine = free_engine()
    pipeline = DepthPipeline(engine, network_pixels=4 * 122_880)
    coarse, default = Framing(network_pixels=10_000), Framing(network_pixels=0)
    images, cameras = [image_of(FRONT)] * 3, [FRONT] * 3
    frames = pipeline(images, cameras, [pipeline.framing, coarse, default])
    assert [frame.depth.shape for frame in frames] == [(608, 800), (96, 128), (192, 640)]
    assert pipeline.network_size(FRONT) == (608, 800)
    assert pipeline.network_size(FRONT, coarse) == (96, 128)


def test_the_part_kept_at_the_default_size_is_where_the_crop_is_asked_to_lie() -> None:
    pipeline = DepthPipeline(free_engine(), network_pixels=0, crop_position=1.0)
    (bottom,) = pipeline([image_of(FRONT)], [FRONT])
    (top,) = pipeline([image_of(FRONT)], [FRONT], [Framing(network_pixels=0, crop_position=0.0)])
    # 80x60 is cut to 80x24 and enlarged eightfold: 36 rows lie between the two.
    assert top.camera.cy - bottom.camera.cy == pytest.approx(36 * 8)


def test_each_frames_latency_is_that_of_the_whole_call_whatever_batches_it_took() -> None:
    def slow(images: np.ndarray, focals: np.ndarray) -> Prediction:
        time.sleep(0.03)
        return Prediction(np.full(images.shape[:3], 5.0, np.float32))

    pipeline = DepthPipeline(FakeEngine(slow, has_free_size=True), network_pixels=5000)
    pipeline.rectifier(FRONT), pipeline.rectifier(REAR)
    start = time.perf_counter()
    frames = pipeline([image_of(FRONT), image_of(REAR)], [FRONT, REAR])
    seconds = time.perf_counter() - start
    assert frames[0].latency == frames[1].latency
    assert frames[0].latency["infer"] >= 0.06
    assert sum(frames[0].latency.values()) <= seconds


def test_every_stage_is_timed() -> None:
    (frame,) = DepthPipeline(constant(5.0))([image_of(FRONT)], [FRONT])
    assert set(frame.latency) == {"rectify", "infer", "limit"}
    assert all(seconds >= 0 for seconds in frame.latency.values())


def test_the_maps_of_a_camera_are_made_once() -> None:
    pipeline = DepthPipeline(constant(5.0))
    same = CameraModel(width=80, height=60, fx=64.0, fy=66.0, cx=38.0, cy=27.0)
    assert pipeline.rectifier(FRONT) is pipeline.rectifier(same)
    assert pipeline.rectifier(FRONT) is not pipeline.rectifier(REAR)


def test_a_calibration_that_keeps_changing_does_not_fill_the_memory() -> None:
    pipeline = DepthPipeline(constant(5.0))
    for index in range(pipeline.MAX_CAMERAS + 5):
        pipeline.rectifier(CameraModel(80, 60, 64.0 + index, 66.0, 38.0, 27.0))
    assert len(pipeline._rectifiers) == pipeline.MAX_CAMERAS


def test_large_networks_of_a_calibration_that_keeps_changing_do_not_either(monkeypatch) -> None:
    engine = FakeEngine(None, height=32, width=64, has_free_size=True)
    pipeline = DepthPipeline(engine, network_pixels=4096)  # 64 x 64 of a square camera
    monkeypatch.setattr(pipeline, "MAX_KEPT_PIXELS", 3 * 4096)
    cameras = [CameraModel(60, 60, 64.0 + index, 66.0, 38.0, 27.0) for index in range(5)]
    made = [pipeline.rectifier(camera) for camera in cameras]
    assert len(pipeline._rectifiers) == 3
    assert pipeline.rectifier(cameras[4]) is made[4] and pipeline.rectifier(cameras[2]) is made[2]
    monkeypatch.setattr(pipeline, "MAX_KEPT_PIXELS", 1)
    assert pipeline.rectifier(cameras[0]).camera.width == 64, "one is always made"


def test_the_range_may_change_between_frames() -> None:
    pipeline = DepthPipeline(constant(5.0))
    pipeline.max_range = 4.0
    (frame,) = pipeline([image_of(FRONT)], [FRONT])
    assert np.isposinf(frame.depth).all()


def test_an_image_of_another_size_than_its_camera_is_refused() -> None:
    with pytest.raises(ValueError, match="image is 120x60, its camera 80x60"):
        DepthPipeline(constant(5.0))([image_of(REAR)], [FRONT])
