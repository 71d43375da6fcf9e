"""What a confidence is worth, against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from recon3d_ros.core.confidence import frame_confidence, mean_confidence

# Ten pixels at 10 m with relative errors 0.0, 0.1, ... 0.9: their mean is 0.45.
TARGET = np.full(10, 10.0)
PREDICTION = 10.0 + np.arange(10)
ERRORS = np.arange(10) / 10


def test_a_confidence_that_falls_with_the_error_is_as_good_as_the_oracle() -> None:
    score = mean_confidence([frame_confidence(1.0 - 0.1 * np.arange(10), PREDICTION, TARGET)])
    # Without the worst 0, 1, ... 5 of them: means of 0..0.9, 0..0.8, ... 0..0.4.
    np.testing.assert_allclose(score.by_confidence, [0.45, 0.4, 0.35, 0.3, 0.25, 0.2])
    np.testing.assert_allclose(score.oracle, score.by_confidence)
    np.testing.assert_allclose(score.random, 0.45)
    np.testing.assert_allclose(score.gain[1:], 1.0)


def test_a_confidence_that_is_surest_where_it_is_worst_gains_less_than_nothing() -> None:
    score = mean_confidence([frame_confidence(0.1 * np.arange(10), PREDICTION, TARGET)])
    # Dropping the two least sure drops the errors 0 and 0.1: (4.5 - 0.1) / 8 = 0.55.
    assert score.by_confidence[2] == pytest.approx(0.55)
    assert score.gain[2] == pytest.approx((0.45 - 0.55) / (0.45 - 0.35))


def test_the_same_confidence_everywhere_keeps_the_order_of_the_pixels() -> None:
    shuffled = np.random.default_rng(0).permutation(PREDICTION)
    score = mean_confidence([frame_confidence(np.full(10, 0.5), shuffled, TARGET)])
    assert score.by_confidence[0] == pytest.approx(0.45)
    assert score.by_confidence[5] == pytest.approx(np.mean(shuffled[:5] - 10) / 10)


def test_reliability_compares_the_stated_probability_with_the_share_within_a_factor_of_1_25() -> None:
    # Within 1.25 are the errors 0, 0.1 and 0.2. Stated: 0.82 for five pixels of which three are within, 0.05 for
    # five of which none is; by hand |0.82 - 0.6| / 2 + |0.05 - 0| / 2 = 0.135.
    stated = np.array([0.82] * 5 + [0.05] * 5)
    score = mean_confidence([frame_confidence(stated, PREDICTION, TARGET)])
    low, high = score.reliability
    assert (low.share, low.stated, low.within) == pytest.approx((0.5, 0.05, 0.0))
    assert (high.share, high.stated, high.within) == pytest.approx((0.5, 0.82, 0.6))
    assert score.expected_calibration_error == pytest.approx(0.135)


def test_a_certain_pixel_lies_in_the_last_bin() -> None:
    score = mean_confidence(
        [frame_confidence(np.array([1.0, 0.95]), np.array([10.0, 20.0]), np.array([10.0, 10.0]))]
    )
    assert [(b.share, b.within) for b in score.reliability] == [(1.0, 0.5)]


def test_sparsification_counts_frames_alike_and_reliability_counts_pixels() -> None:
    perfect = frame_confidence(np.full(30, 0.95), np.full(30, 10.0), np.full(30, 10.0))
    wrong = frame_confidence(np.full(10, 0.95), np.full(10, 20.0), np.full(10, 10.0))
    score = mean_confidence([perfect, wrong])
    assert score.random[0] == pytest.approx(0.5)
    assert score.reliability[0].within == pytest.approx(0.75)
    assert score.expected_calibration_error == pytest.approx(0.20)
