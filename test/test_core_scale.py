"""The scale of a depth: from a road of known height, from a made LiDAR, filtered over time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from roads import Road, noisy, see

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.lidar import LidarError
from recon3d_ros.core.lidar_scale import LidarScale
from recon3d_ros.core.mounting import Mounting
from recon3d_ros.core.pipeline import DepthFrame
from recon3d_ros.core.scale import GroundScale, ModelScale, ScaleEstimate, apply
from recon3d_ros.core.scale_filter import ScaleFilter

CAMERA = CameraModel(width=160, height=64, fx=95.0, fy=95.0, cx=75.5, cy=24.25)
HIDDEN = Road(boxes=((4.0, 12.0, -8.0, 8.0, 3.5),))
# p_camera = T @ p_lidar: the LiDAR stands where the camera does, x forward, y left, z up.
T_CAMERA_LIDAR = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])


def frame(depth: np.ndarray) -> DepthFrame:
    image = np.zeros((*depth.shape, 3), np.uint8)
    return DepthFrame(image, depth.astype(np.float32), None, CAMERA, {})


def road_frame(road: Road, factor: float, seed: int = 1) -> DepthFrame:
    """Returns what a network sees that says `factor` times the true depth, with 3 % noise."""
    return frame(noisy(see(road)[0], 0.03, seed)[..., 2] * factor)


def sweep_of(road: Road) -> np.ndarray:
    """Returns every fifth point that the camera sees, in the LiDAR's frame."""
    points, labels = see(road)
    x, y, z = points[labels > 0][::5].T
    return np.stack([z, -x, -y], axis=-1)


# Applying


def test_the_metric_depth_is_the_scale_times_the_depth_and_nan_and_inf_stay() -> None:
    depth = np.array([[2.0, np.nan], [np.inf, 10.0], [0.5, 80.0]], np.float32)
    metric = apply(depth, ScaleEstimate(1.5, 0.1, "ground"))
    assert metric.dtype == np.float32
    np.testing.assert_array_equal(metric, np.array([[3, np.nan], [np.inf, 15], [0.75, 120]], np.float32))


def test_the_model_s_scale_leaves_the_depth_as_it_is() -> None:
    estimate = ModelScale().update(road_frame(Road(), 2.0), 1.0)
    assert (estimate.scale, estimate.source, estimate.is_held) == (1.0, "model", False)


# From the road


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
def test_the_road_gives_the_scale_that_makes_its_height_right(factor: float) -> None:
    scale = GroundScale(Mounting.level(1.5))
    for k in range(10):
        estimate = scale.update(road_frame(Road(), factor, seed=k), 5.0 + 0.1 * k)
    assert estimate.scale == pytest.approx(1 / factor, rel=0.03)
    assert estimate.source == "ground"
    assert 0.0 < estimate.sigma < 0.05
    assert not estimate.is_held


def test_without_a_visible_road_the_last_scale_is_kept_and_said_so() -> None:
    scale = GroundScale(Mounting.level(1.5))
    for k in range(5):
        seen = scale.update(road_frame(Road(), 0.8), 0.1 * k)
    for k in range(5, 15):
        held = scale.update(road_frame(HIDDEN, 0.8), 0.1 * k)
    assert held.is_held and held.measured is None
    assert "level points" in held.reason
    assert held.scale == seen.scale
    assert held.sigma > seen.sigma
    assert not scale.update(road_frame(Road(), 0.8), 1.5).is_held


def test_braking_for_a_moment_moves_the_filtered_scale_less_than_the_measured_one() -> None:
    scale = GroundScale(Mounting.level(1.5))
    for k in range(20):
        scale.update(road_frame(Road(), 1.0, seed=k), 0.1 * k)
    estimate = scale.update(road_frame(Road(pitch=math.radians(-2.0)), 1.0), 2.0)
    assert estimate.measured is not None
    assert abs(math.log(estimate.scale)) < 0.5 * abs(math.log(estimate.measured))


# From a LiDAR


def test_a_lidar_gives_the_scale_of_what_it_sees() -> None:
    road = Road(boxes=((10.0, 14.0, -1.0, 1.0, 1.5),))
    scale = LidarScale(T_CAMERA_LIDAR)
    for k in range(10):
        scale.add_sweep(sweep_of(road), 3.0 + 0.1 * k)
        estimate = scale.update(road_frame(road, 0.75, seed=k), 3.02 + 0.1 * k)
    assert estimate.scale == pytest.approx(1 / 0.75, rel=0.01)
    assert (estimate.source, estimate.is_held) == ("lidar", False)


def test_a_lidar_that_stops_leaves_the_last_scale_with_the_reason() -> None:
    scale = LidarScale(T_CAMERA_LIDAR)
    assert scale.update(road_frame(Road(), 0.8), 1.0).reason == "no LiDAR sweep has come"
    scale.add_sweep(sweep_of(Road()), 1.1)
    seen = scale.update(road_frame(Road(), 0.8), 1.1)
    assert not scale.update(road_frame(Road(), 0.8), 1.2).is_held  # a sweep now and then is enough
    assert scale.update(road_frame(Road(), 0.8), 1.7).reason.endswith("0.60 s old")
    held = scale.update(road_frame(Road(), 0.8), 1.9)
    assert held.is_held and held.scale == seen.scale and held.sigma > seen.sigma
    assert held.reason == "the last LiDAR sweep that belongs to an image is 0.80 s old"


