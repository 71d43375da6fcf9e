"""What is done for each pixel, as compiled functions of its number: a loop runs them here, a CUDA kernel there.

Pixels of C cameras lie one camera after the other: pixel i of N belongs to camera i // (N / C). The arrays are
eyes, forwards (C, 3), pixel_sizes (C,) in radians; rays (N, 3), depth (N,), triangle (N,), bary (N, 2) as in Hits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.render.compiled import compiled
from training.render.mesh import Array
from training.render.road_surface import Street
from training.render.shading import Light, Skin, normal_at, shade_point

Indices = npt.NDArray[np.int32]
# How far points are lifted off their surface, so that rays from them do not hit it.
LIFT = 0.02
SUBPIXELS = ((-0.33, 0.1), (0.1, 0.33), (0.3, -0.3))


@compiled
def locate_one(
    i: int, skin: Skin, eyes: Array, rays: Array, depth: Array, triangle: Indices, bary: Array,
    points: Array, normals: Array,
) -> None:  # fmt: skip
    """Fills the world point of a hit, lifted, and its unit normal towards the viewer; zeros for sky."""
    camera = i // (len(depth) // len(eyes))
    n = (0.0, 0.0, 0.0)
    if triangle[i] >= 0:
        x, y, z = rays[i, 0], rays[i, 1], rays[i, 2]
        n = normal_at(skin, triangle[i], bary[i, 0], bary[i, 1], x, y, z)
    for k in range(3):
        normals[i, k] = n[k]
        points[i, k] = eyes[camera, k] + rays[i, k] * depth[i] + LIFT * n[k] if triangle[i] >= 0 else 0.0


@compiled
def shade_one(
    i: int, skin: Skin, street: Street, light: Light, atlas: Array,
    eyes: Array, forwards: Array, pixel_sizes: Array,
    rays: Array, depth: Array, triangle: Indices, bary: Array, sunlit: Array, openness: Array, radiance: Array,
) -> None:  # fmt: skip
    """Fills the radiance of a hit."""
    camera = i // (len(depth) // len(eyes))
    colour = shade_point(
        skin, street, light, atlas, eyes[camera], forwards[camera], float(pixel_sizes[camera]),
        rays[i], depth[i], triangle[i], bary[i, 0], bary[i, 1], sunlit[i], openness[i],
    )  # fmt: skip
    for k in range(3):
        radiance[i, k] = colour[k]


@compiled
def _distance(points: Array, triangle: int, eye: Array, x: float, y: float, z: float) -> float:
    """Returns how many steps of the direction x, y, z from the eye the triangle lies, or -1 if it is missed."""
    p = points[triangle]
    e, f = p[1], p[2]
    ex, ey, ez = e[0] - p[0, 0], e[1] - p[0, 1], e[2] - p[0, 2]
    fx, fy, fz = f[0] - p[0, 0], f[1] - p[0, 1], f[2] - p[0, 2]
    qx, qy, qz = y * fz - z * fy, z * fx - x * fz, x * fy - y * fx
    volume = ex * qx + ey * qy + ez * qz
    if abs(volume) < 1e-12:
        return -1.0
    tx, ty, tz = eye[0] - p[0, 0], eye[1] - p[0, 1], eye[2] - p[0, 2]
    a = (tx * qx + ty * qy + tz * qz) / volume
    rx, ry, rz = ty * ez - tz * ey, tz * ex - tx * ez, tx * ey - ty * ex
    b = (x * rx + y * ry + z * rz) / volume
    if a < 0 or b < 0 or a + b > 1:
        return -1.0
    return (fx * rx + fy * ry + fz * rz) / volume


@compiled
def soften_one(
    i: int, points: Array, eyes: Array, rays: Array, triangle: Indices, radiance: Array,
    W: int, H: int, soft: Array,
) -> None:  # fmt: skip
    """Fills the colour of a pixel, at edges averaged over further rays at what one of the nine pixels sees."""
    camera, v, u = i // (H * W), i // W % H, i % W
    differs = False
    for y in range(max(v - 1, 0), min(v + 2, H)):
        for x in range(max(u - 1, 0), min(u + 2, W)):
            differs |= triangle[i] != triangle[(camera * H + y) * W + x]
    red, green, blue, count = float(radiance[i, 0]), float(radiance[i, 1]), float(radiance[i, 2]), 1
    if differs and 0 < u < W - 1 and 0 < v < H - 1:
        for du, dv in SUBPIXELS:
            # Rays are linear in u and v.
            dx, dy, dz = rays[i + 1, 0] - rays[i, 0], rays[i + 1, 1] - rays[i, 1], rays[i + 1, 2] - rays[i, 2]
            sx, sy, sz = rays[i + W, 0] - rays[i, 0], rays[i + W, 1] - rays[i, 1], rays[i + W, 2] - rays[i, 2]
            rx = rays[i, 0] + du * dx + dv * sx
            ry = rays[i, 1] + du * dy + dv * sy
            rz = rays[i, 2] + du * dz + dv * sz
            best, nearest = i, np.inf
            for y in range(v - 1, v + 2):
                for x in range(u - 1, u + 2):
                    j = (camera * H + y) * W + x
                    if triangle[j] < 0:
                        if nearest == np.inf:
                            best = j
                        continue
                    distance = _distance(points, triangle[j], eyes[camera], rx, ry, rz)
                    if 0 < distance < nearest:
                        best, nearest = j, distance
            red += min(radiance[best, 0], 3.0)
            green += min(radiance[best, 1], 3.0)
            blue += min(radiance[best, 2], 3.0)
            count += 1
    soft[i, 0], soft[i, 1], soft[i, 2] = red / count, green / count, blue / count


@compiled
def locate(
    skin: Skin,
    eyes: Array,
    rays: Array,
    depth: Array,
    triangle: Indices,
    bary: Array,
    points: Array,
    normals: Array,
) -> None:
    """Runs locate_one for all pixels."""
    for i in range(len(depth)):
        locate_one(i, skin, eyes, rays, depth, triangle, bary, points, normals)


@compiled
def shade(
    skin: Skin, street: Street, light: Light, atlas: Array,
    eyes: Array, forwards: Array, pixel_sizes: Array,
    rays: Array, depth: Array, triangle: Indices, bary: Array, sunlit: Array, openness: Array, radiance: Array,
) -> None:  # fmt: skip
    """Runs shade_one for all pixels."""
    for i in range(len(depth)):
        shade_one(
            i, skin, street, light, atlas, eyes, forwards, pixel_sizes,
            rays, depth, triangle, bary, sunlit, openness, radiance,
        )  # fmt: skip


@compiled
def soften(
    points: Array, eyes: Array, rays: Array, triangle: Indices, radiance: Array, W: int, H: int, soft: Array
) -> None:
    """Runs soften_one for all pixels."""
    for i in range(len(triangle)):
        soften_one(i, points, eyes, rays, triangle, radiance, W, H, soft)
