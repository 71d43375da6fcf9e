"""Streets drawn by the CUDA kernels and on the CPU are the same; without a GPU on numba's simulator, very small.

The checks call the renderer's public functions with a device, so that another way to draw is held to the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import cuda

from training.render import device as device_path
from training.render.cameras import to_cameras
from training.render.device import make_device_scene, render_batch
from training.render.lighting import make_lighting
from training.render.mesh import Material, from_quads, merge
from training.render.pinhole import Pinhole
from training.render.raster import rasterise
from training.render.road import CrossSection, make_path
from training.render.scene import StreetScene, make_scene
from training.render.shapes import box
from training.render.views import optical_pose

CPU = torch.device("cpu")
K = np.array([[110.0, 0, 71.3], [0, 105.0, 20.6], [0, 0, 1]])  # of 160 x 48 pixels
SHADOW_SIZE = 512
SIMULATED = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}


def find_gpu() -> torch.device | None:
    """Returns the GPU that torch and numba can use, if there is one."""
    if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" or not torch.cuda.is_available():
        return None
    assert cuda.is_available(), "torch finds a GPU and numba does not: pip install 'numba-cuda[cu13]'"
    return torch.device("cuda", torch.cuda.current_device())


def on_gpu_or_simulator(check: str) -> None:
    """Runs a check of this file on a street with the GPU, or on a box in a process with numba's simulator."""
    gpu = find_gpu()
    if gpu is not None:
        globals()[check](gpu, make_scene(4), width=640, height=192)
        return
    here = Path(__file__).parent
    code = f"import gpu_rendering as g; g.{check}(g.CPU, g.box_scene(), width=16, height=8)"
    environment = {**os.environ, **SIMULATED, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def check_street(device: torch.device, scene: StreetScene, *, width: int, height: int) -> None:
    """Depth and triangles of 99.99 % of the pixels are those of the CPU, radiance of 99.5 % within 1 %."""
    expected = draw(CPU, scene, width=width, height=height)
    with kernels_on(device):
        found = draw(device, scene, width=width, height=height)
    assert expected["radiance"].std() > 0.01
    sky = np.isinf(expected["depth"])
    with np.errstate(invalid="ignore"):
        near = np.abs(found["depth"] - expected["depth"]) <= 1e-5 * expected["depth"]
    assert np.mean(np.where(sky, np.isinf(found["depth"]), near)) >= 0.9999
    assert np.mean(found["triangle"] == expected["triangle"]) >= 0.9999
    difference = np.abs(found["radiance"] - expected["radiance"])
    assert np.mean(difference <= 0.01 * expected["radiance"] + 1e-4) >= 0.995
    assert np.mean(difference) <= 1e-3 * np.mean(expected["radiance"])


def check_precision(device: torch.device, scene: StreetScene, *, width: int, height: int) -> None:
    """No setting that lets matrix products be rounded changes a bit of an image."""
    exact = draw(device, scene, width=width, height=height)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        rounded = draw(device, scene, width=width, height=height)
    finally:
        torch.set_float32_matmul_precision(before)
    for name, values in exact.items():
        np.testing.assert_array_equal(rounded[name], values, err_msg=name)


def draw(device: torch.device, scene: StreetScene, *, width: int, height: int) -> dict[str, np.ndarray]:
    """Returns radiance, depth and triangles of two views of a scene."""
    zoom = np.diag([width / 160, height / 48, 1.0])
    poses = (optical_pose(np.array([0.0, 0.0, 1.5]), yaw=yaw) for yaw in (0.0, 0.4))
    cameras = to_cameras([Pinhole(width, height, zoom @ K, pose) for pose in poses], device)
    on_device = make_device_scene(scene, np.zeros(3), device, shadow_size=SHADOW_SIZE)
    radiance, depth = render_batch(on_device, cameras)
    triangle = rasterise(on_device.points, cameras).triangle
    return {
        name: tensor.cpu().numpy()
        for name, tensor in {"radiance": radiance, "depth": depth, "triangle": triangle}.items()
    }


@contextmanager
def kernels_on(device: torch.device) -> Iterator[None]:
    """Makes the CUDA kernels do the work of the loops on CPU tensors too, in numba's simulator."""
    run = device_path._run
    if device.type == "cpu":
        from training.render.cuda_pixels import launch

        def simulate(name: str, count: int, *args: object) -> None:
            launch(name, count, *(device_path._unwrapped(arg, torch.Tensor.numpy) for arg in args))

        device_path._run = simulate
    try:
        yield
    finally:
        device_path._run = run


def kernel_arguments(scene: StreetScene) -> dict[str, tuple[Any, ...]]:
    """Returns what each function of pixels.py is called with for a scene, as numpy arrays and numbers."""
    run, arguments = device_path._run, {}

    def keep(name: str, count: int, *args: object) -> None:
        arguments[name] = tuple(device_path._unwrapped(arg, torch.Tensor.numpy) for arg in args)
        run(name, count, *args)

    device_path._run = keep
    try:
        draw(CPU, scene, width=32, height=16)
    finally:
        device_path._run = run
    return arguments


def ground() -> Any:
    """Returns a plane of a kilometre."""
    corners = np.float32([[(-500, -500, 0), (500, -500, 0), (500, 500, 0), (-500, 500, 0)]])
    return from_quads(corners, corners[..., :2], Material.ROAD, (0.2, 0.2, 0.2))


def box_scene(sun: tuple[float, float, float] = (0.0, 0.7071, 0.7071)) -> StreetScene:
    """Returns a box on a plane, 10 m ahead and a little left, in the sun from the left."""
    mesh = merge([ground(), box((2.0, 1.0, 2.2), Material.CONCRETE, (0.3, 0.3, 0.3), centre=(11.0, 1.0, 0.0))])
    lighting = replace(
        make_lighting(np.random.default_rng(1)), sun_direction=np.float32(sun), sun=np.float32([3, 3, 3]), haze=0.0
    )
    section = CrossSection(4.0, (), (), 0.0, (0, 0), (1, 1), (0, 0), (Material.GRASS, Material.GRASS))
    path = make_path(np.random.default_rng(0), winding=0.0)
    nothing = np.zeros((0, 5), np.float32)
    return StreetScene("plain", mesh, path, section, lighting, "empty", nothing, nothing, ((0.0, 1),), ())
