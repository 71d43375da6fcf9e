"""Triangles to pixels in torch, on any device, for many cameras at once, with exact z at the pixel centres.

No triangle is clipped. In homogeneous form (Olano and Greer 1997) the ray r = K^-1 (u, v, 1) of a pixel meets the
plane of the triangle p0 p1 p2 (camera frame) where 1/z = n.r / n.p0, and inside it where (p1 x p2).r, (p2 x p0).r
and (p0 x p1).r have the sign of n.p0: four functions linear in u and v, wherever the corners lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

NEAR = 0.05
FRAGMENTS_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class Cameras:
    """C pinhole cameras of one size.

    Attributes:
        width, height: pixels.
        K: (C, 3, 3) float64.
        T_world_camera: (C, 4, 4) float64; the optical frame is x right, y down, z forward.
    """

    width: int
    height: int
    K: torch.Tensor
    T_world_camera: torch.Tensor

    def rays(self) -> torch.Tensor:
        """Returns (C, H, W, 3) float32 world directions; a step of one along them is one metre of depth."""
        v, u = torch.meshgrid(
            torch.arange(self.height, device=self.K.device, dtype=torch.float64),
            torch.arange(self.width, device=self.K.device, dtype=torch.float64),
            indexing="ij",
        )
        pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1)
        to_world = self.T_world_camera[:, :3, :3] @ torch.linalg.inv(self.K)
        return torch.einsum("cij,hwj->chwi", to_world, pixels).float()


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


def rasterise(points: torch.Tensor, cameras: Cameras) -> Raster:
    """Returns what cameras see of triangles.

    Args:
        points: (T, 3, 3) float32 corners in metres, on the cameras' device.
    """
    W, H, C = cameras.width, cameras.height, len(cameras.K)
    camera, triangle, low, high = _visible(points, cameras)
    plane, edges = _functions(points, cameras, camera, triangle, low)
    # The best 1/z so far in the upper half, the number in the list of visible triangles in the lower: one maximum.
    best = torch.full((C * H * W,), -1, dtype=torch.int64, device=points.device)
    rows = _spans(edges, low, high)
    ends = torch.cumsum(rows.length, 0)
    total = int(ends[-1]) if len(ends) else 0
    for first in range(0, total, FRAGMENTS_AT_ONCE):
        last = min(first + FRAGMENTS_AT_ONCE, total)
        fragment = torch.arange(first, last, device=points.device)
        row = torch.searchsorted(ends, fragment, right=True)
        item, v = rows.item[row], rows.v[row]
        u = rows.u[row] + (fragment - (ends[row] - rows.length[row]))
        offset_u, offset_v = (u - low[item, 0]).float(), (v - low[item, 1]).float()
        inverse = plane[item, 0] * offset_u + plane[item, 1] * offset_v + plane[item, 2]
        inside = (inverse > 0) & (inverse < 1 / NEAR)
        for k in range(3):
            edge = edges[item, k, 0] * offset_u + edges[item, k, 1] * offset_v + edges[item, k, 2]
            inside &= edge >= 0
        # Positive floats order as their bits do.
        key = (inverse.view(torch.int32).long() << 32) | item
        pixel = (camera[item] * H + v) * W + u
        best.scatter_reduce_(0, pixel, torch.where(inside, key, -1), "amax")
    return _resolve(points, cameras, best, camera, triangle)


def _visible(
    points: torch.Tensor, cameras: Cameras
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns camera (V,), triangle (V,) and the pixels low, high (V, 2), inclusive, of what may be seen."""
    W, H = cameras.width, cameras.height
    to_camera = torch.linalg.inv(cameras.T_world_camera)
    projection = (cameras.K @ to_camera[:, :3]).float()
    homogeneous = torch.einsum("cij,tkj->ctki", projection[:, :, :3], points) + projection[:, None, None, :, 3]
    z = homogeneous[..., 2]
    behind = z < NEAR
    corner = homogeneous[..., :2] / torch.where(behind, NEAR, z)[..., None]
    low, high = torch.full_like(corner, torch.inf), torch.full_like(corner, -torch.inf)
    low, high = torch.where(behind[..., None], low, corner), torch.where(behind[..., None], high, corner)
    low, high = low.amin(dim=2), high.amax(dim=2)
    crossing = (behind.any(dim=2) & ~behind.all(dim=2)).nonzero()
    if len(crossing):
        # What crosses the near plane also reaches to where its sides do.
        c, t = crossing.unbind(1)
        a, b = homogeneous[c, t], homogeneous[c, t].roll(-1, dims=1)
        gap = b[..., 2] - a[..., 2]
        share = (NEAR - a[..., 2]) / torch.where(gap == 0, 1.0, gap)
        cut = (a[..., :2] + (b[..., :2] - a[..., :2]) * share[..., None]) / NEAR
        outside = ((a[..., 2] < NEAR) == (b[..., 2] < NEAR))[..., None]
        low[c, t] = torch.minimum(low[c, t], torch.where(outside, torch.inf, cut).amin(dim=1))
        high[c, t] = torch.maximum(high[c, t], torch.where(outside, -torch.inf, cut).amax(dim=1))
    size = torch.tensor([W - 1, H - 1], device=points.device, dtype=torch.float32)
    # float32 projects far outside the image imprecisely; a hundredth of a pixel more costs little.
    low, high = torch.ceil(low - 0.01).clamp(min=0), torch.minimum(torch.floor(high + 0.01), size)
    camera, triangle = (low <= high).all(dim=2).nonzero().unbind(1)
    return camera, triangle, low[camera, triangle].long(), high[camera, triangle].long()


