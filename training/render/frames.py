"""Frames of one scene: views that a vehicle could have, rendered on the CPU or on a device, then photographed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from training.render.cameras import to_cameras
from training.render.device import make_device_scene, render_batch
from training.render.image import render
from training.render.mesh import Array
from training.render.photo import develop, random_camera_settings
from training.render.pinhole import Pinhole
from training.render.raster import rasterise_depth
from training.render.raycast import Caster, cast_depth
from training.render.scene import StreetScene, make_scene
from training.render.stock import NO_FOLDERS, Folders
from training.render.traffic import VIEWED
from training.render.views import usable_camera, usable_cameras

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
    """A scene ready to be photographed by rays (Embree); frame k depends on (seed, k) alone."""

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

    def frames(self, views: Sequence[int]) -> list[RenderedFrame]:
        """Returns some frames of the scene, by their numbers."""
        return [self.frame(k) for k in views]


class RasterScene:
    """A scene drawn by the rasteriser on a device: the views of OpenScene, as many as asked for in few calls.

    Frame k depends on (seed, k) and the kind of device alone, to the last bit, whatever else is asked for with it.
    """

    def __init__(
        self, seed: int, *, width: int, height: int, device: torch.device, folders: Folders = NO_FOLDERS
    ) -> None:
        self._seed, self._width, self._height, self._device = seed, width, height, device
        self._scene = make_scene(seed, folders=folders)
        # Cameras stand within 50 m of the middle of the stretch that is viewed.
        centre, _ = self._scene.path.at(sum(VIEWED) / 2, 0.0)
        self._on_device = make_device_scene(self._scene, centre, device)

    def frames(self, views: Sequence[int]) -> list[RenderedFrame]:
        """Returns some frames of the scene, by their numbers."""
        rngs = [np.random.default_rng([self._seed, k]) for k in views]
        cameras = usable_cameras(self._scene, self._glances, rngs, width=self._width, height=self._height)
        frames = []
        for first in range(0, len(cameras), CAMERAS_AT_ONCE):
            some = slice(first, first + CAMERAS_AT_ONCE)
            images, depths = render_batch(self._on_device, to_cameras(cameras[some], self._device))
            drawn = zip(cameras[some], images.cpu().numpy(), depths.cpu().numpy(), rngs[some], strict=True)
            frames += [_photograph(self._scene, *one) for one in drawn]
        return frames

    def _glances(self, cameras: Sequence[Pinhole]) -> Sequence[Array]:
        """Returns the depth (C, H, W) of small views."""
        depth: Array = rasterise_depth(self._on_device.points, to_cameras(cameras, self._device)).cpu().numpy()
        return depth


def open_scene(
    seed: int, *, width: int, height: int, renderer: str = "embree", folders: Folders = NO_FOLDERS
) -> OpenScene | RasterScene:
    """Returns a scene ready to be photographed.

    Args:
        renderer: "embree" casts rays on the CPU; "cpu", "cuda" and "cuda:N" draw triangles there. The views are
            the same; their shadows and soft light differ a little.
    """
    if renderer == "embree":
        return OpenScene(seed, width=width, height=height, folders=folders)
    return RasterScene(seed, width=width, height=height, device=torch.device(renderer), folders=folders)


def scene_frames(
    seed: int, count: int, *, width: int, height: int, renderer: str = "embree", folders: Folders = NO_FOLDERS
) -> Iterator[RenderedFrame]:
    """Yields frames 0 to count - 1 of one scene.

    Args:
        renderer: As of `open_scene`.
    """
    scene = open_scene(seed, width=width, height=height, renderer=renderer, folders=folders)
    at_once = 1 if renderer == "embree" else CAMERAS_AT_ONCE
    for first in range(0, count, at_once):
        yield from scene.frames(range(first, min(first + at_once, count)))


def _photograph(
    scene: StreetScene, camera: Pinhole, radiance: Array, depth: Array, rng: np.random.Generator
) -> RenderedFrame:
    """Returns the frame of a rendered view, taken by a camera of random settings."""
    settings = random_camera_settings(rng, wet=scene.lighting.wet > 0)
    return RenderedFrame(develop(radiance, rng, camera=settings), depth, camera.K)
