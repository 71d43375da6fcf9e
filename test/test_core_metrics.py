"""Depth metrics against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recon3d_ros.core.metrics import (
    depth_metrics,
    mean_by_range,
    mean_metrics,
    median_scaled,
    metrics_by_range,
    split_by_range,
)


def test_each_metric_is_the_number_worked_by_hand() -> None:
    # Errors -1, +2, 0, +15 m; ratios 1.25 (not below 1.25), 1.2, 1, 2.5 (above 1.25^3 = 1.953).
    metrics = depth_metrics([4.0, 12.0, 20.0, 25.0], [5.0, 10.0, 20.0, 10.0])
    logs = [math.log(0.8), math.log(1.2), 0.0, math.log(2.5)]
    mean_square = sum(log**2 for log in logs) / 4
    expected = {
        "abs_rel": (0.2 + 0.2 + 0 + 1.5) / 4,
        "sq_rel": (1 / 5 + 4 / 10 + 0 + 225 / 10) / 4,
        "rmse": math.sqrt((1 + 4 + 0 + 225) / 4),
        "rmse_log": math.sqrt(mean_square),
        "silog": 100 * math.sqrt(mean_square - (sum(logs) / 4) ** 2),
        "log10": sum(abs(log) for log in logs) / math.log(10) / 4,
        "delta1": 0.5,
        "delta2": 0.75,
        "delta3": 0.75,
    }
    assert metrics == pytest.approx(expected)


def test_silog_forgives_a_wrong_scale_and_abs_rel_does_not() -> None:
    target = np.random.default_rng(0).uniform(1, 80, 500)
    metrics = depth_metrics(1.3 * target, target)
    assert metrics["silog"] == pytest.approx(0, abs=1e-9)
    assert metrics["abs_rel"] == pytest.approx(0.3)
    assert metrics["delta1"] == 0.0


def test_the_mean_is_over_frames_not_pixels() -> None:
    one_pixel, many_pixels = depth_metrics([2.0], [1.0]), depth_metrics([1.0] * 99, [1.0] * 99)
    assert mean_metrics([one_pixel, many_pixels])["abs_rel"] == 0.5


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        ([1.0, 2.0], [1.0], "got 2 predicted and 1 true depths, expected equal and at least one"),
        ([], [], "got 0 predicted and 0 true depths"),
        ([0.0], [1.0], "a predicted depth is not finite and positive; compare valid pixels only"),
        ([np.nan], [1.0], "a predicted depth is not finite"),
        ([1.0], [np.inf], "a true depth is not finite"),
    ],
)
def test_depths_that_cannot_be_compared_are_refused(prediction: list, target: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        depth_metrics(prediction, target)


def test_no_frames_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no frame to average"):
        mean_metrics([])


def test_each_true_depth_lies_in_the_whole_range_and_in_one_bucket() -> None:
    target = np.array([0.9, 1.0, 9.99, 10.0, 29.0, 30.0, 80.0, 80.1, np.nan])
    inside = {name: np.flatnonzero(mask).tolist() for name, mask in split_by_range(target)}
    assert inside == {"1-80 m": [1, 2, 3, 4, 5, 6], "1-10 m": [1, 2], "10-30 m": [3, 4], "30-80 m": [5, 6]}


def test_errors_are_told_apart_by_true_depth_and_far_predictions_count_as_80_m() -> None:
    # By hand: |6 - 5| / 5 = 0.2, |15 - 20| / 20 = 0.25, |80 - 40| / 40 = 1 where the network saw nothing in range.
    table = metrics_by_range(np.array([6.0, 15.0, np.inf]), np.array([5.0, 20.0, 40.0]))
    assert {name: metrics["abs_rel"] for name, metrics in table.items()} == pytest.approx(
        {"1-80 m": 1.45 / 3, "1-10 m": 0.2, "10-30 m": 0.25, "30-80 m": 1.0}
    )


def test_a_range_without_pixels_is_absent_and_does_not_count_in_the_mean() -> None:
    near = metrics_by_range(np.array([4.0]), np.array([5.0]))
    both = metrics_by_range(np.array([4.0, 20.0]), np.array([2.0, 40.0]))
    assert set(near) == {"1-80 m", "1-10 m"}
    mean = mean_by_range([near, both])
    assert set(mean) == {"1-80 m", "1-10 m", "30-80 m"}
    assert mean["1-10 m"]["abs_rel"] == pytest.approx((0.2 + 1.0) / 2)
    assert mean["30-80 m"]["abs_rel"] == pytest.approx(0.5)


def test_median_scaling_takes_a_wrong_scale_away_and_nothing_else() -> None:
    # Medians 4 of the prediction, 6 of the truth: factor 1.5.
    scaled = median_scaled(np.array([2.0, 4.0, np.inf]), np.array([3.0, 6.0, 60.0]))
    np.testing.assert_allclose(scaled, [3.0, 6.0, np.inf])


def test_a_prediction_of_nothing_in_range_has_no_scale() -> None:
    everywhere = np.full(3, np.inf)
    np.testing.assert_array_equal(median_scaled(everywhere, np.array([3.0, 6.0, 60.0])), everywhere)