def _functions(
    points: torch.Tensor, cameras: Cameras, camera: torch.Tensor, triangle: torch.Tensor, low: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns 1/z (V, 3) and the sides' functions (V, 3, 3), float32: change by u, by v, value at pixel `low`."""
    plane, sides = _homogeneous(points, cameras, camera, triangle)
    origin = torch.cat([low.double(), torch.ones_like(low[:, :1], dtype=torch.float64)], dim=1)
    plane[:, 2] = (plane * origin).sum(dim=1)
    sides[:, :, 2] = (sides * origin[:, None]).sum(dim=2)
    return plane.float(), sides.float()


def _homogeneous(
    points: torch.Tensor, cameras: Cameras, camera: torch.Tensor, triangle: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns coefficients of (u, v, 1): 1/z (V, 3), and sides opposite to the corners (V, 3, 3), positive inside.

    In float64, because the products of far corners nearly cancel.
    """
    from_world = torch.linalg.inv(cameras.T_world_camera)[camera]
    corners = points[triangle].double() @ from_world[:, :3, :3].transpose(1, 2) + from_world[:, None, :3, 3]
    normals = torch.linalg.cross(corners.roll(-1, dims=1), corners.roll(-2, dims=1))
    sides = normals @ torch.linalg.inv(cameras.K)[camera]
    volume = (normals[:, 0] * corners[:, 0]).sum(dim=1)
    sides = sides * torch.sign(volume)[:, None, None]
    return sides.sum(dim=1) / volume.abs().clamp(min=1e-12)[:, None], sides


@dataclass(frozen=True)
class _Spans:
    """Pixels in a row that a triangle covers: its place in the list, the row, the first column, how many (R,)."""

    item: torch.Tensor
    v: torch.Tensor
    u: torch.Tensor
    length: torch.Tensor


def _spans(edges: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> _Spans:
    """Returns the rows of all triangles, cut to where the sides' functions are positive."""
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


def _resolve(
    points: torch.Tensor, cameras: Cameras, best: torch.Tensor, camera: torch.Tensor, triangle: torch.Tensor
) -> Raster:
    """Returns the pixels of the winning triangles, their depth worked anew in float64."""
    W, H, C = cameras.width, cameras.height, len(cameras.K)
    seen = (best >= 0).nonzero()[:, 0]
    item = best[seen] & 0xFFFFFFFF
    plane, sides = _homogeneous(points, cameras, camera[item], triangle[item])
    u, v = (seen % W).double(), (seen // W % H).double()
    pixel = torch.stack([u, v, torch.ones_like(u)], dim=1)
    weights = torch.einsum("nkj,nj->nk", sides, pixel)
    weights = weights / weights.sum(dim=1, keepdim=True)
    depth = torch.full((C * H * W,), torch.inf, device=points.device)
    numbers = torch.full((C * H * W,), -1, dtype=torch.int32, device=points.device)
    bary = torch.zeros((C * H * W, 2), device=points.device)
    depth[seen] = (1 / (plane * pixel).sum(dim=1)).float()
    numbers[seen] = triangle[item].int()
    bary[seen] = weights[:, 1:].float()
    return Raster(depth.view(C, H, W), numbers.view(C, H, W), bary.view(C, H, W, 2))
