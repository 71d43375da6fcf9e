"""Triangles to pixels in torch, on any device, for many cameras at once, with exact z at the pixel centres.

No triangle is clipped. In homogeneous form (Olano and Greer 1997) the ray r = K^-1 (u, v, 1) of a pixel meets the
plane of the triangle p0 p1 p2 (camera frame) where 1/z = n.r / n.p0, and inside it where (p1 x p2).r, (p2 x p0).r
and (p0 x p1).r have the sign of n.p0: four functions linear in u and v, wherever the corners lie.

Products of matrices are written out (cameras.py): a view is the same to the last bit whatever else is drawn
with it, and no setting of torch (TF32, bfloat16) can round them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from training.render.cameras import Cameras, dot, times

NEAR = 0.05
# How much is worked on at once, to bound the memory: about 40 bytes a fragment, 500 a pixel.
FRAGMENTS_AT_ONCE = 1 << 20
PIXELS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class Raster:
    """What each pixel of C cameras shows.

    Attributes:
        depth: (C, H, W) float32 metres along z at the pixel centre, inf for sky.
        triangle: (C, H, W) int32, -1 for sky.
        bary: (C, H, W, 2) float32 weights of the triangle's second and third corner.
    """

    depth: torch.Tensor
    triangle: torch.Tensor
    bary: torch.Tensor


@dataclass(frozen=True)
class _Visible:
    """Triangles that a camera may see, V pairs of the two, by camera.

    Attributes:
        camera, triangle: (V,) int64.
        low, high: (V, 2) int64 pixels, inclusive.
    """

    camera: torch.Tensor
    triangle: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor


def rasterise(points: torch.Tensor, cameras: Cameras) -> Raster:
    """Returns what cameras see of triangles.

    Args:
        points: (T, 3, 3) float32 corners in metres, on the cameras' device.
    """
    visible = _visible(points, cameras)
    # The best 1/z so far in the upper half, the number in the list of visible triangles in the lower: one maximum.
    best = torch.full((cameras.pixels,), -1, dtype=torch.int64, device=points.device)
    for pixel, inverse, item in _fragments(points, cameras, visible):
        # Positive floats order as their bits do.
        best.scatter_reduce_(0, pixel, (inverse.view(torch.int32).long() << 32) | item, "amax")
    return _resolve(points, cameras, best, visible)


def rasterise_depth(points: torch.Tensor, cameras: Cameras) -> torch.Tensor:
    """Returns the depth (C, H, W) float32 alone, inf for sky: less exact than `rasterise`, in far less memory.

    Depth is interpolated in float32, and wrong by up to a few parts in a million, more where a triangle is seen
    nearly along its plane.

    Args:
        points: As for `rasterise`.
    """
    nearest = torch.zeros(cameras.pixels, dtype=torch.int32, device=points.device)
    for pixel, inverse, _ in _fragments(points, cameras, _visible(points, cameras)):
        nearest.scatter_reduce_(0, pixel, inverse.view(torch.int32), "amax")
    return nearest.view(torch.float32).reciprocal_().view(len(cameras.K), cameras.height, cameras.width)


def _fragments(
    points: torch.Tensor, cameras: Cameras, visible: _Visible
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yields pixels (F,), 1/z there (F,) float32, -1 outside of the triangle, and its place in the list (F,)."""
    W, H = cameras.width, cameras.height
    plane, edges = _functions(points, cameras, visible)
    rows = _spans(edges, visible)
    ends = torch.cumsum(rows.length, 0)
    total = int(ends[-1]) if len(ends) else 0
    for first in range(0, total, FRAGMENTS_AT_ONCE):
        fragment = torch.arange(first, min(first + FRAGMENTS_AT_ONCE, total), device=points.device)
        row = torch.searchsorted(ends, fragment, right=True)
        item, v = rows.item[row], rows.v[row]
        u = rows.u[row] + (fragment - (ends[row] - rows.length[row]))
        offset_u, offset_v = (u - visible.low[item, 0]).float(), (v - visible.low[item, 1]).float()
        inverse = plane[item, 0] * offset_u + plane[item, 1] * offset_v + plane[item, 2]
        inside = (inverse > 0) & (inverse < 1 / NEAR)
        for k in range(3):
            edge = edges[item, k, 0] * offset_u + edges[item, k, 1] * offset_v + edges[item, k, 2]
            inside &= edge >= 0
        yield (visible.camera[item] * H + v) * W + u, torch.where(inside, inverse, -1.0), item


