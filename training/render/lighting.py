"""Sun, sky and haze of a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.render.mesh import Array
from training.render.noise import lookup


@dataclass(frozen=True)
class Lighting:
    """The light of one scene; linear radiance where white paper under an overcast sky is about 1.

    Attributes:
        sun_direction: (3,) unit vector towards the sun.
        sun: (3,) its irradiance; zeros when overcast.
        zenith, horizon, ground: (3,) radiance of the sky above, of the sky low down, and of the light from below.
        clouds: 0..1, how much of the sky they cover.
        cloud_shift: (2,) where the cloud texture starts.
        haze: extinction per metre.
    """

    sun_direction: Array
    sun: Array
    zenith: Array
    horizon: Array
    ground: Array
    clouds: float
    cloud_shift: Array
    haze: float

    def sky(self, directions: Array, sharpness: float = 1.0) -> Array:
        """Returns the radiance (N, 3) of the sky, or of the ground, in unit directions (N, 3)."""
        up = directions[:, 2]
        height = np.clip(up, 0, 1)[:, None] ** np.float32(0.5)
        colour = self.horizon + (self.zenith - self.horizon) * height
        if self.clouds > 0:
            plane = directions[:, :2] / (np.maximum(up, 0) + 0.12)[:, None] + self.cloud_shift
            density = lookup(plane, 9.0, np.full(len(up), 0.02 / sharpness, np.float32))
            cover = np.clip((density[:, 2] * 0.7 + density[:, 0] * 0.5 + 2.6 * self.clouds - 1.3) * 1.1, 0, 1)
            white = 1.15 * self.horizon.mean() * (1.0 + 0.1 * density[:, 1:2])
            colour = colour + (white - colour) * (cover * min(1.0, self.clouds * 2))[:, None]
        glow = np.clip(directions @ self.sun_direction, 0, 1)[:, None]
        colour = colour + self.sun * (0.25 * glow**24 + 3.0 * glow**600)
        below = np.clip(up * -12 + 0.3, 0, 1)[:, None]
        return colour + (self.ground - colour) * below

    def ambient(self, normals: Array) -> Array:
        """Returns the irradiance / pi (N, 3) that unoccluded surfaces get from sky and ground."""
        up = (0.5 + 0.5 * normals[:, 2])[:, None]
        sky = 0.6 * self.zenith + 0.4 * self.horizon
        return self.ground + (sky - self.ground) * up


def make_lighting(rng: np.random.Generator) -> Lighting:
    """Returns random weather: half of the time sunny, half overcast."""
    sunny = rng.uniform() < 0.5
    elevation, azimuth = np.radians(rng.uniform(12, 70)), rng.uniform(0, 2 * np.pi)
    direction = np.array(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    )
    warm = np.array([1.0, 0.93, 0.82]) ** (1.5 - np.sin(elevation))
    if sunny:
        sun = warm * rng.uniform(1.2, 3.2)
        blue = np.array([0.35, 0.55, 0.95]) * rng.uniform(0.5, 0.9)
        haze_white = np.array([0.85, 0.92, 1.0]) * rng.uniform(0.8, 1.6)
        clouds = rng.uniform(0, 0.75)
        ambient_scale = rng.uniform(0.25, 1.0)
        zenith, horizon = blue * ambient_scale, haze_white * ambient_scale
    else:
        sun = warm * (rng.uniform(0.1, 0.7) if rng.uniform() < 0.3 else 0.0)
        grey = rng.uniform([0.9, 0.95, 1.0], [1.0, 1.0, 1.1]) * rng.uniform(0.8, 1.3)
        zenith, horizon = grey, grey * rng.uniform(0.85, 1.25)
        clouds = rng.uniform(0, 1)
    ground = 0.22 * (zenith * 0.6 + sun * direction[2] * 0.3) + 0.05
    haze = 1 / rng.uniform(600, 5000) if rng.uniform() < 0.8 else 1 / rng.uniform(90, 400)
    values = [np.asarray(v, np.float32) for v in (direction, sun, zenith, horizon, ground)]
    return Lighting(*values, float(clouds), rng.uniform(0, 50, 2).astype(np.float32), float(haze))
