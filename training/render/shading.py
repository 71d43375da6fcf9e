"""From surfaces to radiance: light, shadow, reflection and haze, for one point at a time (see materials.py)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.render.compiled import compiled
from training.render.materials import look_of
from training.render.mesh import Array, Material, Mesh
from training.render.noise import lookup
from training.render.road_surface import Street
from training.render.surface import Look, Spot, clip

_LEAVES = int(Material.LEAVES)
Vector = tuple[float, float, float]


class Skin(NamedTuple):
    """What shading needs of a mesh, as in Mesh: normals (T, 3, 3), uv (T, 3, 2), material (T,), colour, params."""

    normals: Array
    uv: Array
    material: npt.NDArray[np.uint8]
    colour: Array
    params: Array


class Light(NamedTuple):
    """The numbers of a Lighting; vectors are (3,) and (2,) float32 arrays."""

    sun_direction: Array
    sun: Array
    zenith: Array
    horizon: Array
    ground: Array
    cloud_shift: Array
    clouds: float
    haze: float
    wet: float
    lamps: float
    headlight: float


def skin_of(mesh: Mesh) -> Skin:
    """Returns the mesh's surfaces, each array contiguous."""
    return Skin(
        *(np.ascontiguousarray(a) for a in (mesh.normals, mesh.uv, mesh.material, mesh.colour, mesh.params))
    )


@compiled
def normal_at(skin: Skin, triangle: int, a: float, b: float, x: float, y: float, z: float) -> Vector:
    """Returns the unit normal at barycentric a, b, turned against the direction x, y, z of the ray."""
    c, n = 1 - a - b, skin.normals
    nx = n[triangle, 0, 0] * c + n[triangle, 1, 0] * a + n[triangle, 2, 0] * b
    ny = n[triangle, 0, 1] * c + n[triangle, 1, 1] * a + n[triangle, 2, 1] * b
    nz = n[triangle, 0, 2] * c + n[triangle, 1, 2] * a + n[triangle, 2, 2] * b
    scale = 1 / (math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9)
    if nx * x + ny * y + nz * z > 0:
        scale = -scale
    return nx * scale, ny * scale, nz * scale


@compiled
def sky(light: Light, atlas: Array, x: float, y: float, z: float, detail: float) -> Vector:
    """Returns the radiance of the sky, or of the ground, in a unit direction.

    Args:
        detail: log2 of the cloud texture's size of a pixel.
    """
    height = math.sqrt(clip(z, 0.0, 1.0))
    red = light.horizon[0] + (light.zenith[0] - light.horizon[0]) * height
    green = light.horizon[1] + (light.zenith[1] - light.horizon[1]) * height
    blue = light.horizon[2] + (light.zenith[2] - light.horizon[2]) * height
    if light.clouds > 0:
        flat = 1 / (max(z, 0.0) + 0.12)
        n = lookup(atlas, x * flat + light.cloud_shift[0], y * flat + light.cloud_shift[1], 9.0, detail)
        cover = clip((n[2] * 0.7 + n[0] * 0.5 + 2.6 * light.clouds - 1.3) * 1.1, 0.0, 1.0)
        cover *= min(1.0, light.clouds * 2)
        white = 1.15 / 3 * (light.horizon[0] + light.horizon[1] + light.horizon[2]) * (1 + 0.1 * n[1])
        red, green, blue = (
            red + (white - red) * cover,
            green + (white - green) * cover,
            blue + (white - blue) * cover,
        )
    towards = x * light.sun_direction[0] + y * light.sun_direction[1] + z * light.sun_direction[2]
    if towards > 0.7:
        glow = 0.25 * towards**24 + 3.0 * towards**600
        red, green, blue = red + light.sun[0] * glow, green + light.sun[1] * glow, blue + light.sun[2] * glow
    below = clip(z * -12 + 0.3, 0.0, 1.0)
    return (
        red + (light.ground[0] - red) * below,
        green + (light.ground[1] - green) * below,
        blue + (light.ground[2] - blue) * below,
    )


@compiled
def _lamps(light: Light, x: float, y: float, z: float, up: float) -> float:
    """Returns the irradiance / pi of street lamps: pools of light on the ground, weaker higher up."""
    pool = (0.55 + 0.45 * math.sin(x * 0.23 + light.cloud_shift[0])) * (
        0.55 + 0.45 * math.sin(y * 0.23 + light.cloud_shift[1])
    )
    return light.lamps * 0.25 * pool * math.exp(-abs(z) / 6.0) * (0.4 + 0.6 * max(up, 0.0))


@compiled
def _headlight(light: Light, distance: float, facing: float, ahead: float, rising: float) -> float:
    """Returns the irradiance / pi of the carrier's own headlights, which reach far only below the horizon."""
    beam = max(ahead, 0.0) ** 12 * (0.06 + 0.94 * clip(0.5 - 25 * rising, 0.0, 1.0))
    return light.headlight * beam * (0.25 + 0.75 * facing) / (distance * distance + 6.0)


