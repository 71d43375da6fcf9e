"""Streets rendered in torch on any device, many cameras a call: the scenes and materials of the Embree path.

Depth comes from the rasteriser (raster.py) and equals the ray caster's: at least 99.9 % of pixels within 1e-3, the
rest at silhouettes. Shadows come from a map that the same rasteriser draws as seen from the sun, light from
above from the depth image around each pixel. Shading runs the functions of the CPU path (pixels.py), on a GPU as
CUDA kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from training.render import pixels
from training.render.cameras import Cameras, times, to_cameras
from training.render.image import OPENNESS_REACH
from training.render.noise import noise_atlas
from training.render.pinhole import Pinhole
from training.render.raster import Raster, rasterise, rasterise_depth
from training.render.road_surface import Street, street_of
from training.render.scene import StreetScene
from training.render.shading import Light, Skin, skin_of

# The sun's camera: so far that its rays are parallel within half a degree over the map.
SUN_DISTANCE = 3000.0
SHADOW_RADIUS = 90.0
SHADOW_SIZE = {"cpu": 1024, "cuda": 4096}


@dataclass(frozen=True)
class ShadowMap:
    """What the sun sees: its camera, and the depth image (S, S) from there."""

    camera: Cameras
    depth: torch.Tensor


@dataclass(frozen=True)
class DeviceScene:
    """A scene on a device: corners (T, 3, 3), and what shading takes, with tensors in place of arrays."""

    points: torch.Tensor
    skin: Skin
    street: Street
    light: Light
    atlas: torch.Tensor
    shadow: ShadowMap | None


def make_device_scene(
    scene: StreetScene, centre: np.ndarray, device: torch.device, *, shadow_size: int = 0
) -> DeviceScene:
    """Returns a scene on a device.

    Args:
        centre: (3,) metres; shadows fall within SHADOW_RADIUS of it.
        shadow_size: Texels of the shadow map along each side; 0 takes SHADOW_SIZE of the device.
    """

    def moved(values: Sequence[np.ndarray | float]) -> list[torch.Tensor | float]:
        return [torch.as_tensor(v).to(device) if isinstance(v, np.ndarray) else v for v in values]

    points = torch.from_numpy(np.ascontiguousarray(scene.mesh.points)).to(device)
    lighting = scene.lighting
    size = shadow_size or SHADOW_SIZE[device.type]
    shadow = _shadow_map(points, lighting.sun_direction, centre, size) if lighting.sun.any() else None
    return DeviceScene(
        points,
        Skin(*moved(skin_of(scene.mesh))),
        Street(*moved(street_of(scene.section))),
        Light(*moved(lighting.packed())),
        torch.from_numpy(noise_atlas()).to(device),
        shadow,
    )


def render_batch(scene: DeviceScene, cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns linear radiance (C, H, W, 3) and depth (C, H, W) in metres at the pixel centres, inf for sky."""
    C, H, W = len(cameras.K), cameras.height, cameras.width
    N, device = C * H * W, scene.points.device
    raster = rasterise(scene.points, cameras)
    rays = cameras.rays().reshape(N, 3)
    depth, triangle, bary = raster.depth.reshape(N), raster.triangle.reshape(N), raster.bary.reshape(N, 2)
    eyes = cameras.T_world_camera[:, :3, 3].float().contiguous()
    forwards = cameras.T_world_camera[:, :3, 2].float().contiguous()
    points, normals, radiance, soft = (torch.empty((N, 3), device=device) for _ in range(4))
    _run("locate", N, scene.skin, eyes, rays, depth, triangle, bary, points, normals)
    sunlit = _sunlit(scene, points, normals)
    openness = _openness(cameras, raster, points.view(C, H, W, 3), normals.view(C, H, W, 3)).reshape(N)
    pixel_sizes = (1 / cameras.K[:, 0, 0]).float()
    _run(
        "shade", N, scene.skin, scene.street, scene.light, scene.atlas, eyes, forwards, pixel_sizes,
        rays, depth, triangle, bary, sunlit, openness, radiance,
    )  # fmt: skip
    _run("soften", N, scene.points, eyes, rays, triangle, radiance, W, H, soft)
    return soft.view(C, H, W, 3), raster.depth


def _run(name: str, count: int, *args: object) -> None:
    """Runs a function of pixels.py on the device of its tensors."""
    on_gpu = next((arg for arg in args if isinstance(arg, torch.Tensor) and arg.is_cuda), None)
    if on_gpu is not None:
        from numba import cuda

        from training.render.cuda_pixels import launch

        # numba works on the GPU that is current for torch.
        with torch.cuda.device(on_gpu.device):
            launch(name, count, *(_unwrapped(arg, cuda.as_cuda_array) for arg in args))
    else:
        getattr(pixels, name)(*(_unwrapped(arg, torch.Tensor.numpy) for arg in args))


def _unwrapped(arg: object, view: Callable[[torch.Tensor], object]) -> object:
    """Returns the argument with its tensors, also those in a tuple, as numba's arrays of the same memory."""
    if isinstance(arg, torch.Tensor):
        return view(arg)
    if isinstance(arg, tuple):
        return type(arg)(*(_unwrapped(value, view) for value in arg))
    return arg


