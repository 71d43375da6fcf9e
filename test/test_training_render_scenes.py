"""What the rendered streets hold: kinds, shares, vehicles and cameras, against hand-worked geometry and OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

pytest.importorskip("embreex", reason="embreex is not installed; see requirements/training.txt")
pytest.importorskip("trimesh", reason="trimesh is not installed; see requirements/training.txt")

from training.render.footprints import overlapping
from training.render.heavy import HEAVY
from training.render.mesh import Material
from training.render.plans import PLANS, TRAFFIC, random_kind, random_section, random_traffic
from training.render.raycast import Caster
from training.render.road import CrossSection, ground_mesh, make_path
from training.render.road_paint import add_road_paint
from training.render.scene import make_scene
from training.render.site import Site
from training.render.stock import make_stock
from training.render.sweep import wall_along
from training.render.traffic import VIEWED
from training.render.views import random_camera

WIDTH, HEIGHT = 160, 48
EMPTY_STREET = CrossSection(4.0, (), (), 0.0, (0, 0), (1, 1), (0, 0), (Material.GRASS, Material.GRASS))


def test_a_seed_gives_the_same_scene_and_its_things_do_not_depend_on_what_was_built_before():
    first = make_scene(41)
    make_stock.cache_clear()
    make_scene(977)
    again = make_scene(41)
    np.testing.assert_array_equal(first.mesh.points, again.mesh.points)
    np.testing.assert_array_equal(first.mesh.colour, again.mesh.colour)


@pytest.mark.parametrize("kind", list(PLANS))
def test_every_kind_of_street_builds_with_every_traffic_and_reaches_far(kind):
    for seed, traffic in enumerate(TRAFFIC):
        scene = make_scene(500 + seed, kind, traffic)
        points = scene.mesh.points
        assert (scene.kind, scene.traffic) == (kind, traffic)
        assert np.isfinite(points).all()
        assert np.isfinite(scene.mesh.normals).all()
        assert scene.path.s.max() >= 300 + 70, "a camera 70 m along the road must see it for 300 m more"
        slope = np.diff(scene.path.z) / np.diff(scene.path.s)
        assert np.abs(slope).max() < 0.061


def test_traffic_and_kinds_of_street_come_as_often_as_declared():
    rng = np.random.default_rng(3)
    drawn = [random_traffic(rng) for _ in range(4000)]
    for traffic, (share, kinds) in TRAFFIC.items():
        assert np.mean([name == traffic for name in drawn]) == pytest.approx(share, abs=0.03)
        streets = [random_kind(traffic, rng) for _ in range(2000)]
        for kind, expected in kinds.items():
            assert np.mean([name == kind for name in streets]) == pytest.approx(expected, abs=0.04)


def overlap_m2(a, b):
    """Returns the area that two footprints share, by OpenCV."""
    corners = [
        ((float(r[0]), float(r[1])), (float(2 * r[3]), float(2 * r[4])), float(np.degrees(r[2]))) for r in (a, b)
    ]
    _, shared = cv2.rotatedRectangleIntersection(*corners)
    return 0.0 if shared is None or len(shared) < 3 else cv2.contourArea(cv2.convexHull(shared))


def test_rectangles_overlap_where_opencv_says_so():
    rng = np.random.default_rng(0)
    rects = np.column_stack(
        [rng.uniform(-4, 4, (120, 2)), rng.uniform(-4, 4, 120), rng.uniform(0.3, 2.5, (120, 2))]
    )
    rects = rects.astype(np.float32)
    shared = np.array([overlap_m2(rects[0], other) for other in rects])
    clear = (shared == 0) | (shared > 1e-3)
    np.testing.assert_array_equal(overlapping(rects[0], rects)[clear], shared[clear] > 0)
    assert 20 < np.count_nonzero(shared) < 100


@pytest.mark.parametrize("kind", list(PLANS))
def test_the_ground_lies_where_things_are_placed_on_it(kind):
    rng = np.random.default_rng(8)
    section = random_section(kind, rng)
    site = Site(rng, make_path(rng, winding=0.4), section, make_stock(0))
    ground = Caster(ground_mesh(site.path, section, rng))
    gaps = []
    for s, side in zip(rng.uniform(-90, 190, 300), rng.uniform(-1, 1, 300), strict=True):
        spot, _ = site.pose(s, side * (section.half_road + 5))
        down = ground.cast(np.float32([spot]) + np.float32([0, 0, 3]), np.float32([[0, 0, -1]]))[0][0]
        gaps.append(abs(down - 3.0))
    # The edges of kerbs and crossing roads are allowed to differ.
    assert np.quantile(gaps, 0.9) < 0.01
    assert max(gaps) < 0.3


@dataclass(frozen=True)
class Seen:
    """What the tests below need of one scene: footprints, and for six cameras each the nearest thing, the height
    above the ground, and the sines of pitch and roll."""

    vehicles: np.ndarray
    nearest: list[float]
    heights: list[float]
    sines: list[tuple[float, float]]


@pytest.fixture(scope="module")
def seen():
    directions = np.random.default_rng(1).normal(size=(400, 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    result = []
    for seed in range(2000, 2010):
        scene = make_scene(seed)
        caster, rng = Caster(scene.mesh), np.random.default_rng(seed)
        nearest, heights, sines = [], [], []
        for _ in range(6):
            T = random_camera(scene, rng, width=WIDTH, height=HEIGHT).T_world_camera
            eye = np.tile(T[:3, 3].astype(np.float32), (400, 1))
            nearest.append(float(caster.cast(eye, directions)[0].min()))
            heights.append(float(caster.cast(eye[:1], np.float32([[0, 0, -1]]))[0][0]))
            sines.append((float(T[2, 2]), float(T[2, 0])))
        result.append(Seen(scene.vehicles, nearest, heights, sines))
    return result


def test_vehicles_never_overlap(seen):
    for number, scene in enumerate(seen):
        rects = scene.vehicles
        reach = np.hypot(rects[:, 3], rects[:, 4])
        apart = np.linalg.norm(rects[:, None, :2] - rects[None, :, :2], axis=2)
        for i, k in zip(*np.nonzero(np.triu(apart < reach[:, None] + reach[None], 1)), strict=True):
            # A car's drawbar reaches a little over its trailer's.
            assert overlap_m2(rects[i], rects[k]) < 0.3, (number, i, k)


def test_nothing_drives_in_the_own_lane_of_an_empty_road_for_60_m():
    for seed in range(3000, 3006):
        scene = make_scene(seed, "highway", "empty")
        ((lateral, direction),) = scene.lanes
        for start in (VIEWED[0], VIEWED[1]):
            ahead = np.array([scene.path.at(start + direction * step, lateral)[0][:2] for step in range(0, 58, 2)])
            distance = np.linalg.norm(scene.vehicles[None, :, :2] - ahead[:, None], axis=2)
            assert distance.min() > 1.6, "the middle of a vehicle in this lane would lie closer"


def test_cameras_stand_in_free_air_within_the_stated_heights_and_angles(seen):
    heights = np.array([h for scene in seen for h in scene.heights])
    pitch, roll = np.arcsin(np.array([pair for scene in seen for pair in scene.sines])).T
    steepest = np.arctan(0.061)
    assert min(min(scene.nearest) for scene in seen) > 0.3
    assert 0.35 < heights.min()
    assert heights.max() < 3.4
    assert np.mean((heights > 1.0) & (heights < 2.2)) > 0.7
    assert np.abs(pitch).max() < np.radians(6) + steepest
    assert np.abs(roll).max() < np.radians(3) + steepest


def test_a_quarter_of_the_views_look_sideways_or_backwards():
    scene, rng = make_scene(12, "highway", "empty"), np.random.default_rng(0)
    direction = scene.lanes[0][1]
    ahead = []
    for _ in range(300):
        forward = random_camera(scene, rng, width=WIDTH, height=HEIGHT).T_world_camera[:3, 2]
        ahead.append(forward[0] * direction > np.cos(np.radians(40)))
    bend = np.ptp(scene.path.heading[(scene.path.s > VIEWED[0]) & (scene.path.s < VIEWED[1])])
    assert bend < np.radians(15), "choose a seed whose road is straight where cameras stand"
    assert np.mean(ahead) == pytest.approx(0.75, abs=0.08)


@pytest.mark.parametrize("kind", list(HEAVY))
def test_heavy_vehicles_have_true_sizes_and_stand_on_the_ground(kind):
    rng = np.random.default_rng(7)
    for _ in range(6):
        corners = HEAVY[kind][1](rng).points.reshape(-1, 3)
        length, width, height = np.ptp(corners, axis=0)
        assert 3 < length < 17.5
        assert 1.8 < width < 3.3
        assert 2 < height < 5.2
        assert -0.1 < corners[:, 2].min() < 0.12


def test_a_swept_wall_stands_where_the_road_coordinates_say():
    path = make_path(np.random.default_rng(5), winding=0.9)
    wall = wall_along(path, EMPTY_STREET, (0.0, 80.0), 6.0, (0.4, 2.0), Material.CONCRETE, (0.3, 0.3, 0.3))
    ground, heading = path.at(40.0, 0.0)
    left = np.float32([[-np.sin(heading), np.cos(heading), 0.0]])
    eye = ground + np.float32([0, 0, 1.0])
    distance = Caster(wall).cast(eye[None].astype(np.float32), left)[0][0]
    assert distance == pytest.approx(5.8, abs=0.02)


def test_what_is_painted_on_the_road_lies_within_two_centimetres_of_it():
    rng = np.random.default_rng(2)
    section = random_section("city", rng)
    site = Site(rng, make_path(rng, winding=0.4), section, make_stock(0))
    ground = Caster(ground_mesh(site.path, section, rng))
    add_road_paint(site)
    spots = np.concatenate([part.points.mean(axis=1) for part in site.parts])
    down = np.tile(np.float32([[0, 0, -1]]), (len(spots), 1))
    above = ground.cast((spots + np.float32([0, 0, 1])).astype(np.float32), down)[0] - 1.0
    assert len(spots) > 20
    assert np.quantile(above, 0.98) < 0.02
    assert np.quantile(above, 0.02) > -0.002
