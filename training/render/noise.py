"""Natural-looking noise: one tileable 1/f texture with its mip levels, looked up at any scale without aliasing."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from training.render.compiled import compiled
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
def noise_atlas() -> npt.NDArray[np.float32]:
    """Returns the mip levels side by side, each with one wrapped row and column: (SIZE + 1, width, 3) float32."""
    rng = np.random.default_rng(7)
    level = np.stack([_spectrum_noise(rng, e) for e in (1.25, 0.75, 1.7)], axis=2)
    tiles = []
    for _ in range(LEVELS):
        tile = np.pad(level, ((0, 1), (0, 1), (0, 0)), mode="wrap")
        tiles.append(np.pad(tile, ((0, SIZE + 1 - tile.shape[0]), (0, 0), (0, 0))))
        level = cv2.resize(level, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.concatenate(tiles, axis=1))


@compiled
def lookup(atlas: Array, u: float, v: float, tile: float, detail: float) -> tuple[float, float, float]:
    """Returns the three channels of noise at a texture coordinate, blurred to the size of the pixel there.

    Args:
        atlas: of noise_atlas.
        u, v: metres.
        tile: metres after which the texture repeats.
        detail: log2 of the metres on the surface that one pixel covers.
    """
    level = min(max(int(detail - math.log2(tile / SIZE)), 0), LEVELS - 1)
    width = SIZE >> level
    offset = 2 * SIZE - 2 * width + level
    x, y = u / tile, v / tile
    x, y = (x - math.floor(x)) * width, (y - math.floor(y)) * width
    # Rounding may give x = width, whose right neighbour would lie in the next level.
    column, row = min(int(x), width - 1), min(int(y), width - 1)
    a, b = x - column, y - row
    column += offset
    w00, w01, w10, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    return (
        w00 * atlas[row, column, 0]
        + w01 * atlas[row, column + 1, 0]
        + w10 * atlas[row + 1, column, 0]
        + w11 * atlas[row + 1, column + 1, 0],
        w00 * atlas[row, column, 1]
        + w01 * atlas[row, column + 1, 1]
        + w10 * atlas[row + 1, column, 1]
        + w11 * atlas[row + 1, column + 1, 1],
        w00 * atlas[row, column, 2]
        + w01 * atlas[row, column + 1, 2]
        + w10 * atlas[row + 1, column, 2]
        + w11 * atlas[row + 1, column + 1, 2],
    )


@compiled
def hashed(a: float, b: float, c: float) -> float:
    """Returns a random-looking number in [0, 1) for each triple of cell numbers; c may have three decimals."""
    h = (int(a) * 374761393 + int(b) * 668265263 + int(c * 1000.0) * 69069 + 12345) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1103515245) & 0xFFFFFFFF
    return (h ^ (h >> 16)) / 4294967296.0
