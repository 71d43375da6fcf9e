"""Natural-looking noise: one tileable 1/f texture with its mip levels, looked up at any scale without aliasing."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from training.render.mesh import Array

SIZE = 512
LEVELS = 8
CHANNELS = 3


def _spectrum_noise(rng: np.random.Generator, exponent: float) -> Array:
    """Returns (SIZE, SIZE) tileable noise of amplitude 1/f**exponent, zero mean, unit deviation."""
    frequency = np.fft.fftfreq(SIZE) * SIZE
    radius = np.hypot(frequency[:, None], frequency[None])
    radius[0, 0] = 1
    spectrum = np.fft.fft2(rng.normal(size=(SIZE, SIZE))) / radius**exponent
    spectrum[0, 0] = 0
    noise = np.fft.ifft2(spectrum).real
    return (noise / noise.std()).astype(np.float32)


@lru_cache(maxsize=1)
def _atlas() -> Array:
    """Returns the mip levels side by side, each with one wrapped row and column: (SIZE + 1, width, 3) float32."""
    rng = np.random.default_rng(7)
    level = np.stack([_spectrum_noise(rng, e) for e in (1.25, 0.75, 1.7)], axis=2)
    tiles = []
    for _ in range(LEVELS):
        tile = np.pad(level, ((0, 1), (0, 1), (0, 0)), mode="wrap")
        tiles.append(np.pad(tile, ((0, SIZE + 1 - tile.shape[0]), (0, 0), (0, 0))))
        level = cv2.resize(level, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.concatenate(tiles, axis=1))


_WIDTHS = SIZE >> np.arange(LEVELS)
_OFFSETS = np.concatenate([[0], np.cumsum(_WIDTHS + 1)[:-1]]).astype(np.float32)


def lookup(uv: Array, tile_size: float, footprint: Array) -> Array:
    """Returns noise (N, 3) at texture coordinates, blurred to the size of the pixel on the surface.

    Args:
        uv: (N, 2) metres.
        tile_size: metres after which the texture repeats.
        footprint: (N,) metres on the surface that one pixel covers.
    """
    texel = tile_size / SIZE
    level = np.clip(np.log2(footprint / texel + 1e-6), 0, LEVELS - 1).astype(np.intp)
    width = _WIDTHS[level].astype(np.float32)
    cell = uv * np.float32(1 / tile_size)
    cell = (cell - np.floor(cell)) * width[:, None]
    return sample(_atlas(), cell[:, 0] + _OFFSETS[level], cell[:, 1])


def sample(texture: Array, x: Array, y: Array) -> Array:
    """Returns bilinear samples (N, C) of a texture at pixel coordinates x, y (N,)."""
    N = len(x)
    if N == 0:
        return np.zeros((0, texture.shape[2]), np.float32)
    rows = -(-N // 1024)
    maps = np.zeros((2, rows * 1024), np.float32)
    maps[0, :N], maps[1, :N] = x, y
    maps = maps.reshape(2, rows, 1024)
    out = cv2.remap(texture, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out.reshape(rows * 1024, -1)[:N]


def hashed(*values: npt.ArrayLike) -> Array:
    """Returns a random-looking number in [0, 1) for each tuple of cell numbers, the same for the same tuple."""
    total: npt.NDArray[np.float64] = np.zeros(())
    for k, value in enumerate(values):
        total = total + np.asarray(value, np.float64) * (12.9898, 78.233, 37.719, 4.581)[k]
    wave = np.sin(total) * 43758.5453
    return (wave - np.floor(wave)).astype(np.float32)
