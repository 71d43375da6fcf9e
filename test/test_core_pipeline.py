"""DepthPipeline: what the network is asked, what becomes of its answer, and one batch for several cameras."""

from __future__ import annotations

import numpy as np
import pytest
from fake_engine import FakeEngine

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import back_project
from recon3d_ros.core.pipeline import DepthPipeline, Prediction
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


def test_the_range_may_change_between_frames() -> None:
    pipeline = DepthPipeline(constant(5.0))
    pipeline.max_range = 4.0
    (frame,) = pipeline([image_of(FRONT)], [FRONT])
    assert np.isposinf(frame.depth).all()


def test_an_image_of_another_size_than_its_camera_is_refused() -> None:
    with pytest.raises(ValueError, match="image is 120x60, its camera 80x60"):
        DepthPipeline(constant(5.0))([image_of(REAR)], [FRONT])