@compiled
def shade_point(
    skin: Skin,
    street: Street,
    light: Light,
    atlas: Array,
    eye: Array,
    forward: Array,
    pixel: float,
    ray: Array,
    depth: float,
    triangle: int,
    a: float,
    b: float,
    sunlit: float,
    openness: float,
) -> Vector:
    """Returns the radiance towards the eye of what one ray has hit.

    Args:
        eye, forward: (3,) where the camera is and its optical axis.
        pixel: radians that a pixel covers.
        ray: (3,) world direction; a step of one along it is one metre of depth.
        depth, triangle, a, b: metres, number (-1: sky) and barycentric coordinates of the hit.
        sunlit: 0 in shadow, 1 in the sun.
        openness: 0..1, how much of the sky light reaches the point.
    """
    x, y, z = float(ray[0]), float(ray[1]), float(ray[2])
    stretch = math.sqrt(x * x + y * y + z * z)
    x, y, z = x / stretch, y / stretch, z / stretch
    if triangle < 0:
        return sky(light, atlas, x, y, z, math.log2(0.02))
    distance = depth * stretch
    px, py, pz = eye[0] + x * distance, eye[1] + y * distance, eye[2] + z * distance
    nx, ny, nz = normal_at(skin, triangle, a, b, x, y, z)
    facing = -(nx * x + ny * y + nz * z)
    c = 1 - a - b
    uv, colour, params = skin.uv, skin.colour, skin.params
    footprint = distance * pixel / math.sqrt(clip(facing, 0.05, 1.0))
    material = int(skin.material[triangle])
    look = look_of(
        material,
        Spot(
            uv[triangle, 0, 0] * c + uv[triangle, 1, 0] * a + uv[triangle, 2, 0] * b,
            uv[triangle, 0, 1] * c + uv[triangle, 1, 1] * a + uv[triangle, 2, 1] * b,
            float(colour[triangle, 0]), float(colour[triangle, 1]), float(colour[triangle, 2]),
            float(params[triangle, 0]), float(params[triangle, 1]),
            float(params[triangle, 2]), float(params[triangle, 3]),
            footprint, math.log2(footprint + 1e-9), clip(facing, 0.0, 1.0),
            light.wet, light.lamps,
        ),
        atlas,
        street,
    )  # fmt: skip
    cosine = max(nx * light.sun_direction[0] + ny * light.sun_direction[1] + nz * light.sun_direction[2], 0.0)
    if material == _LEAVES:
        cosine = 0.25 + 0.6 * cosine
    cosine *= sunlit
    up = 0.5 + 0.5 * nz
    soft = 0.08 + 0.92 * openness**1.2
    near = 0.0
    if light.lamps > 0 or light.headlight > 0:
        near = _lamps(light, px, py, pz, nz)
        ahead = x * forward[0] + y * forward[1] + z * forward[2]
        near += _headlight(light, distance, clip(facing, 0.0, 1.0), ahead, z)
    red, green, blue = _lit(look, light, soft, cosine, up, near)
    if look.mirror > 0.01:
        turn = 2 * facing
        bx, by, bz = x + turn * nx, y + turn * ny, z + turn * nz
        wave = lookup(atlas, px + pz, py + pz, 31.0, math.log2(0.2))
        built = 0.7 + 0.4 * clip(wave[1], -1.0, 1.0)
        seen = sky(light, atlas, bx, by, bz, math.log2(0.02 / 0.3))
        open_sky = clip((bz - 0.18 - 0.12 * wave[0]) * 9 + 0.5, 0.0, 1.0)
        share = look.mirror * (0.4 + 0.6 * soft)
        ground = light.ground
        red += (ground[0] * built * (1 - open_sky) + seen[0] * open_sky - red) * share
        green += (ground[1] * built * (1 - open_sky) + seen[1] * open_sky - green) * share
        blue += (ground[2] * built * (1 - open_sky) + seen[2] * open_sky - blue) * share
    veil = math.exp(-distance * light.haze)
    horizon = light.horizon
    return (
        red * veil + horizon[0] * (1 - veil),
        green * veil + horizon[1] * (1 - veil),
        blue * veil + horizon[2] * (1 - veil),
    )


@compiled
def _lit(look: Look, light: Light, soft: float, cosine: float, up: float, near: float) -> Vector:
    """Returns what the surface sends out of skylight, sunlight and warm lamps, and of its own."""
    ground, zenith, horizon, sun = light.ground, light.zenith, light.horizon, light.sun
    low, high, middle = (1 - up) * soft, 0.6 * up * soft, 0.4 * up * soft
    red = ground[0] * low + zenith[0] * high + horizon[0] * middle + sun[0] * cosine + near
    green = ground[1] * low + zenith[1] * high + horizon[1] * middle + sun[1] * cosine + 0.9 * near
    blue = ground[2] * low + zenith[2] * high + horizon[2] * middle + sun[2] * cosine + 0.75 * near
    return (
        look.red * red + look.glow_red,
        look.green * green + look.glow_green,
        look.blue * blue + look.glow_blue,
    )
