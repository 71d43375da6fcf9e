"""Photometric augmentation: what cameras, weather and compression do to colours, and what rendering lacks.

It is strong on purpose: a network trained on rendered streets must not rely on the look of the renderer.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

# NTSC's luma and chroma: hue is a rotation, saturation a scale of the chroma plane.
RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], dtype=np.float32)
YIQ_TO_RGB = np.linalg.inv(RGB_TO_YIQ).astype(np.float32)


def augment_photometry(image: Image, rng: np.random.Generator) -> Image:
    """Returns the image with random colour, light, sharpness, noise, compression and occlusion.

    Args:
        image: (H, W, 3) uint8 RGB.
        rng: Source of all randomness.
    """
    x = image.astype(np.float32)
    if rng.random() < 0.3:
        x = _change_textures(x, rng)
    if rng.random() < 0.3:
        x *= _smooth_field(x.shape[:2], rng, cells=int(rng.integers(2, 6)), strength=0.35)
    if rng.random() < 0.2:
        x *= _smooth_field(x.shape[:2], rng, cells=int(rng.integers(16, 64)), strength=0.12)
    x = _shift_colours(x, rng)
    x = _change_sharpness(x, rng)
    if rng.random() < 0.4:
        sigma = rng.uniform(1.0, 9.0)
        size = x.shape if rng.random() < 0.5 else (*x.shape[:2], 1)
        x += rng.standard_normal(size, dtype=np.float32) * sigma
    result = np.clip(x, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        result = _compress(result, quality=int(rng.integers(25, 95)))
    if rng.random() < 0.3:
        result = _cut_out(result, rng)
    return result


def _change_textures(x: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Returns x blended with its convolution by a random kernel: other textures and colours, the same shapes.

    Source: Xu et al. 2021 (RandConv), the mixing variant; mean and spread of each channel stay those of x.
    """
    size = int(rng.choice([1, 3, 5, 7]))
    kernels = rng.standard_normal((3, 3, size, size)).astype(np.float32)
    mixed = np.zeros_like(x)
    for output in range(3):
        for channel in range(3):
            mixed[..., output] += cv2.filter2D(x[..., channel], cv2.CV_32F, kernels[output, channel])
    # cv2's: numpy's mean and deviation by channel would take more than half of this function's time.
    (mean, spread), (own_mean, own_spread) = (
        [values.reshape(3).astype(np.float32) for values in cv2.meanStdDev(image)] for image in (mixed, x)
    )
    mixed = (mixed - mean) * (own_spread / (spread + 1e-3)) + own_mean
    share = np.float32(rng.uniform(0.1, 0.7))
    return np.clip(x + share * (mixed - x), 0.0, 255.0)


def _smooth_field(
    size: tuple[int, int], rng: np.random.Generator, *, cells: int, strength: float
) -> npt.NDArray[np.float32]:
    """Returns a positive (H, W, 1) field around 1 that varies over about `cells` cells across the image."""
    height, width = size
    rows = max(2, cells * height // width)
    coarse = rng.standard_normal((rows, cells), dtype=np.float32) * strength
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.exp(fine)[..., None]


def _shift_colours(x: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Returns x with random exposure, contrast, gamma, saturation, hue and colour cast; sometimes grey."""
    saturation = 0.0 if rng.random() < 0.12 else rng.uniform(0.4, 1.6)
    hue = rng.normal(0.0, 0.2)
    rotation = np.array(
        [[1, 0, 0], [0, np.cos(hue), -np.sin(hue)], [0, np.sin(hue), np.cos(hue)]], dtype=np.float32
    )
    rotation[1:] *= saturation
    exposure = np.exp(rng.normal(0.0, 0.3))
    cast = np.exp(rng.normal(0.0, 0.1, size=3)) * exposure
    matrix = (cast[:, None] * (YIQ_TO_RGB @ rotation @ RGB_TO_YIQ)).astype(np.float32)
    x = cv2.transform(x, matrix)
    contrast = rng.uniform(0.6, 1.5)
    mean = float(x.mean())
    x = np.clip((x - mean) * contrast + mean + rng.normal(0.0, 12.0), 0.0, 255.0)
    if rng.random() < 0.6:
        gamma = np.exp(rng.normal(0.0, 0.3))
        x = 255.0 * cv2.pow(x / 255.0, gamma)
    return np.asarray(x, dtype=np.float32)


def _change_sharpness(x: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Returns x blurred, sharpened, moved during exposure, sampled coarser, or as it is."""
    height, width = x.shape[:2]
    kind = rng.random()
    if kind < 0.15:
        return np.asarray(cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.5)))
    if kind < 0.35:
        blurred = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.7, 1.5))
        return np.asarray(x + (x - blurred) * np.float32(rng.uniform(0.3, 1.5)))
    if kind < 0.42:
        length = int(rng.integers(3, 8))
        return np.asarray(cv2.blur(x, (length, 1) if rng.random() < 0.7 else (1, length)))
    if kind < 0.5:
        scale = rng.uniform(0.4, 0.9)
        small = cv2.resize(x, (int(width * scale), int(height * scale)), interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    return x


def _compress(image: Image, *, quality: int) -> Image:
    """Returns the image after JPEG compression."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


def _cut_out(image: Image, rng: np.random.Generator) -> Image:
    """Returns the image with one to four rectangles of one colour or of noise; their depth stays known."""
    height, width = image.shape[:2]
    image = image.copy()
    for _ in range(int(rng.integers(1, 5))):
        h = int(rng.integers(height // 16, height // 3))
        w = int(rng.integers(width // 32, width // 6))
        top, left = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
        colour = rng.integers(0, 256, size=3)
        noise = rng.integers(-40, 41, size=(h, w, 1)) * (rng.random() < 0.5)
        image[top : top + h, left : left + w] = np.clip(colour + noise, 0, 255).astype(np.uint8)
    return image
