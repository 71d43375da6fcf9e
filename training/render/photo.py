"""From radiance to what a camera would store: exposure, white balance, lens, sensor, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from training.render.mesh import Array


def exposure_key(radiance: Array) -> float:
    """Returns the geometric mean of the radiance (H, W, 3) below the sky, which exposure aims at."""
    lower = radiance.mean(axis=2)[len(radiance) // 3 :]
    return float(np.exp(np.log(lower + 1e-3).mean()))


def develop(radiance: Array, rng: np.random.Generator, *, key: float | None = None) -> npt.NDArray[np.uint8]:
    """Returns an image (H, W, 3) uint8 RGB of linear radiance (H, W, 3).

    Args:
        key: the exposure of a good, steady camera; without one, exposure, colour cast, blur, noise and
            compression are drawn.
    """
    H, W, _ = radiance.shape
    varied = key is None
    key = exposure_key(radiance) if key is None else key
    stops = rng.normal(0, 0.5) if varied else 0.0
    image = radiance * np.float32(0.17 / key * 2**stops)
    if varied:
        image = image * rng.normal(1, 0.05, 3).astype(np.float32)
        v, u = np.mgrid[-1 : 1 : H * 1j, -1 : 1 : W * 1j].astype(np.float32)
        image = image * (1 - rng.uniform(0, 0.3) * (u * u + 0.3 * v * v) / 1.3)[:, :, None]
    knee = rng.uniform(0.5, 1.0) if varied else 0.8
    image = np.where(
        image < knee,
        image,
        knee + (1 - knee) * (1 - np.exp(-np.maximum(image - knee, 0) / (1 - knee + 1e-3) * 0.7)),
    )
    sigma = rng.uniform(0.25, 0.75) if varied else 0.4
    image = cv2.GaussianBlur(np.clip(image, 0, 1).astype(np.float32), (0, 0), sigma)
    noise = rng.uniform(0.002, 0.02) if varied else 0.003
    grain = rng.standard_normal((H, W, 3), np.float32)
    image = image + grain * noise * np.sqrt(image + 0.02)
    image = np.clip(image, 0, 1) ** (1 / (rng.uniform(1.9, 2.5) if varied else 2.2))
    if varied:
        grey = image.mean(axis=2, keepdims=True)
        image = grey + (image - grey) * rng.uniform(0.6, 1.3)
        contrast = rng.uniform(0.85, 1.5)
        image = (image - 0.45) * contrast + 0.45
    stored = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    if not varied:
        return stored
    quality = int(rng.integers(55, 97))
    _, data = cv2.imencode(".jpg", stored[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])
