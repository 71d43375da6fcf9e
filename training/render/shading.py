"""From surfaces to radiance: light, shadow, reflection and haze."""

from __future__ import annotations

import numpy as np

from training.render.lighting import Lighting
from training.render.materials import SHADERS, Surface
from training.render.mesh import Array, Material, dot
from training.render.noise import lookup


def shade(surface: Surface, lighting: Lighting, sunlit: Array, openness: Array, distance: Array) -> Array:
    """Returns the radiance (N, 3) towards the viewer.

    Args:
        surface: N points.
        lighting: the scene's light.
        sunlit: (N,) 0 in shadow, 1 in the sun.
        openness: (N,) 0..1, how much of the sky light reaches the point.
        distance: (N,) metres from the viewer.
    """
    N = len(surface.points)
    albedo, mirror, emitted = np.zeros((N, 3), np.float32), np.zeros(N, np.float32), np.zeros((N, 3), np.float32)
    for material in np.unique(surface.material):
        index = np.flatnonzero(surface.material == material)
        albedo[index], mirror[index], emitted[index] = SHADERS[Material(material)](surface.take(index))
    cosine = np.clip(surface.normals @ lighting.sun_direction, 0, 1)
    leafy = surface.material == Material.LEAVES
    cosine = np.where(leafy, 0.25 + 0.6 * cosine, cosine)
    light = lighting.ambient(surface.normals) * openness[:, None] + lighting.sun * (cosine * sunlit)[:, None]
    radiance = albedo * light + emitted
    shiny = np.flatnonzero(mirror > 0.01)
    if len(shiny):
        normal, view = surface.normals[shiny], surface.view[shiny]
        bounced = view - 2 * dot(view, normal)[:, None] * normal
        wave = lookup(
            surface.points[shiny, :2] + surface.points[shiny, 2:], 31.0, np.full(len(shiny), 0.2, np.float32)
        )
        skyline = 0.18 + 0.12 * wave[:, 0]
        open_sky = np.clip((bounced[:, 2] - skyline) * 9 + 0.5, 0, 1)[:, None]
        built = lighting.ground * (0.7 + 0.4 * np.clip(wave[:, 1:2], -1, 1))
        bounce = built + (lighting.sky(bounced, 0.3) - built) * open_sky
        share = mirror[shiny, None] * (0.4 + 0.6 * openness[shiny, None])
        radiance[shiny] += (bounce - radiance[shiny]) * share
    veil = np.exp(-distance * lighting.haze)[:, None]
    return radiance * veil + lighting.horizon * (1 - veil)