def _visible(points: torch.Tensor, cameras: Cameras) -> _Visible:
    """Returns which triangles cameras may see, and where."""
    found = [_visible_to(c, points, cameras) for c in range(len(cameras.K))]
    return _Visible(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _visible_to(
    c: int, points: torch.Tensor, cameras: Cameras
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns the fields of _Visible for one camera."""
    projection = cameras.projection[c].float()
    homogeneous = times(projection[:, :3], points) + projection[:, 3]
    z = homogeneous[..., 2]
    behind = z < NEAR
    corner = homogeneous[..., :2] / torch.where(behind, NEAR, z)[..., None]
    low = torch.where(behind[..., None], torch.inf, corner).amin(dim=1)
    high = torch.where(behind[..., None], -torch.inf, corner).amax(dim=1)
    t = (behind.any(dim=1) & ~behind.all(dim=1)).nonzero()[:, 0]
    if len(t):
        # What crosses the near plane also reaches to where its sides do.
        a, b = homogeneous[t], homogeneous[t].roll(-1, dims=1)
        gap = b[..., 2] - a[..., 2]
        share = (NEAR - a[..., 2]) / torch.where(gap == 0, 1.0, gap)
        cut = (a[..., :2] + (b[..., :2] - a[..., :2]) * share[..., None]) / NEAR
        outside = ((a[..., 2] < NEAR) == (b[..., 2] < NEAR))[..., None]
        low[t] = torch.minimum(low[t], torch.where(outside, torch.inf, cut).amin(dim=1))
        high[t] = torch.maximum(high[t], torch.where(outside, -torch.inf, cut).amax(dim=1))
    size = torch.tensor([cameras.width - 1, cameras.height - 1], device=points.device, dtype=torch.float32)
    # float32 projects far outside the image imprecisely; a hundredth of a pixel more costs little.
    low, high = torch.ceil(low - 0.01).clamp(min=0), torch.minimum(torch.floor(high + 0.01), size)
    triangle = (low <= high).all(dim=1).nonzero()[:, 0]
    return torch.full_like(triangle, c), triangle, low[triangle].long(), high[triangle].long()


def _functions(points: torch.Tensor, cameras: Cameras, visible: _Visible) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns 1/z (V, 3) and the sides' functions (V, 3, 3), float32: change by u, by v, value at pixel `low`."""
    plane, sides = _homogeneous(points, cameras, visible.camera, visible.triangle)
    u, v = visible.low.double().unbind(1)
    plane[:, 2] += plane[:, 0] * u + plane[:, 1] * v
    sides[:, :, 2] += sides[:, :, 0] * u[:, None] + sides[:, :, 1] * v[:, None]
    return plane.float(), sides.float()


def _homogeneous(
    points: torch.Tensor, cameras: Cameras, camera: torch.Tensor, triangle: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns coefficients of (u, v, 1): 1/z (V, 3), and sides opposite to the corners (V, 3, 3), positive inside.

    In float64, because the products of far corners nearly cancel.
    """
    from_world = cameras.T_camera_world[camera][:, None]
    corners = times(from_world[..., :3, :3], points[triangle].double()) + from_world[..., :3, 3]
    normals = torch.linalg.cross(corners.roll(-1, dims=1), corners.roll(-2, dims=1))
    sides = times(cameras.K_inverse[camera].transpose(1, 2)[:, None], normals)
    volume = dot(normals[:, 0], corners[:, 0])
    sides = sides * torch.sign(volume)[:, None, None]
    plane = sides[:, 0] + sides[:, 1] + sides[:, 2]
    return plane / volume.abs().clamp(min=1e-12)[:, None], sides


@dataclass(frozen=True)
class _Spans:
    """Pixels in a row that a triangle covers: its place in the list, the row, the first column, how many (R,)."""

    item: torch.Tensor
    v: torch.Tensor
    u: torch.Tensor
    length: torch.Tensor


def _spans(edges: torch.Tensor, visible: _Visible) -> _Spans:
    """Returns the rows of all triangles, cut to where the sides' functions are positive."""
    low, high = visible.low, visible.high
    count = high[:, 1] - low[:, 1] + 1
    item = torch.repeat_interleave(count)
    down = torch.arange(len(item), device=low.device) - (torch.cumsum(count, 0) - count)[item]
    width = (high[:, 0] - low[:, 0])[item].float()
    first, last = torch.zeros_like(width), width
    for k in range(3):
        slope = edges[item, k, 0]
        crossing = -(edges[item, k, 1] * down + edges[item, k, 2]) / slope
        # A hundredth of a pixel of slack: the fragments are tested once more.
        first = torch.where(slope > 0, torch.maximum(first, crossing - 0.01), first)
        last = torch.where(slope < 0, torch.minimum(last, crossing + 0.01), last)
    first, last = torch.ceil(first), torch.floor(last)
    length = (last - first + 1).clamp(min=0).long()
    return _Spans(item, low[item, 1] + down, low[item, 0] + torch.where(length > 0, first, 0).long(), length)


def _resolve(points: torch.Tensor, cameras: Cameras, best: torch.Tensor, visible: _Visible) -> Raster:
    """Returns the pixels of the winning triangles, their depth worked out again in float64."""
    W, H, C = cameras.width, cameras.height, len(cameras.K)
    depth = torch.full((C * H * W,), torch.inf, device=points.device)
    numbers = torch.full((C * H * W,), -1, dtype=torch.int32, device=points.device)
    bary = torch.zeros((C * H * W, 2), device=points.device)
    for seen in (best >= 0).nonzero()[:, 0].split(PIXELS_AT_ONCE):
        item = best[seen] & 0xFFFFFFFF
        triangle = visible.triangle[item]
        plane, sides = _homogeneous(points, cameras, visible.camera[item], triangle)
        pixel = torch.stack([(seen % W).double(), (seen // W % H).double(), torch.ones_like(seen).double()], dim=1)
        weights = dot(sides, pixel[:, None])
        weights = weights / (weights[:, 0] + weights[:, 1] + weights[:, 2])[:, None]
        depth[seen] = (1 / dot(plane, pixel)).float()
        numbers[seen] = triangle.int()
        bary[seen] = weights[:, 1:].float()
    return Raster(depth.view(C, H, W), numbers.view(C, H, W), bary.view(C, H, W, 2))
