"""The device path of the renderer against the ray caster and hand-worked geometry."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("embreex", reason="embreex is not installed; see requirements/training.txt")
pytest.importorskip("torch", reason="torch is not installed; see requirements/training.txt")

import torch

from training.render.device import make_device_scene, render_batch, to_cameras
from training.render.frames import OpenScene, device_frames
from training.render.image import render
from training.render.lighting import make_lighting
from training.render.mesh import Material, from_quads, merge
from training.render.raster import rasterise
from training.render.raycast import Caster, Pinhole, cast_depth
from training.render.road import CrossSection
from training.render.scene import StreetScene, make_scene
from training.render.shapes import box
from training.render.views import optical_pose

WIDTH, HEIGHT = 160, 48
K = np.array([[110.0, 0, 71.3], [0, 105.0, 20.6], [0, 0, 1]])
CPU = torch.device("cpu")
STREET = CrossSection(4.0, (), (), 0.0, (0, 0), (1, 1), (0, 0), (Material.GRASS, Material.GRASS))


def camera(*, yaw=0.0, x=0.0, pitch=0.0):
    return Pinhole(WIDTH, HEIGHT, K, optical_pose(np.array([x, 0.0, 1.5]), yaw=yaw, pitch=pitch))


def ground():
    corners = np.float32([[(-500, -500, 0), (500, -500, 0), (500, 500, 0), (-500, 500, 0)]])
    return from_quads(corners, corners[..., :2], Material.ROAD, (0.2, 0.2, 0.2))


def small_scene(sun=(0.0, 0.7071, 0.7071)):
    mesh = merge([ground(), box((2.0, 1.0, 2.2), Material.CONCRETE, (0.3, 0.3, 0.3), centre=(11.0, 1.0, 0.0))])
    lighting = replace(
        make_lighting(np.random.default_rng(1)), sun_direction=np.float32(sun), sun=np.float32([3, 3, 3]), haze=0.0
    )
    base = make_scene(1)
    return StreetScene(**{**vars(base), "mesh": mesh, "section": STREET, "lighting": lighting})


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
    scene = small_scene()
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


def test_a_device_photographs_the_views_that_the_cpu_does():
    (frame,) = device_frames(8, 1, CPU, width=96, height=64)
    truth = OpenScene(8, width=96, height=64).frame(0)
    np.testing.assert_array_equal(frame.K, truth.K)
    finite = np.isfinite(truth.depth) & np.isfinite(frame.depth)
    assert np.mean(np.isclose(frame.depth, truth.depth, rtol=1e-3)[finite]) > 0.999
    assert frame.image.shape == (64, 96, 3)


def test_the_cuda_kernels_do_what_the_loops_do():
    """By numba's simulator, which runs the kernels thread by thread in Python; no GPU needed."""
    script = """
import numpy as np, torch
from test_training_render_device import CPU, K, small_scene
from training.render import cuda_pixels, device
from training.render.raycast import Pinhole
from training.render.views import optical_pose
scene = device.make_device_scene(small_scene(), np.zeros(3), CPU)
pose = optical_pose(np.array([0.0, 0.0, 1.5]), yaw=0.0)
camera = Pinhole(16, 8, np.diag([0.1, 0.17, 1]) @ K, pose)
cameras = device.to_cameras([camera, camera], CPU)
loops, _ = device.render_batch(scene, cameras)
view = torch.Tensor.numpy
device._run = lambda name, n, *args: cuda_pixels.launch(name, n, *(device._unwrapped(a, view) for a in args))
kernels, _ = device.render_batch(scene, cameras)
assert loops.std() > 0.01
np.testing.assert_allclose(kernels, loops, rtol=1e-6)
"""
    here = Path(__file__).parent
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(here), str(here.parent)])
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
