"""Judged pixels and scores: truth by hand; baselines by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from recon3d_ros.core.baselines import best_cap, best_constant, ground_plane
from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.evaluation import JudgedPixels, frame_score, judged_pixels, mean_score
from recon3d_ros.core.pipeline import DepthFrame

CAMERA = CameraModel(width=40, height=24, fx=30.0, fy=31.0, cx=18.5, cy=9.875)
IMAGE = np.zeros((24, 40, 3), np.uint8)


def judged(target: list[float], *, row: list[int] | None = None, camera_height: float = 1.5) -> JudgedPixels:
    rows = np.array(row if row is not None else [0] * len(target))
    values = np.array(target)
    return JudgedPixels(values, values, None, rows, np.zeros_like(rows), CAMERA, camera_height)


def test_points_are_judged_at_the_pixel_they_project_to() -> None:
    depth = np.arange(24 * 40, dtype=np.float32).reshape(24, 40) + 1
    confidence = (depth / 1000).astype(np.float32)
    points = np.array([[0.0, -0.3, 9.9], [-1.0, 0.2, 4.9], [3.0, -1.3, 19.9]])
    pixels = judged_pixels(DepthFrame(IMAGE, depth, confidence, CAMERA, {}), points)
    # By hand, the first: u = 18.5 + 30 * 0 = 18.5 -> 18 (to even), v = 9.875 + 31 * -0.3 / 9.9 = 8.936 -> 9;
    # the second: u = 12.38, v = 11.14; the third: u = 23.02, v = 7.85.
    np.testing.assert_array_equal(pixels.row, [9, 11, 8])
    np.testing.assert_array_equal(pixels.column, [18, 12, 23])
    np.testing.assert_array_equal(pixels.target, [9.9, 4.9, 19.9])
    np.testing.assert_array_equal(pixels.prediction, [depth[9, 18], depth[11, 12], depth[8, 23]])
    assert pixels.confidence is not None
    np.testing.assert_allclose(pixels.confidence, pixels.prediction / 1000, rtol=1e-6)


def test_points_out_of_range_or_outside_the_image_are_left_out() -> None:
    depth = np.full((24, 40), np.inf, dtype=np.float32)
    points = np.array([[0, 0, 0.9], [0, 0, 50.0], [0, 0, 81.0], [100.0, 0, 10.0]])
    pixels = judged_pixels(DepthFrame(IMAGE, depth, None, CAMERA, {}), points)
    np.testing.assert_array_equal(pixels.target, [50.0])
    np.testing.assert_array_equal(pixels.prediction, [np.inf])
    assert pixels.confidence is None


def test_invalid_predictions_are_counted_and_left_out_and_nothing_in_range_counts_as_80_m() -> None:
    score = frame_score(np.array([np.nan, 5.0, np.inf, 7.0]), np.array([8.0, 5.0, 40.0, np.inf]))
    assert score.invalid == 1
    assert score.pixels == {"1-80 m": 3, "1-10 m": 2, "10-30 m": 0, "30-80 m": 1}
    assert score.metric["1-80 m"]["abs_rel"] == pytest.approx((0.0 + 1.0) / 2)


def test_scores_average_over_frames_and_count_invalid_pixels_over_all() -> None:
    one = frame_score(np.array([10.0, 20.0]), np.array([5.0, 20.0]), np.array([0.1, 0.9]))
    two = frame_score(np.array([5.0, 25.0, np.nan]), np.array([5.0, 50.0, 8.0]), np.array([0.9, 0.1, 0.5]))
    score = mean_score([one, two])
    assert score.frames == 2 and score.invalid_share == pytest.approx(1 / 5)
    assert score.metric["1-80 m"]["abs_rel"] == pytest.approx((0.5 + 0.25) / 2)
    assert score.metric["1-10 m"]["abs_rel"] == pytest.approx((1.0 + 0.0) / 2)
    # Medians 15 against 12.5, and 15 against 27.5: what is left is |8.333 / 5 - 1|, |16.667 / 20 - 1|, ...
    left = [abs(10 / 1.2 / 5 - 1), abs(20 / 1.2 / 20 - 1), abs(27.5 / 15 - 1), abs(25 * 27.5 / 15 / 50 - 1)]
    assert score.median_scaled["1-80 m"]["abs_rel"] == pytest.approx(np.mean(left))
    assert score.confidence is not None and score.confidence.by_confidence[5] == pytest.approx(0.0)


def test_a_frame_without_any_valid_prediction_counts_as_invalid_only() -> None:
    blind = frame_score(np.full(4, np.nan), np.full(4, 9.0), np.zeros(4))
    seeing = frame_score(np.full(4, 9.0), np.full(4, 9.0), np.ones(4))
    score = mean_score([blind, seeing])
    assert score.invalid_share == 0.5
    assert score.metric["1-80 m"]["abs_rel"] == 0.0


@pytest.mark.parametrize("frames", [[], [frame_score(np.ones(3), np.full(3, np.nan))]])
def test_frames_without_truth_are_refused(frames: list) -> None:
    with pytest.raises(ValueError, match=f"none of {len(frames)} frames has a pixel with a known depth of 1-80 m"):
        mean_score(frames)


def test_the_best_constant_is_the_one_that_brute_force_finds() -> None:
    rng = np.random.default_rng(3)
    frames = [judged(list(np.exp(rng.normal(2.3, 0.8, count)).clip(1, 80))) for count in (50, 200, 17)]

    def error(c: float) -> float:
        return float(np.mean([np.mean(np.abs(c - frame.target) / frame.target) for frame in frames]))

    tried = np.arange(1.0, 80.0, 0.005)
    brute = min(tried, key=error)
    assert best_constant(frames) == pytest.approx(brute, abs=0.02)
    assert error(best_constant(frames)) <= error(brute) + 1e-9


def test_the_ground_plane_is_right_on_flat_ground_and_capped_above_the_horizon() -> None:
    # By hand: row 20 is 10.125 below the horizon, z = 31 * 1.5 / 10.125 = 4.593 m; row 10 is 0.125 below, 372 m.
    frame = judged([1.0, 1.0, 1.0], row=[20, 10, 3])
    np.testing.assert_allclose(ground_plane(frame, cap=30.0), [46.5 / 10.125, 30.0, 30.0])
    wall = judged([12.0] * 9, row=list(range(9)))
    assert best_cap([wall]) == 12.0


def test_a_ground_plane_without_a_height_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the camera's height"):
        ground_plane(JudgedPixels(np.ones(1), np.ones(1), None, np.zeros(1, int), np.zeros(1, int), CAMERA))
