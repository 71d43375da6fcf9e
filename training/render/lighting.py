"""Sun, sky and haze of a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.render.mesh import Array
from training.render.shading import Light


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
        wet: 0..1, how much the road mirrors after rain.
        lamps, headlight: strength of street lamps and lit windows, and of the carrier's own lights; 0 by day.
    """

    sun_direction: Array
    sun: Array
    zenith: Array
    horizon: Array
    ground: Array
    clouds: float
    cloud_shift: Array
    haze: float
    wet: float = 0.0
    lamps: float = 0.0
    headlight: float = 0.0

    def packed(self) -> Light:
        """Returns the same as compiled code takes it."""
        return Light(
            self.sun_direction, self.sun, self.zenith, self.horizon, self.ground, self.cloud_shift,
            self.clouds, self.haze, self.wet, self.lamps, self.headlight,
        )  # fmt: skip


def make_lighting(rng: np.random.Generator) -> Lighting:
    """Returns random weather: sunny 45 %, overcast 45 % (a third of it wet), night and dusk 10 %; fog in 5 %."""
    hour = rng.uniform()
    elevation, azimuth = np.radians(rng.uniform(12, 70)), rng.uniform(0, 2 * np.pi)
    if hour > 0.9:
        return _make_night(rng, azimuth)
    direction = _direction(elevation, azimuth)
    warm = np.array([1.0, 0.93, 0.82]) ** (1.5 - np.sin(elevation))
    wet = 0.0
    if hour < 0.45:
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
        wet = rng.uniform(0.2, 1) if rng.uniform() < 0.35 else 0.0
    ground = 0.22 * (zenith * 0.6 + sun * direction[2] * 0.3) + 0.05
    return Lighting(
        *_float32(direction, sun, zenith, horizon, ground), float(clouds), *_float32(rng.uniform(0, 50, 2)),
        _haze(rng), wet, headlight=float(rng.uniform(1, 6)) if wet > 0.5 else 0.0,
    )  # fmt: skip


def _make_night(rng: np.random.Generator, azimuth: float) -> Lighting:
    """Returns dusk or night: hardly any skylight, street lamps in most places, headlights."""
    dim = np.exp(rng.uniform(np.log(0.004), np.log(0.12)))
    zenith = np.array([0.5, 0.65, 1.0]) * dim
    horizon = rng.uniform([0.7, 0.6, 0.5], [1.3, 1.0, 1.1]) * dim * rng.uniform(1, 2.5)
    lamps = rng.uniform(0.15, 1.0) if rng.uniform() < 0.75 else 0.0
    ground = 0.2 * zenith + 0.02 * lamps
    wet = rng.uniform(0.2, 1) if rng.uniform() < 0.3 else 0.0
    return Lighting(
        *_float32(_direction(-0.2, azimuth), np.zeros(3), zenith, horizon, ground),
        float(rng.uniform(0, 1)), *_float32(rng.uniform(0, 50, 2)),
        _haze(rng), wet, lamps, float(rng.uniform(10, 60)),
    )  # fmt: skip


def _direction(elevation: float, azimuth: float) -> np.ndarray:
    """Returns the unit vector (3,) of a direction in the sky."""
    flat = np.cos(elevation)
    return np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])


def _haze(rng: np.random.Generator) -> float:
    """Returns the extinction per metre: mostly clear air, sometimes mist, in 5 % fog of 50 to 200 m visibility."""
    weather = rng.uniform()
    if weather < 0.05:
        return float(3 / rng.uniform(50, 200))
    return float(1 / (rng.uniform(90, 400) if weather < 0.2 else rng.uniform(600, 5000)))


def _float32(*values: npt.ArrayLike) -> list[Array]:
    """Returns the values as float32 arrays."""
    return [np.asarray(value, np.float32) for value in values]
