"""The device path of the renderer against the ray caster and hand-worked geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("embreex", reason="embreex is not installed; see requirements/training.txt")
pytest.importorskip("torch", reason="torch is not installed; see requirements/training.txt")

import torch
from gpu_rendering import CPU, K, box_scene, ground
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from training.render.cameras import to_cameras
from training.render.device import make_device_scene, render_batch
from training.render.frames import OpenScene, RasterScene, scene_frames
from training.render.image import render
from training.render.pinhole import Pinhole
from training.render.raster import FRAGMENTS_AT_ONCE, rasterise
from training.render.raycast import Caster, cast_depth
from training.render.scene import make_scene
from training.render.views import optical_pose

WIDTH, HEIGHT = 160, 48


def camera(*, yaw=0.0, x=0.0, pitch=0.0):
    return Pinhole(WIDTH, HEIGHT, K, optical_pose(np.array([x, 0.0, 1.5]), yaw=yaw, pitch=pitch))


def test_ground_that_reaches_behind_the_camera_has_the_hand_worked_depth():
    raster = rasterise(torch.from_numpy(ground().points), to_cameras([camera(), camera(pitch=0.05)], CPU))
    for v in (25, 33, 47):
        np.testing.assert_allclose(raster.depth[0, v], 105.0 * 1.5 / (v - 20.6), rtol=1e-4)
    sink = (21 - 20.6) / 105.0 * np.cos(0.05) + np.sin(0.05)
    assert raster.depth[1, 21, 71].item() == pytest.approx(1.5 / sink, rel=1e-4)
    assert torch.isinf(raster.depth[0, :20]).all()
    assert (raster.triangle[0, :20] == -1).all()


def test_depth_and_triangles_of_a_street_are_those_of_the_ray_caster():
    scene = make_scene(4)
    caster = Caster(scene.mesh)
    cameras = [camera(), camera(yaw=1.2, x=20.0)]
    raster = rasterise(torch.from_numpy(scene.mesh.points), to_cameras(cameras, CPU))
    for k, one in enumerate(cameras):
        truth, depth = cast_depth(caster, one), raster.depth[k].numpy()
        with np.errstate(invalid="ignore"):
            same = (np.abs(depth - truth) <= 1e-3 * truth) | (np.isinf(depth) & np.isinf(truth))
        assert np.mean(same) > 0.999
        hit = np.flatnonzero(same & np.isfinite(truth))
        rays = one.rays(*one.pixels())
        _, triangle, bary = caster.cast(np.broadcast_to(np.float32(one.T_world_camera[:3, 3]), rays.shape), rays)
        agree = hit[triangle[hit] == raster.triangle[k].numpy().ravel()[hit]]
        assert len(agree) > 0.98 * len(hit)
        np.testing.assert_allclose(raster.bary[k].numpy().reshape(-1, 2)[agree], bary[agree], atol=0.02)


def test_the_image_is_that_of_the_cpu_path_with_its_shadows():
    scene = box_scene()
    cameras = [camera(), camera(yaw=0.1)]
    device_scene = make_device_scene(scene, np.zeros(3), CPU)
    images, _ = render_batch(device_scene, to_cameras(cameras, CPU))
    for image, one in zip(images.numpy(), cameras, strict=True):
        rng = np.random.default_rng(0)
        truth, _ = render(Caster(scene.mesh), one, scene.section, scene.lighting, rng)
        assert np.median(np.abs(image - truth) / (truth + 0.05)) < 0.02
        assert np.mean(np.abs(image - truth) / (truth + 0.05)) < 0.08
    # Ground 11 m ahead: in the shadow 1 m to the right of the box, in the sun 4 m to its left.
    row = round(105 * 1.5 / 11 + 20.6)
    shadow, lit = (images[0, row, round(110 * side / 11 + 71.3)].mean() for side in (0.5, -5.5))
    assert shadow < 0.6 * lit


def test_a_shadow_map_has_the_depth_of_rays_to_within_5_mm():
    """3 km from its camera; 99.9 % of the texels, the rest lying at silhouettes."""
    scene = make_scene(7)
    shadow = make_device_scene(sunny(scene), scene.path.at(20.0, 0.0)[0], CPU, shadow_size=512).shadow
    K, pose = (tensor[0].numpy() for tensor in (shadow.camera.K, shadow.camera.T_world_camera))
    truth = cast_depth(Caster(scene.mesh), Pinhole(512, 512, K, pose))
    difference = np.abs(shadow.depth.numpy() - truth)
    assert np.mean(difference < 0.005) > 0.999
    exact = rasterise(torch.from_numpy(scene.mesh.points), shadow.camera).depth[0].numpy()
    assert np.abs(shadow.depth.numpy() - exact).max() < 0.005


def test_a_shadow_map_costs_less_memory_than_a_number_of_float64_for_each_texel():
    size = 1024
    with Largest() as largest:
        make_device_scene(sunny(box_scene()), np.zeros(3), CPU, shadow_size=size)
    assert largest.float64 < 8 * size * size / 100
    assert largest.any < 12 * max(size * size, FRAGMENTS_AT_ONCE)


def sunny(scene):
    """Returns the scene in the light of a sun 20 degrees high, the lowest there is but for 12."""
    direction = np.float32([np.cos(0.35) * 0.8, np.cos(0.35) * 0.6, np.sin(0.35)])
    lighting = replace(scene.lighting, sun_direction=direction, sun=np.float32([3, 3, 3]))
    return replace(scene, lighting=lighting)


class Largest(TorchDispatchMode):
    """Keeps the bytes of the largest tensor that torch's operations return, and of the largest of float64."""

    def __init__(self):
        super().__init__()
        self.any = self.float64 = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.any = max(self.any, tensor.nbytes)
                if tensor.dtype == torch.float64:
                    self.float64 = max(self.float64, tensor.nbytes)
        return result


def test_a_frame_is_the_same_whatever_is_drawn_with_it():
    scene = RasterScene(3, width=100, height=30, device=CPU)
    together = scene.frames([4, 0])
    for k, frame in zip((4, 0), together, strict=True):
        (alone,) = scene.frames([k])
        for name in ("image", "depth", "K"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(frame, name))


def test_a_device_photographs_the_views_that_the_cpu_does():
    (frame,) = scene_frames(8, 1, width=96, height=64, renderer="cpu")
    truth = OpenScene(8, width=96, height=64).frame(0)
    np.testing.assert_array_equal(frame.K, truth.K)
    finite = np.isfinite(truth.depth) & np.isfinite(frame.depth)
    assert np.mean(np.isclose(frame.depth, truth.depth, rtol=1e-3)[finite]) > 0.999
    assert frame.image.shape == (64, 96, 3)
