"""Frames of one scene: views that a vehicle could have, rendered on the CPU or on a device, then photographed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from training.render.device import make_device_scene, render_batch, to_cameras
from training.render.image import render
from training.render.mesh import Array
from training.render.photo import develop, random_camera_settings
from training.render.raster import rasterise
from training.render.raycast import Caster, Pinhole, cast_depth
from training.render.scene import StreetScene, make_scene
from training.render.stock import NO_FOLDERS, Folders
from training.render.views import random_camera

# A view is judged by every eighth pixel before it is rendered.
GLANCE = 8
CAMERAS_AT_ONCE = 10


@dataclass(frozen=True)
class RenderedFrame:
    """One rendered photograph.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) float32 metres along z at the pixel centres, inf for sky.
        K: (3, 3) float64.
    """

    image: npt.NDArray[np.uint8]
    depth: Array
    K: npt.NDArray[np.float64]


class OpenScene:
    """A scene ready to be photographed; frame k depends on (seed, k) alone."""

    def __init__(self, seed: int, *, width: int, height: int, folders: Folders = NO_FOLDERS) -> None:
        self._seed, self._width, self._height = seed, width, height
        self._scene = make_scene(seed, folders=folders)
        self._caster = Caster(self._scene.mesh)

    def frame(self, k: int) -> RenderedFrame:
        """Returns frame k of the scene."""
        rng = np.random.default_rng([self._seed, k])
        camera = usable_camera(
            self._scene, lambda c: cast_depth(self._caster, c), rng, width=self._width, height=self._height
        )
        radiance, depth = render(self._caster, camera, self._scene.section, self._scene.lighting, rng)
        return _photograph(self._scene, camera, radiance, depth, rng)


def scene_frames(
    seed: int, count: int, *, width: int, height: int, folders: Folders = NO_FOLDERS, device: str = "cpu"
) -> Iterator[RenderedFrame]:
    """Yields frames 0 to count - 1 of one scene.

    Args:
        device: "cpu" casts rays (Embree); another torch device draws many cameras at once there. The views are the
            same; their shadows and soft light differ a little.
    """
    if device == "cpu":
        scene = OpenScene(seed, width=width, height=height, folders=folders)
        yield from (scene.frame(k) for k in range(count))
    else:
        yield from device_frames(seed, count, torch.device(device), width=width, height=height, folders=folders)


def device_frames(
    seed: int, count: int, device: torch.device, *, width: int, height: int, folders: Folders = NO_FOLDERS
) -> Iterator[RenderedFrame]:
    """Yields frames 0 to count - 1 of one scene, rendered by the rasteriser on a device."""
    scene = make_scene(seed, folders=folders)
    points = torch.from_numpy(scene.mesh.points).to(device)

    def glance(camera: Pinhole) -> Array:
        depth: Array = rasterise(points, to_cameras([camera], device)).depth[0].cpu().numpy()
        return depth

    rngs = [np.random.default_rng([seed, k]) for k in range(count)]
    cameras = [usable_camera(scene, glance, rng, width=width, height=height) for rng in rngs]
    centre = np.mean([camera.T_world_camera[:3, 3] for camera in cameras], axis=0)
    device_scene = make_device_scene(scene, centre, device)
    for first in range(0, count, CAMERAS_AT_ONCE):
        some = slice(first, first + CAMERAS_AT_ONCE)
        radiance, depth = (a.cpu().numpy() for a in render_batch(device_scene, to_cameras(cameras[some], device)))
        for one in zip(cameras[some], radiance, depth, rngs[some], strict=True):
            yield _photograph(scene, *one)


def _photograph(
    scene: StreetScene, camera: Pinhole, radiance: Array, depth: Array, rng: np.random.Generator
) -> RenderedFrame:
    """Returns the frame of a rendered view, taken by a camera of random settings."""
    settings = random_camera_settings(rng, wet=scene.lighting.wet > 0)
    return RenderedFrame(develop(radiance, rng, camera=settings), depth, camera.K)


def usable_camera(
    scene: StreetScene,
    depth_of: Callable[[Pinhole], Array],
    rng: np.random.Generator,
    *,
    width: int,
    height: int,
) -> Pinhole:
    """Returns a random camera whose view is one that a vehicle could have; the last drawn if none of 12 is.

    Args:
        depth_of: renders the depth (H, W) of a camera.
    """
    for _ in range(12):
        camera = random_camera(scene, rng, width=width, height=height)
        shrink = np.diag([1 / GLANCE, 1 / GLANCE, 1.0])
        glance = Pinhole(width // GLANCE, height // GLANCE, shrink @ camera.K, camera.T_world_camera)
        if is_usable(depth_of(glance)):
            break
    return camera


def is_usable(depth: Array) -> bool:
    """Returns whether a view (H, W) in metres is neither inside a thing nor right before it, nor mostly sky.

    Of the random views 94 % are; 1 % of these have an upper half mostly filled by something nearer than 10 m.
    """
    return bool(
        np.quantile(depth, 0.02) > 1.0
        and np.mean(depth < 3.0) <= 0.35
        and np.median(depth[len(depth) // 2 :]) < 40
        and np.isinf(depth).mean() < 0.45
    )