def test_a_sweep_that_comes_late_or_early_is_compared_with_the_image_of_its_time() -> None:
    late, early = LidarScale(T_CAMERA_LIDAR), LidarScale(T_CAMERA_LIDAR)
    early.add_sweep(sweep_of(Road()), 1.2)
    for stamp, factor in ((1.0, 0.5), (1.1, 0.7), (1.2, 0.8)):
        before = early.update(road_frame(Road(), factor), stamp)
        late.update(road_frame(Road(), factor), stamp)
    assert before.measured == pytest.approx(1 / 0.8, rel=0.01)
    late.add_sweep(sweep_of(Road()), 1.08)
    after = late.update(road_frame(Road(), 0.9), 1.3)
    assert after.measured == pytest.approx(1 / 0.7, rel=0.01)


def test_a_lidar_on_another_clock_is_said_so() -> None:
    for sweep_stamp, stamp in ((1.0, 1.7e9), (1.7e9, 1.0)):
        scale = LidarScale(T_CAMERA_LIDAR)
        scale.add_sweep(sweep_of(Road()), sweep_stamp)
        reason = scale.update(road_frame(Road(), 0.8), stamp).reason
        assert reason == "a LiDAR sweep is 1699999999.00 s from the nearest image"


def test_frames_that_jump_back_in_time_are_measured_again() -> None:
    scale = LidarScale(T_CAMERA_LIDAR)
    for stamp, factor in ((50.0, 0.5), (1.0, 0.8)):
        scale.add_sweep(sweep_of(Road()), stamp)
        estimate = scale.update(road_frame(Road(), factor), stamp)
    assert scale.update(road_frame(Road(), 0.8), 0.5).reason == "no LiDAR sweep has come since time jumped"
    assert estimate.scale == pytest.approx(1 / 0.8, rel=0.02)
    assert not estimate.is_held


def test_a_sweep_of_which_nothing_is_in_the_image_is_no_measurement() -> None:
    scale = LidarScale(T_CAMERA_LIDAR)
    scale.add_sweep(-sweep_of(Road()), 1.0)
    estimate = scale.update(road_frame(Road(), 0.8), 1.0)
    assert estimate.is_held and estimate.reason.startswith("0 LiDAR returns meet a depth")
    scale.add_sweep(np.full((200, 4), np.nan), 1.1)
    assert scale.update(road_frame(Road(), 0.8), 1.1).is_held


def test_returns_behind_what_the_camera_sees_do_not_count() -> None:
    """A LiDAR on the roof looks over the lorry at a far wall that the camera cannot see."""
    points, labels = see(HIDDEN)
    lorry = points[labels > 0]
    wall = lorry[lorry[:, 1] > -1.0] * 4.0  # the same pixels, four times as far; the lorry's top edge stays above
    both = np.concatenate([lorry, wall])
    scale = LidarScale(T_CAMERA_LIDAR)
    scale.add_sweep(np.stack([both[:, 2], -both[:, 0], -both[:, 1]], axis=-1), 1.0)
    estimate = scale.update(frame(points[..., 2]), 1.0)
    assert estimate.measured == pytest.approx(1.0, abs=0.01)


def test_a_transform_with_nan_is_refused() -> None:
    with pytest.raises(LidarError, match="finite 4x4"):
        LidarScale(np.full((4, 4), np.nan))


# Over time


def test_the_filter_is_steadier_than_its_measurements_and_follows_a_drift() -> None:
    rng = np.random.default_rng(3)
    steady = ScaleFilter()
    truth = 1.3 * np.exp(0.002 * np.arange(200))  # 2 % a second
    measured = truth * np.exp(rng.normal(scale=0.04, size=200))
    filtered = []
    for k, value in enumerate(measured):
        steady.predict(0.1 * k)
        steady.correct(float(value), 0.04)
        filtered.append(steady.state.scale)
    errors = np.log(np.array(filtered) / truth)[20:]
    assert np.std(np.diff(np.log(filtered[20:]))) < 0.4 * np.std(np.diff(np.log(measured[20:])))
    assert np.std(errors) < 0.025
    # Its own word on its error is true within a factor 1.6.
    assert 0.6 < np.sqrt(np.mean(errors**2)) / steady.state.sigma < 1.6


def test_an_outlier_is_left_out_and_a_lasting_change_is_believed_after_a_second() -> None:
    state = ScaleFilter(patience=1.0)
    for k in range(20):
        state.predict(0.1 * k)
        state.correct(1.0, 0.03)
    state.predict(2.0)
    assert not state.correct(1.6, 0.03)
    assert state.state.scale == pytest.approx(1.0, abs=0.001)
    used = []
    for k in range(1, 13):
        state.predict(2.0 + 0.1 * k)
        used.append(state.correct(1.6, 0.03))
    assert used.index(True) in (9, 10)
    assert state.state.scale == pytest.approx(1.6, rel=0.01)


@pytest.mark.parametrize("stamp", [3.0, 100.0])
def test_time_that_jumps_back_or_far_ahead_starts_the_filter_anew(stamp: float) -> None:
    state = ScaleFilter()
    state.predict(10.0)
    state.correct(1.5, 0.03)
    assert state.predict(stamp)
    assert state.state.scale == 1.0
    assert state.state.sigma == pytest.approx(0.3)
    assert state.correct(0.7, 0.03)


def test_a_measurement_needs_a_moment() -> None:
    with pytest.raises(ValueError, match="predict"):
        ScaleFilter().correct(1.0, 0.1)
