"""From radiance to what a camera would store: exposure, white balance, lens, motion, rain, sensor, JPEG."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from training.render.compiled import compiled
from training.render.mesh import Array

MIDDLE_GREY = 0.17
# A camera that would have to amplify more stays dark instead, and what it amplifies is noise.
MAX_GAIN = 6.0


@dataclass(frozen=True)
class Camera:
    """How one photograph is taken.

    Attributes:
        stops: exposure beside what the meter says.
        cast: (3,) factors of the colour channels.
        vignette: share of light that the corners lose.
        knee: brightness above which highlights are compressed.
        blur_px: sigma of the lens; motion_px: (2,) path of the image during the exposure; zoom: its growth.
        noise: deviation of the sensor's noise at a gain of one; chroma: the part of it that differs by channel.
        gamma, saturation, contrast: of the tone curve.
        rain: streaks, 0 for none.
        jpeg_quality: None is lossless.
    """

    stops: float = 0.0
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0)
    vignette: float = 0.0
    knee: float = 0.8
    blur_px: float = 0.4
    motion_px: tuple[float, float] = (0.0, 0.0)
    zoom: float = 0.0
    noise: float = 0.003
    chroma: float = 1.0
    gamma: float = 2.2
    saturation: float = 1.0
    contrast: float = 1.0
    rain: int = 0
    jpeg_quality: int | None = None


def random_camera_settings(rng: np.random.Generator, *, wet: bool) -> Camera:
    """Returns settings of any camera: some out of focus, some with motion blur, rain on most wet roads.

    Args:
        wet: whether the road is wet, so that it may rain.
    """
    motion, zoom = (0.0, 0.0), 0.0
    if rng.uniform() < 0.12:
        length, angle = rng.uniform(1.5, 7), rng.normal(0, 0.3)
        motion, zoom = (length * math.cos(angle), length * math.sin(angle)), 0.0
        if rng.uniform() < 0.4:
            motion, zoom = (0.0, 0.0), rng.uniform(0.005, 0.025)
    return Camera(
        stops=rng.normal(0, 0.5),
        cast=tuple(rng.normal(1, 0.05, 3)),
        vignette=rng.uniform(0, 0.3) if rng.uniform() < 0.85 else rng.uniform(0.3, 0.6),
        knee=rng.uniform(0.5, 1.0),
        blur_px=rng.uniform(0.25, 0.75) if rng.uniform() < 0.9 else rng.uniform(0.75, 1.8),
        motion_px=motion,
        zoom=zoom,
        noise=rng.uniform(0.002, 0.02) if rng.uniform() < 0.93 else rng.uniform(0.02, 0.05),
        chroma=rng.uniform(0.2, 1),
        gamma=rng.uniform(1.9, 2.5),
        saturation=rng.uniform(0.6, 1.3),
        contrast=rng.uniform(0.85, 1.5),
        rain=int(rng.integers(30, 500)) if wet and rng.uniform() < 0.7 else 0,
        jpeg_quality=int(rng.integers(55, 97)),
    )


def exposure_key(radiance: Array) -> float:
    """Returns the geometric mean of the radiance (H, W, 3) below the sky, which exposure aims at."""
    lower = radiance[len(radiance) // 3 :: 2, ::2].mean(axis=2)
    return float(np.exp(np.log(lower + 1e-3).mean()))


def develop(
    radiance: Array,
    rng: np.random.Generator,
    *,
    key: float | None = None,
    camera: Camera | None = None,
) -> npt.NDArray[np.uint8]:
    """Returns an image (H, W, 3) uint8 RGB of linear radiance (H, W, 3).

    Args:
        rng: draws the grain and the rain.
        key: the exposure to keep; without one it is metered.
        camera: its settings; without them those of a good, steady camera.
    """
    H, W, _ = radiance.shape
    camera = camera or Camera()
    gain = min(MIDDLE_GREY / (exposure_key(radiance) if key is None else key), MAX_GAIN)
    image = np.empty((H, W, 3), np.float32)
    cast = np.float32(camera.cast) * np.float32(gain * 2**camera.stops)
    _expose(np.ascontiguousarray(radiance), cast, camera.vignette, camera.knee, image)
    if camera.rain:
        _draw_rain(image, camera.rain, rng)
    image = _moved(image, camera)
    image = cv2.GaussianBlur(image, (0, 0), camera.blur_px)
    noise = camera.noise * math.sqrt(max(gain, 1.0))
    grain = rng.standard_normal((H, W, 3), np.float32)
    stored = np.empty((H, W, 3), np.uint8)
    _encode(image, grain, noise, camera.chroma, camera.gamma, camera.saturation, camera.contrast, stored)
    if camera.jpeg_quality is None:
        return stored
    options = [cv2.IMWRITE_JPEG_QUALITY, camera.jpeg_quality]
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", stored, options)[1], cv2.IMREAD_COLOR), np.uint8)


@compiled
def _expose(radiance: Array, gain: Array, vignette: float, knee: float, image: Array) -> None:
    """Fills image (H, W, 3) 0..1: exposed, darker towards the corners, highlights rolled off above the knee."""
    H, W, _ = radiance.shape
    for y in range(H):
        v = 2.0 * y / (H - 1) - 1
        for x in range(W):
            u = 2.0 * x / (W - 1) - 1
            fall = 1 - vignette * (u * u + 0.3 * v * v) / 1.3
            for k in range(3):
                value = radiance[y, x, k] * gain[k] * fall
                if value > knee:
                    value = knee + (1 - knee) * (1 - math.exp(-(value - knee) / (1 - knee + 1e-3) * 0.7))
                image[y, x, k] = min(max(value, 0.0), 1.0)


def _moved(image: Array, camera: Camera) -> Array:
    """Returns the image as smeared by the camera's motion: shifted along a line, or grown about the middle."""
    H, W, _ = image.shape
    dx, dy = camera.motion_px
    if camera.zoom:
        total = np.zeros_like(image)
        for scale in np.linspace(1.0, 1 + camera.zoom, 5):
            warp = np.float32([[scale, 0, W / 2 * (1 - scale)], [0, scale, H / 2 * (1 - scale)]])
            total += cv2.warpAffine(image, warp, (W, H), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return total / np.float32(5)
    size = 2 * math.ceil(max(abs(dx), abs(dy)) / 2) + 1
    if size < 3:
        return image
    kernel = np.zeros((size, size), np.float32)
    middle = size // 2
    ends = [(round(16 * (middle + e * dx / 2)), round(16 * (middle + e * dy / 2))) for e in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, 4)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE))


