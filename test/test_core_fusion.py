"""The volume against a ball whose surface is known, and against Open3D's own older volume."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from posed_scenes import CENTER, COLOR, HEIGHT, RADIUS, WIDTH, K, around, ball_depth, open3d_or_skip

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.fusion import Volume
from recon3d_ros.core.fusion_mesh import extract_mesh, make_solid
from recon3d_ros.core.fusion_plan import make_plan, median_depth, suggest_voxel
from recon3d_ros.core.fusion_settings import FusionError, FusionSettings, PosedDepth
from recon3d_ros.core.mesh import count_edges
from recon3d_ros.core.poses import PoseError

o3d = open3d_or_skip()
trimesh = pytest.importorskip("trimesh", reason="trimesh judges the meshes")

CAMERA = CameraModel.from_calibration(width=WIDTH, height=HEIGHT, K=K)
COLORS = np.full((HEIGHT, WIDTH, 3), COLOR, dtype=np.uint8)
SETTINGS = FusionSettings(voxel=0.02, max_depth=3.0)


def frames(count: int = 24) -> list[PosedDepth]:
    return [PosedDepth(ball_depth(pose), CAMERA, pose, COLORS) for pose in around(count)]


def fused(settings: FusionSettings = SETTINGS, count: int = 24, expected_blocks: int = 300) -> Volume:
    volume = Volume(settings, expected_blocks=expected_blocks)
    for frame in frames(count):
        volume.add(frame)
    return volume


def distances(points: np.ndarray) -> np.ndarray:
    """Returns how far points are outside of the ball, metres."""
    return np.linalg.norm(points - CENTER, axis=1) - RADIUS


def test_the_mesh_lies_on_the_true_surface_and_has_its_colour() -> None:
    mesh = extract_mesh(fused())
    error = np.abs(distances(mesh.vertices))
    assert np.median(error) < 0.2 * SETTINGS.voxel
    assert error.max() < SETTINGS.voxel
    assert (mesh.colors == COLOR).all()
    outward = (mesh.vertices - CENTER) / np.linalg.norm(mesh.vertices - CENTER, axis=1, keepdims=True)
    assert (mesh.normals * outward).sum(axis=1).min() > 0.8


def test_a_ball_seen_all_around_is_closed_and_has_its_volume() -> None:
    mesh = extract_mesh(fused(FusionSettings(voxel=0.01, max_depth=3.0)), min_views=1)
    assert count_edges(mesh.triangles).is_watertight
    judge = trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False)
    assert judge.is_watertight
    assert judge.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.02)


def test_finer_voxels_come_nearer_to_the_surface() -> None:
    coarse, fine = (
        np.median(np.abs(distances(extract_mesh(fused(replace(SETTINGS, voxel=voxel))).vertices)))
        for voxel in (0.04, 0.01)
    )
    assert fine < 0.5 * coarse


def test_the_surface_is_that_of_open3ds_dense_volume() -> None:
    other = o3d.pipelines.integration.UniformTSDFVolume(
        length=1.2,
        resolution=60,
        sdf_trunc=SETTINGS.truncation,
        color_type=o3d.pipelines.integration.TSDFVolumeColorType.NoColor,
        origin=CENTER - 0.6,
    )
    intrinsic = o3d.camera.PinholeCameraIntrinsic(WIDTH, HEIGHT, K)
    color = o3d.geometry.Image(COLORS)
    for frame in frames():
        depth = o3d.geometry.Image(np.nan_to_num(frame.depth))
        image = o3d.geometry.RGBDImage.create_from_color_and_depth(
            color, depth, depth_scale=1.0, depth_trunc=SETTINGS.max_depth, convert_rgb_to_intensity=False
        )
        other.integrate(image, intrinsic, np.linalg.inv(frame.T_world_camera))
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(other.extract_triangle_mesh()))
    ours = extract_mesh(fused(), min_views=1)
    apart = scene.compute_distance(o3d.core.Tensor(ours.vertices)).numpy()
    assert np.percentile(apart, 95) < 0.5 * SETTINGS.voxel


def test_part_of_a_ball_has_free_edges_and_its_solid_has_none_and_the_same_front() -> None:
    half = Volume(SETTINGS)
    for frame in [frame for frame in frames() if frame.T_world_camera[2, 3] > CENTER[2] + 0.8]:
        half.add(frame)
    surface = extract_mesh(half, min_views=1)
    assert count_edges(surface.triangles).free > 100
    make_solid(half, min_views=1)
    solid = extract_mesh(half, min_views=1)
    assert count_edges(solid.triangles).is_watertight
    assert trimesh.Trimesh(solid.vertices, solid.triangles, process=False).is_winding_consistent
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(solid.vertices), o3d.core.Tensor(solid.triangles.astype(np.uint32)))
    apart = scene.compute_distance(o3d.core.Tensor(surface.vertices)).numpy()
    assert np.percentile(apart, 95) < 0.1 * SETTINGS.voxel
    assert distances(solid.vertices).min() > -1.5 * SETTINGS.truncation


def test_a_hole_is_closed_up_to_the_radius_asked_for() -> None:
    top = CENTER + np.array([0.0, 0.0, RADIUS])
    volume = Volume(SETTINGS)
    for frame in frames():
        rays = frame.camera.rays() * frame.depth[..., None]
        world = rays @ frame.T_world_camera[:3, :3].T + frame.T_world_camera[:3, 3]
        is_hole = np.linalg.norm(world - top, axis=-1) < 0.1
        volume.add(replace(frame, depth=np.where(is_hole, np.float32(np.nan), frame.depth)))
    assert count_edges(extract_mesh(volume).triangles).free > 10
    assert count_edges(extract_mesh(volume, fill_holes=0.5).triangles).is_watertight


def test_a_pixel_weighs_as_much_as_its_confidence() -> None:
    # Two frames of one view disagree by 4 cm; the mean is drawn to the surer one by the ratio of their weights.
    pose = around(3)[0]
    near, far = ball_depth(pose), ball_depth(pose) + np.float32(0.04)
    volume = Volume(replace(SETTINGS, confidence_levels=4))
    for depth, confidence in ((near, 1.0), (far, 0.25)):
        sure = np.full(depth.shape, confidence, np.float32)
        volume.add(PosedDepth(depth, CAMERA, pose, confidence=sure))
    points, colors = volume.points(min_views=1)
    assert colors is None
    seen = (points - pose[:3, 3]) @ pose[:3, :3]
    pixels = np.rint(CAMERA.project(seen)).astype(int)
    is_central = np.linalg.norm(pixels - [66, 47], axis=1) < 8
    offset = seen[is_central, 2] - near[pixels[is_central, 1], pixels[is_central, 0]]
    assert np.median(offset) == pytest.approx(0.04 * 0.25 / 1.25, abs=0.002)


def test_unsure_pixels_are_left_out() -> None:
    pose = around(3)[0]
    sure = np.where(np.arange(WIDTH) < WIDTH // 2, 0.9, 0.1).astype(np.float32) * np.ones((HEIGHT, 1), np.float32)
    volume = Volume(SETTINGS)
    volume.add(PosedDepth(ball_depth(pose), CAMERA, pose, confidence=sure))
    points, _ = volume.points(min_views=1)
    columns = CAMERA.project((points - pose[:3, 3]) @ pose[:3, :3])[:, 0]
    assert len(points) and columns.max() < WIDTH // 2 + 1


def test_specks_and_smaller_parts_are_left_out() -> None:
    volume = fused()
    shift = np.eye(4)
    shift[:3, 3] = [0.0, 3.0, 0.0]
    for frame in frames():
        speck = np.full_like(frame.depth, np.nan)
        speck[44:50, 64:70] = frame.depth[44:50, 64:70]
        volume.add(PosedDepth(speck, CAMERA, shift @ frame.T_world_camera, COLORS))
    everything = extract_mesh(volume, min_triangles=1, min_views=1)
    assert everything.vertices[:, 1].max() > 0
    assert extract_mesh(volume, min_triangles=2000, min_views=1).vertices[:, 1].max() < 0
    assert extract_mesh(volume, parts=1, min_triangles=1, min_views=1).vertices[:, 1].max() < 0


def test_blocks_far_from_the_vehicle_are_forgotten_and_start_anew_when_seen_again() -> None:
    volume = fused()
    before = volume.points(min_views=3)[0]
    volume.forget_beyond(CENTER + np.array([0.0, 0.0, 10.0]), 5.0)
    assert volume.blocks == 0 and len(volume.points(min_views=1)[0]) == 0
    for frame in frames()[:2]:
        volume.add(frame)
    assert len(volume.points(min_views=3)[0]) == 0
    for frame in frames()[2:]:
        volume.add(frame)
    assert len(volume.points(min_views=3)[0]) == len(before)


@pytest.mark.parametrize("is_limited", [False, True])
def test_what_changes_shows_once_old_views_weigh_less(is_limited: bool) -> None:
    pose = around(3)[0]
    volume = Volume(SETTINGS)
    for _ in range(40):
        volume.add(PosedDepth(ball_depth(pose), CAMERA, pose))
    if is_limited:
        volume.limit_views(2)
    for _ in range(8):
        volume.add(PosedDepth(ball_depth(pose) + np.float32(0.03), CAMERA, pose))
    points, _ = volume.points(min_views=1)
    seen = (points - pose[:3, 3]) @ pose[:3, :3]
    pixels = np.rint(CAMERA.project(seen)).astype(int)
    is_central = np.linalg.norm(pixels - [66, 47], axis=1) < 8
    moved = np.median(seen[is_central, 2] - ball_depth(pose)[pixels[is_central, 1], pixels[is_central, 0]])
    assert moved == pytest.approx(0.03 * (8 / 10 if is_limited else 8 / 48), abs=0.002)


def test_a_pose_too_far_away_for_float32_is_refused() -> None:
    pose = around(3)[0].copy()
    pose[0, 3] += 500_000.0  # as UTM has it
    with pytest.raises(FusionError, match="its pose is 500 km from the world's origin"):
        Volume(SETTINGS).add(PosedDepth(ball_depth(around(3)[0]), CAMERA, pose))


def test_the_plan_expects_about_what_the_fusion_takes() -> None:
    all_frames = frames(60)
    plan = make_plan(all_frames[::6], frames=60, settings=SETTINGS)
    taken = fused(count=60).blocks
    assert taken <= plan.blocks < 2 * taken


def test_a_volume_that_does_not_fit_is_refused_with_a_voxel_that_fits() -> None:
    tight = replace(SETTINGS, voxel=0.002, memory_mb=20)
    with pytest.raises(FusionError, match=r"a voxel of 0\.002 m .* over the limit of 20 MB") as caught:
        make_plan(frames()[::3], frames=24, settings=tight)
    voxel = float(str(caught.value).split("MB; ")[1].split()[0])
    assert make_plan(frames()[::3], frames=24, settings=replace(tight, voxel=voxel)).memory_bytes < 20e6
    assert fused(replace(tight, voxel=voxel)).memory_bytes < 20e6


def test_a_volume_never_outgrows_its_memory() -> None:
    with pytest.raises(FusionError, match="should fit"):
        fused(replace(SETTINGS, voxel=0.002, memory_mb=20), expected_blocks=10)


@pytest.mark.parametrize("changes", [{"voxel": 0.0}, {"max_depth": np.nan}, {"truncation_voxels": 1.0}])
def test_settings_that_cannot_be_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(FusionError, match=f"{next(iter(changes))} is .*, expected"):
        replace(SETTINGS, **changes)


def test_cuda_is_refused_where_there_is_none() -> None:
    if o3d.core.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(FusionError, match="finds no CUDA"):
        Volume(replace(SETTINGS, device="cuda"))


def test_frames_that_do_not_fit_their_camera_or_pose_are_refused() -> None:
    frame = frames(3)[0]
    volume = Volume(SETTINGS)
    with pytest.raises(FusionError, match="depth is 140x50, its camera 140x90"):
        volume.add(replace(frame, depth=frame.depth[:50]))
    with pytest.raises(PoseError, match="its pose: is not rigid"):
        volume.add(replace(frame, T_world_camera=frame.T_world_camera @ np.diag([2, 2, 2, 1])))
    distorted = replace(CAMERA, distortion_model="plumb_bob", distortion=(0.1, 0, 0, 0))
    with pytest.raises(FusionError, match="lens distortion"):
        volume.add(replace(frame, camera=distorted))


def test_frames_without_depth_leave_no_surface_and_the_reason() -> None:
    volume = Volume(SETTINGS)
    volume.add(PosedDepth(np.full((HEIGHT, WIDTH), np.inf, np.float32), CAMERA, np.eye(4)))
    assert volume.blocks == 0
    with pytest.raises(FusionError, match="of 0 triangles seen 3 times"):
        extract_mesh(volume)
    with pytest.raises(FusionError, match="have no depth at all"):
        median_depth([PosedDepth(np.full((HEIGHT, WIDTH), np.nan, np.float32), CAMERA, np.eye(4))])


@pytest.mark.parametrize("depth, voxel", [(1.8, 0.02), (14.0, 0.1), (0.4, 0.005), (80.0, 1.0)])
def test_a_voxel_suits_the_depth_and_is_a_round_number(depth: float, voxel: float) -> None:
    assert suggest_voxel(depth) == pytest.approx(voxel)


def test_edges_are_counted_by_how_triangles_meet() -> None:
    tetrahedron = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], np.int32)
    assert count_edges(tetrahedron).is_watertight
    assert count_edges(tetrahedron[:3]).free == 3
    flipped = tetrahedron.copy()
    flipped[0] = flipped[0, ::-1]
    assert count_edges(flipped).reversed == 3
    assert count_edges(np.vstack([tetrahedron, [[0, 1, 4]]]).astype(np.int32)).shared == 1