def _shadow_map(points: torch.Tensor, sun_direction: np.ndarray, centre: np.ndarray, size: int) -> ShadowMap:
    """Returns what a camera far off towards the sun sees around a centre."""
    forward = -np.asarray(sun_direction, np.float64)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, np.cross(forward, right), forward
    pose[:3, 3] = centre - SUN_DISTANCE * forward
    focal = size / 2 * SUN_DISTANCE / SHADOW_RADIUS
    K = np.array([[focal, 0, (size - 1) / 2], [0, focal, (size - 1) / 2], [0, 0, 1]])
    camera = to_cameras([Pinhole(size, size, K, pose)], points.device)
    return ShadowMap(camera, rasterise_depth(points, camera)[0])


def _sunlit(scene: DeviceScene, points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
    """Returns (N,) 0..1: the share of the four nearest texels of the shadow map that are not before the point."""
    if scene.shadow is None:
        return torch.zeros(len(points), device=points.device)
    camera, depth = scene.shadow.camera, scene.shadow.depth
    texel = 2 * SHADOW_RADIUS / camera.width
    # Along the normal by a texel: less, and surfaces shade themselves.
    lifted = points + normals * texel
    seen = _project(camera, 0, lifted)
    first = torch.floor(seen[:, :2])
    part = seen[:, :2] - first
    lit = torch.zeros(len(points), device=points.device)
    for du, dv in ((0, 0), (1, 0), (0, 1), (1, 1)):
        u, v = first[:, 0].long() + du, first[:, 1].long() + dv
        outside = (u < 0) | (v < 0) | (u >= camera.width) | (v >= camera.height)
        nearest = depth[v.clamp(0, camera.height - 1), u.clamp(0, camera.width - 1)]
        weight = (part[:, 0] if du else 1 - part[:, 0]) * (part[:, 1] if dv else 1 - part[:, 1])
        lit += weight * (outside | (nearest > seen[:, 2] - 1.5 * texel))
    return lit


def _project(cameras: Cameras, c: int, points: torch.Tensor) -> torch.Tensor:
    """Returns u, v, z (..., 3) of world points (..., 3) in camera c."""
    from_world = cameras.T_camera_world[c].float()
    local = times(from_world[:3, :3], points) + from_world[:3, 3]
    image = times(cameras.K[c].float(), local)
    return torch.cat([image[..., :2] / image[..., 2:].clamp(min=1e-3), local[..., 2:]], dim=-1)


def _openness(cameras: Cameras, raster: Raster, points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
    """Returns (C, H, W) 0..1 how much sky points see, by one ray through the depth image at every fourth pixel.

    Spread by the same guided filter on log depth as on the CPU.
    """
    C, H, W = raster.depth.shape
    few, upright = points[:, ::2, ::2], normals[:, ::2, ::2]
    rows, columns = torch.meshgrid(*(torch.arange(n, device=points.device) for n in few.shape[1:3]), indexing="ij")
    cell = ((columns % 4) * 4 + rows % 4) * 7 % 16
    radius = torch.sqrt((cell % 4 + 0.5) / 4)
    angle = (cell // 4 + 0.5 * (cell % 2)) * (math.pi / 2) + 0.4 * (cell % 4)
    # A point on the unit sphere added to the normal is cosine-weighted; its height makes 16 cells spread evenly.
    height = 1 - 2 * radius**2
    flat = torch.sqrt((1 - height**2).clamp(min=0))
    ball = torch.stack([flat * torch.cos(angle), flat * torch.sin(angle), height], dim=-1)
    towards = F.normalize(upright + 0.99 * ball, dim=-1)
    blocked = torch.zeros(few.shape[:3], dtype=torch.bool, device=points.device)
    for share in (0.08, 0.25, 0.55, 0.9):
        step = few + towards * (share * OPENNESS_REACH)
        for c in range(C):
            seen = _project(cameras, c, step[c])
            u, v = (seen[..., k].round().long().clamp(0, n - 1) for k, n in ((0, W), (1, H)))
            gap = seen[..., 2] - raster.depth[c, v, u]
            blocked[c] |= (gap > 0.02 + 0.01 * seen[..., 2]) & (gap < OPENNESS_REACH)
    raw = 1 - (blocked & (raster.triangle[:, ::2, ::2] >= 0)).float()
    guide = torch.log(raster.depth.clamp(max=500))

    def mean(values: torch.Tensor, before: int = 1) -> torch.Tensor:
        margin = (before, 3 - before, before, 3 - before)
        return F.avg_pool2d(F.pad(values[:, None], margin, mode="replicate"), 4, stride=1)[:, 0]

    sparse = guide[:, ::2, ::2]
    mean_guide, mean_open = mean(sparse), mean(raw)
    slope = (mean(sparse * raw) - mean_guide * mean_open) / (mean(sparse * sparse) - mean_guide**2 + 1e-3)
    level = mean(mean_open - slope * mean_guide, 2)
    spread = torch.stack([mean(slope, 2), level], dim=1)
    spread = F.interpolate(spread, (H, W), mode="bilinear", align_corners=False)
    return (spread[:, 0] * guide + spread[:, 1]).clamp(0, 1)