def _draw_rain(image: Array, streaks: int, rng: np.random.Generator) -> None:
    """Draws short bright streaks and a few blurred drops on the lens into the image."""
    H, W, _ = image.shape
    veil = np.zeros((H, W), np.float32)
    slant = rng.normal(0, 0.25)
    for x, y, long, light in rng.uniform([0, -0.05, 0.02, 0.03], [1, 1, 0.12, 0.2], (streaks, 4)):
        start = (int(16 * x * W), int(16 * y * H))
        end = (int(start[0] + 16 * slant * long * H), int(start[1] + 16 * long * H))
        cv2.line(veil, start, end, float(light), 1, cv2.LINE_AA, 4)
    image += (0.75 - image) * veil[:, :, None]
    soft = cv2.blur(image, (11, 11)) if rng.uniform() < 0.4 else None
    if soft is not None:
        drops = np.zeros((H, W), np.float32)
        for x, y, size in rng.uniform([0, 0, 0.008], [1, 1, 0.04], (int(rng.integers(2, 14)), 3)):
            cv2.circle(drops, (int(x * W), int(y * H)), max(2, int(size * H)), 1.0, -1, cv2.LINE_AA)
        image += (1.1 * soft - image) * cv2.blur(drops, (3, 3))[:, :, None]


@compiled
def _encode(
    image: Array,
    grain: Array,
    noise: float,
    chroma: float,
    gamma: float,
    saturation: float,
    contrast: float,
    stored: npt.NDArray[np.uint8],
) -> None:
    """Fills stored (H, W, 3): noise that grows with the light, then the camera's tone curve."""
    H, W, _ = image.shape
    for y in range(H):
        for x in range(W):
            shared = grain[y, x, 0]
            red = image[y, x, 0] + shared * noise * math.sqrt(image[y, x, 0] + 0.02)
            green = image[y, x, 1] + (shared + chroma * (grain[y, x, 1] - shared)) * noise * math.sqrt(
                image[y, x, 1] + 0.02
            )
            blue = image[y, x, 2] + (shared + chroma * (grain[y, x, 2] - shared)) * noise * math.sqrt(
                image[y, x, 2] + 0.02
            )
            red, green, blue = (
                min(max(red, 0.0), 1.0) ** (1 / gamma),
                min(max(green, 0.0), 1.0) ** (1 / gamma),
                min(max(blue, 0.0), 1.0) ** (1 / gamma),
            )
            grey = (red + green + blue) / 3
            for k, value in enumerate((red, green, blue)):
                value = grey + (value - grey) * saturation
                value = (value - 0.45) * contrast + 0.45
                stored[y, x, k] = int(min(max(value * 255 + 0.5, 0.0), 255.0))
