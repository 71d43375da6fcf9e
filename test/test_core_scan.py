"""Laser scans and clearing points out of made scenes whose walls are known."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from road_scenes import Box, mounting, road_depth

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.clearing import clearing_points
from recon3d_ros.core.scan import Scan, ScanError, ScanMaker, ScanOptions

CAMERA = CameraModel(width=320, height=120, fx=180.0, fy=185.0, cx=150.5, cy=52.25)
LEVEL = mounting(0.0, 0.0, 1.5)
OPTIONS = ScanOptions(min_height=0.3, max_height=2.0, min_range=0.5, max_range=25.0)


def scan_of(*boxes: Box, T: npt.NDArray[np.float64] = LEVEL, options: ScanOptions = OPTIONS) -> Scan:
    return ScanMaker(options)(road_depth(CAMERA, T, boxes), CAMERA, T)


def angles(scan: Scan) -> npt.NDArray[np.float64]:
    return scan.angle_min + scan.angle_increment * np.arange(len(scan.ranges))


def columns_azimuths() -> npt.NDArray[np.float64]:
    """Azimuths of a level camera's columns, leftmost first: positive to the left."""
    return -np.arctan((np.arange(CAMERA.width) - CAMERA.cx) / CAMERA.fx)


def test_an_empty_road_is_free_in_every_beam_and_the_beams_span_the_field_of_view() -> None:
    scan = scan_of()
    assert np.isposinf(scan.ranges).all()
    azimuths = columns_azimuths()
    assert scan.angle_min == pytest.approx(azimuths.min(), abs=scan.angle_increment)
    assert scan.angle_max == pytest.approx(azimuths.max(), abs=scan.angle_increment)
    assert scan.angle_max == pytest.approx(angles(scan)[-1])
    assert scan.ranges.dtype == np.float32


@pytest.mark.parametrize(
    "T",
    [
        LEVEL,
        mounting(0.0, 0.0, 1.5, pitch=6.0, roll=4.0),
        mounting(1.2, 0.3, 1.6, yaw=8.0, pitch=3.0),
        mounting(-1.0, -0.4, 1.2, yaw=-12.0),
    ],
    ids=["level", "pitched and rolled", "ahead of the base", "behind the base"],
)
def test_a_wall_across_the_road_has_its_exact_distance_in_every_beam(T: npt.NDArray[np.float64]) -> None:
    wall = (10.0, -60.0, 0.0, 10.5, 60.0, 6.0)
    scan = scan_of(wall, T=T)
    # Where the wall is seen within the band, by the corners of the image's pixels at it.
    points = CAMERA.rays() * road_depth(CAMERA, T, (wall,))[..., None] @ T[:3, :3].T + T[:3, 3]
    seen = points[np.isclose(points[..., 0], 10.0, atol=1e-3) & (points[..., 2] > 0.3) & (points[..., 2] < 2.0)]
    azimuths = np.arctan2(seen[:, 1], seen[:, 0])
    step = scan.angle_increment
    is_seen = (angles(scan) > azimuths.min() - step / 2) & (angles(scan) < azimuths.max() + step / 2)
    assert is_seen.sum() > 0.8 * len(scan.ranges)
    ranges, beams = scan.ranges[is_seen], np.abs(angles(scan)[is_seen])
    # A beam holds the nearest point of the columns that it overlaps: half a beam and a column to the side.
    assert (ranges <= 10.0 / np.cos(beams + step / 2) * (1 + 1e-5)).all()
    assert (ranges >= 10.0 / np.cos(np.maximum(beams - 1.5 * step, 0)) * (1 - 1e-5)).all()


def test_a_post_is_in_the_beams_of_the_columns_that_show_it_wide_off_the_axis_too() -> None:
    for azimuth in (-0.65, -0.2, 0.0, 0.35, 0.6):
        x, y = 8 * math.cos(azimuth), 8 * math.sin(azimuth)
        scan = scan_of((x - 0.15, y - 0.15, 0.0, x + 0.15, y + 0.15, 1.8))
        hits = angles(scan)[np.isfinite(scan.ranges)]
        assert 1 <= len(hits) <= 12
        # Half of the post's diagonal seen from 8 m, half a column and half a beam.
        assert np.abs(hits - azimuth).max() < 0.2122 / 7.8 + scan.angle_increment
        assert np.abs(hits.mean() - azimuth) < scan.angle_increment
        assert np.nanmin(scan.ranges) == pytest.approx(7.9, abs=0.12)
        assert not np.isnan(scan.ranges).any()


