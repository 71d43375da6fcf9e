"""The street renderer against hand-worked geometry."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("embreex", reason="embreex is not installed; see requirements/training.txt")

from recon3d_ros.core.camera import CameraModel
from training.render import shards
from training.render.drive import depth_to_millimetres, drive_frames, write_drive
from training.render.frames import OpenScene
from training.render.image import render
from training.render.lighting import make_lighting
from training.render.mesh import Material, from_quads, merge
from training.render.pinhole import Pinhole
from training.render.raycast import Caster, cast_depth
from training.render.road import CrossSection
from training.render.shapes import box
from training.render.shards import ShardPlan, remove_partial, write_shard
from training.render.views import optical_pose, random_intrinsics

WIDTH, HEIGHT = 160, 48
K = np.array([[110.0, 0, 71.3], [0, 105.0, 20.6], [0, 0, 1]])
CAMERA_HEIGHT = 1.5
EMPTY_STREET = CrossSection(4.0, (), (), 0.0, (0, 0), (1, 1), (0, 0), (Material.GRASS, Material.GRASS))


def ground():
    corners = np.float32([[(-500, -500, 0), (500, -500, 0), (500, 500, 0), (-500, 500, 0)]])
    return from_quads(corners, corners[..., :2], Material.ROAD, (0.2, 0.2, 0.2))


def level_camera():
    return Pinhole(WIDTH, HEIGHT, K, optical_pose(np.array([0.0, 0.0, CAMERA_HEIGHT]), yaw=0.0))


def test_depth_of_flat_ground_is_the_camera_height_over_the_slope_of_the_ray():
    depth = cast_depth(Caster(ground()), level_camera())
    for v in (25, 33, 47):
        np.testing.assert_allclose(depth[v], 105.0 * CAMERA_HEIGHT / (v - 20.6), rtol=1e-4)


def test_nothing_hit_is_infinitely_far():
    depth = cast_depth(Caster(ground()), level_camera())
    assert np.isinf(depth[:20]).all()
    assert np.isfinite(depth[22:]).all()


def test_a_box_ahead_has_the_depth_of_its_face_and_edges_where_its_corners_project():
    scene = merge([ground(), box((2.0, 3.0, 2.2), Material.PAINT, (0.5, 0.1, 0.1), centre=(11.0, 1.0, 0.0))])
    depth = cast_depth(Caster(scene), level_camera())
    # The face is 10 m away, from y = -0.5 to 2.5 (left is positive), z = 0 to 2.2.
    camera = CameraModel(WIDTH, HEIGHT, fx=110.0, fy=105.0, cx=71.3, cy=20.6)
    left, top = camera.project(np.array([[-2.5, CAMERA_HEIGHT - 2.2, 10.0]]))[0]
    right, bottom = camera.project(np.array([[0.5, CAMERA_HEIGHT, 10.0]]))[0]
    rows, columns = np.nonzero(np.isclose(depth, 10.0, atol=1e-3))
    assert (columns.min(), columns.max()) == (np.ceil(left), np.floor(right))
    assert (rows.min(), rows.max()) == (np.ceil(top), np.floor(bottom))


def test_pitch_down_brings_the_ground_to_the_hand_worked_depth():
    eye = np.array([0.0, 0.0, CAMERA_HEIGHT])
    depth = cast_depth(Caster(ground()), Pinhole(WIDTH, HEIGHT, K, optical_pose(eye, yaw=0.3, pitch=0.05)))
    # The ray (0, y, 1) of the camera sinks by y cos(pitch) + sin(pitch) for each metre of depth.
    sink = (21 - 20.6) / 105.0 * np.cos(0.05) + np.sin(0.05)
    assert depth[21, 71] == pytest.approx(CAMERA_HEIGHT / sink, rel=1e-4)


def test_roll_clockwise_shows_more_ground_on_the_right():
    eye = np.array([0.0, 0.0, CAMERA_HEIGHT])
    depth = cast_depth(Caster(ground()), Pinhole(WIDTH, HEIGHT, K, optical_pose(eye, yaw=0.0, roll=0.1)))
    assert np.isinf(depth[:, -1]).sum() < np.isinf(depth[:, 0]).sum()


def test_a_box_shades_the_ground_beside_it_from_the_sun():
    sun = np.float32([0.0, 0.7071, 0.7071])  # from the left, 45 degrees up
    lighting = replace(
        make_lighting(np.random.default_rng(1)), sun_direction=sun, sun=np.float32([3, 3, 3]), haze=0.0
    )
    street = merge([ground(), box((2.0, 1.0, 2.2), Material.CONCRETE, (0.3, 0.3, 0.3), centre=(11.0, 1.0, 0.0))])
    rng = np.random.default_rng(0)
    radiance, _ = render(Caster(street), level_camera(), EMPTY_STREET, lighting, rng)
    camera = CameraModel(WIDTH, HEIGHT, fx=110.0, fy=105.0, cx=71.3, cy=20.6)
    # Ground 11 m ahead: in the shadow 1 m to the right of the box's side (y = -0.5), in the sun 4 m to its left.
    (u, v), (u_lit, v_lit) = camera.project(np.array([[0.5, CAMERA_HEIGHT, 11.0], [-5.5, CAMERA_HEIGHT, 11.0]]))
    shadow = radiance[round(v), round(u)].mean()
    assert shadow < 0.6 * radiance[round(v_lit), round(u_lit)].mean()


def test_one_seed_gives_the_same_frames_and_another_seed_others():
    first, again, other = (OpenScene(seed, width=WIDTH, height=HEIGHT).frame(0) for seed in (5, 5, 6))
    for name in ("image", "depth", "K"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.image, other.image)


def test_intrinsics_stay_within_the_stated_lenses():
    rng = np.random.default_rng(0)
    sampled = np.stack([random_intrinsics(rng, width=640, height=192) for _ in range(300)])
    view = 2 * np.degrees(np.arctan(320 / sampled[:, 0, 0]))
    assert view.min() > 34.9
    assert view.max() < 120.1
    assert np.mean((view > 50) & (view < 100)) > 0.75
    assert np.abs(sampled[:, 0, 2] - 319.5).max() <= 64


def test_shards_are_whole_of_the_stated_types_and_kept_when_run_again(tmp_path):
    plan = ShardPlan(tmp_path, WIDTH, HEIGHT, seed=3, frames_a_shard=2)
    assert write_shard(plan, 0) > 0
    folder = tmp_path / "shard_00000"
    assert [path.name for path in tmp_path.iterdir()] == ["shard_00000"]
    images, depths, intrinsics = (np.load(folder / f"{name}.npy") for name in ("images", "depths", "K"))
    assert (images.shape, images.dtype) == ((2, HEIGHT, WIDTH, 3), np.uint8)
    assert (depths.shape, depths.dtype) == ((2, HEIGHT, WIDTH), np.float16)
    assert (intrinsics.shape, intrinsics.dtype) == ((2, 3, 3), np.float32)
    written = (folder / "images.npy").stat().st_mtime_ns
    assert write_shard(plan, 0) == 0.0
    assert (folder / "images.npy").stat().st_mtime_ns == written


def test_a_shard_that_another_process_finishes_meanwhile_is_left_as_it_is(tmp_path, monkeypatch):
    plan, frames = ShardPlan(tmp_path, WIDTH, HEIGHT, seed=3, frames_a_shard=1), shards.scene_frames

    def overtaken(*args, **options):
        (tmp_path / "shard_00000").mkdir()
        (tmp_path / "shard_00000" / "images.npy").write_bytes(b"of the other process")
        return frames(*args, **options)

    monkeypatch.setattr(shards, "scene_frames", overtaken)
    write_shard(plan, 0)
    assert [path.name for path in tmp_path.rglob("*")] == ["shard_00000", "images.npy"]
    assert (tmp_path / "shard_00000" / "images.npy").read_bytes() == b"of the other process"


def test_a_stopped_worker_removes_its_own_partial_shard_only(tmp_path):
    for name in (f".shard_00002.{os.getpid()}", ".shard_00003.1", "shard_00001"):
        (tmp_path / name).mkdir()
    remove_partial(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".shard_00003.1", "shard_00001"]


@pytest.mark.parametrize("option", ["--workers=0", "--frames=0", "--width=8", "--seed=-1"])
def test_an_option_of_the_shards_that_cannot_be_is_told(tmp_path, monkeypatch, capsys, option):
    monkeypatch.setattr("sys.argv", ["shards", str(tmp_path / "out"), option])
    with pytest.raises(SystemExit):
        shards.main()
    assert f"{option.split('=')[0]} {option.split('=')[1]}: give" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_points_of_one_drive_frame_lie_where_the_next_frame_sees_them():
    first, second = drive_frames(0, 2, width=320, height=180)
    H, W = first.depth.shape
    camera = CameraModel(320, 180, *(first.camera.K[i] for i in ((0, 0), (1, 1), (0, 2), (1, 2))))
    half = camera.resized(width=W, height=H)
    motion = np.linalg.inv(second.camera.T_world_camera) @ first.camera.T_world_camera
    v, u = np.nonzero(np.isfinite(first.depth) & (first.depth < 40))
    points = (
        np.stack([(u - half.cx) / half.fx, (v - half.cy) / half.fy, np.ones(len(u))], 1) * first.depth[v, u, None]
    )
    moved = points @ motion[:3, :3].T + motion[:3, 3]
    assert 0.7 < np.linalg.norm(motion[:3, 3]) < 0.9
    x, y = np.rint(half.project(moved)).astype(int).T
    seen = (moved[:, 2] > 0.5) & (x >= 0) & (x < W) & (y >= 0) & (y < H)
    error = np.abs(second.depth[y[seen], x[seen]] - moved[seen, 2]) / moved[seen, 2]
    # The rest is what moves, what gets hidden, and leaves.
    assert np.median(error) < 0.01
    assert np.mean(error < 0.03) > 0.75


def test_a_written_drive_has_the_layout_that_the_tools_read(tmp_path):
    write_drive(tmp_path, frames=1, width=160, height=90, seed=0)
    calibration = json.loads((tmp_path / "calibration.json").read_text())
    assert (calibration["width"], calibration["height"], calibration["rate_hz"]) == (160, 90, 10.0)
    assert cv2.imread(str(tmp_path / "image" / "000000.jpg")).shape == (90, 160, 3)
    depth = cv2.imread(str(tmp_path / "depth" / "000000.png"), cv2.IMREAD_UNCHANGED)
    assert (depth.shape, depth.dtype) == ((45, 80), np.uint16)
    assert np.loadtxt(tmp_path / "poses.txt").reshape(-1, 12).shape == (1, 12)


def test_depth_that_does_not_fit_into_16_bits_is_stored_as_invalid():
    depth = np.float32([[1.2345, np.inf, 65.6, np.nan]])
    np.testing.assert_array_equal(depth_to_millimetres(depth), [[1234, 0, 0, 0]])