def test_a_range_is_the_horizontal_distance_and_not_the_depth() -> None:
    scan = scan_of((4.0, 2.5, 0.0, 4.2, 2.7, 2.0))  # its nearest corner: 4, 2.5
    assert np.nanmin(scan.ranges) == pytest.approx(math.hypot(4.0, 2.5), rel=0.02)


def test_what_is_below_or_above_the_band_is_no_obstacle() -> None:
    kerb, bridge = (6.0, -4.0, 0.0, 12.0, 4.0, 0.25), (9.0, -40.0, 2.2, 12.0, 40.0, 4.0)
    assert np.isposinf(scan_of(kerb).ranges).all()
    assert np.isposinf(scan_of(bridge).ranges).all()
    assert np.isfinite(scan_of((6.0, -40.0, 0.0, 12.0, 40.0, 0.35)).ranges).all()


def test_an_obstacle_beyond_the_range_leaves_the_view_free() -> None:
    assert np.isposinf(scan_of((25.5, -60.0, 0.0, 26.0, 60.0, 5.0)).ranges).all()


def test_unknown_depth_is_nan_and_only_in_its_columns() -> None:
    depth = road_depth(CAMERA, LEVEL)
    depth[:, 100:140] = np.nan
    scan = ScanMaker(OPTIONS)(depth, CAMERA, LEVEL)
    azimuths = columns_azimuths()
    is_inside = (angles(scan) < azimuths[102]) & (angles(scan) > azimuths[137])
    is_outside = (angles(scan) > azimuths[97]) | (angles(scan) < azimuths[142])
    assert np.isnan(scan.ranges[is_inside]).all()
    assert np.isposinf(scan.ranges[is_outside]).all()


def test_no_depth_at_all_is_unknown() -> None:
    scan = ScanMaker(OPTIONS)(np.full((120, 320), np.nan, dtype=np.float32), CAMERA, LEVEL)
    assert np.isnan(scan.ranges).all()


def test_sky_alone_is_free() -> None:
    scan = ScanMaker(OPTIONS)(np.full((120, 320), np.inf, dtype=np.float32), CAMERA, LEVEL)
    assert np.isposinf(scan.ranges).all()


def test_an_obstacle_nearer_than_the_range_hides_what_is_behind_and_leaves_it_unknown() -> None:
    options = ScanOptions(min_height=0.3, max_height=2.0, min_range=3.0, max_range=25.0)
    wall_behind = (10.0, -60.0, 0.0, 10.5, 60.0, 6.0)
    scan = scan_of((2.0, -9.0, 0.0, 2.2, 9.0, 3.0), wall_behind, options=options)
    ahead = np.abs(angles(scan)) < 0.5
    assert np.isnan(scan.ranges[ahead]).all()


def test_a_camera_that_looks_down_does_not_claim_a_free_view_that_it_does_not_have() -> None:
    T = mounting(0.0, 0.0, 1.5, pitch=50.0)
    assert np.isnan(scan_of(T=T).ranges).all()
    scan = scan_of((1.5, -0.4, 0.0, 2.0, 0.4, 0.5), T=T)
    assert np.nanmin(scan.ranges) == pytest.approx(1.5, abs=0.02)


def test_a_camera_whose_image_reaches_behind_the_point_below_it_sees_around_itself() -> None:
    scan = scan_of((-0.9, -0.1, 0.0, -0.6, 0.1, 1.0), T=mounting(0.0, 0.0, 5.0, pitch=82.0))
    assert scan.angle_max - scan.angle_min == pytest.approx(2 * math.pi, abs=0.05)
    hits = angles(scan)[np.isfinite(scan.ranges)]
    assert np.nanmin(scan.ranges) == pytest.approx(0.6, abs=0.03)
    assert (np.abs(np.abs(hits) - math.pi) < 0.3).all()


def test_a_camera_that_looks_back_gives_a_scan_across_the_seam() -> None:
    T = mounting(-0.5, 0.0, 1.5, yaw=180.0)
    scan = scan_of((-9.0, -60.0, 0.0, -8.0, 60.0, 6.0), T=T)
    assert scan.angle_min < math.pi < scan.angle_max
    middle = np.abs(angles(scan) - math.pi) < 0.3
    expected = 8.0 / np.abs(np.cos(angles(scan)))
    np.testing.assert_allclose(scan.ranges[middle], expected[middle], rtol=0.005)


def test_beams_finer_than_the_columns_have_no_gaps_in_an_obstacle() -> None:
    options = ScanOptions(max_range=25.0, angle_increment=0.001)
    scan = scan_of((10.0, -60.0, 0.0, 10.5, 60.0, 6.0), options=options)
    assert scan.angle_increment == 0.001
    assert np.isfinite(scan.ranges[5:-5]).all()
    assert np.isposinf(scan_of(options=options).ranges[5:-5]).all()


def test_a_new_calibration_or_mounting_is_followed() -> None:
    maker = ScanMaker(OPTIONS)
    wall = ((10.0, -60.0, 0.0, 10.5, 60.0, 6.0),)
    other = CameraModel(width=320, height=120, fx=120.0, fy=120.0, cx=170.0, cy=60.0)
    for camera, x in ((CAMERA, 0.0), (CAMERA, 2.0), (other, 2.0), (CAMERA, 0.0)):
        T = mounting(x, 0.0, 1.5)
        ranges = maker(road_depth(camera, T, wall), camera, T).ranges
        assert np.nanmin(ranges) == pytest.approx(10.0, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"min_height": 2.0, "max_height": 2.0}, "height band"),
        ({"min_range": 5.0, "max_range": 4.0}, "range"),
        ({"max_range": math.inf}, "range"),
        ({"min_height": math.nan}, "height band"),
        ({"angle_increment": -0.1}, "angle_increment"),
    ],
)
def test_options_that_no_scan_has_are_refused(options: dict[str, float], reason: str) -> None:
    with pytest.raises(ScanError, match=reason):
        ScanOptions(**options)


def test_a_camera_that_cannot_give_a_scan_is_refused_with_the_reason() -> None:
    with pytest.raises(ScanError, match="straight up or down"):
        scan_of(T=mounting(0.0, 0.0, 1.5, pitch=90.0))
    with pytest.raises(ScanError, match="beyond the scan's max_range"):
        scan_of(T=mounting(40.0, 0.0, 1.5))


def test_clearing_points_lie_at_the_range_on_the_rays_that_see_nothing_nearer() -> None:
    depth = road_depth(CAMERA, LEVEL, ((10.0, -1.0, 0.0, 10.5, 1.0, 6.0),))
    depth[10, 20] = np.nan
    points = clearing_points(depth, CAMERA.rays(), max_range=25.0)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 25.0, rtol=1e-5)
    distance = depth * np.linalg.norm(CAMERA.rays(), axis=-1)
    pixels = np.rint(CAMERA.project(points)).astype(int)
    expected = np.argwhere(distance >= 25.0)[:, ::-1]
    np.testing.assert_array_equal(pixels, expected)


def test_clearing_points_outside_the_height_band_are_left_out() -> None:
    T = mounting(1.0, 0.5, 1.4, pitch=5.0)
    depth = road_depth(CAMERA, T)
    whole = clearing_points(depth, CAMERA.rays(), max_range=20.0)
    band = clearing_points(depth, CAMERA.rays(), max_range=20.0, T_base_camera=T, min_height=0.1, max_height=1.8)
    heights = whole @ T[2, :3] + T[2, 3]
    assert 0 < len(band) < len(whole)
    np.testing.assert_array_equal(band, whole[(heights >= 0.1) & (heights <= 1.8)])
    with pytest.raises(ValueError, match="T_base_camera"):
        clearing_points(depth, CAMERA.rays(), max_range=20.0, min_height=0.1, max_height=1.8)
