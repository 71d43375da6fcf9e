"""What is painted on the sides of lorries and buses: stripes, blocks of text, signs, warning stripes."""

from __future__ import annotations

import numpy as np

from training.render.cars import PAINTS
from training.render.mesh import Array, Material, Mesh, from_quads, from_triangles
from training.render.shapes import box

PLAIN = (9, 1, 0, 0)  # a PANEL without grooves or letters
LETTERS = (4.9, 0, 0, 0)  # a PANEL whose texture prints letters where v is within 0.35 of 1.3


def fleet_colour(rng: np.random.Generator) -> Array:
    """Returns a fleet colour: often white or grey, else strong."""
    if rng.uniform() < 0.45:
        return np.full(3, rng.uniform(0.3, 0.8), np.float32)
    return PAINTS[rng.integers(len(PAINTS))] * rng.uniform(0.7, 1.3)


def _ink(rng: np.random.Generator) -> Array:
    """Returns a printing colour."""
    strong = [
        (0.5, 0.03, 0.02),
        (0.02, 0.08, 0.4),
        (0.02, 0.25, 0.08),
        (0.65, 0.45, 0.02),
        (0.03,) * 3,
        (0.75,) * 3,
    ]
    return np.array(strong[rng.integers(len(strong))], np.float32) * rng.uniform(0.6, 1.2)


def _on_side(side: int, y: float, corners: Array, ink: Array) -> Mesh:
    """Returns a flat shape of corners (4, 2) in x and z on the side at y, facing outwards."""
    points = np.stack([corners[:, 0], np.full(len(corners), side * y), corners[:, 1]], axis=1)
    return from_quads(points[None], corners[None], Material.PANEL, ink, PLAIN)


def text_panel(
    side: int, y: float, start: tuple[float, float], width: float, tall: float, rng: np.random.Generator
) -> Mesh:
    """Returns a line of something like text on a side, from x and z of its lower rear corner on."""
    x, z = start
    points = np.array([[(x, 0, z), (x + width, 0, z), (x + width, 0, z + tall), (x, 0, z + tall)]], np.float32)
    points[..., 1] = side * (y + 0.02)
    reach = width / tall * 0.7
    first = int(rng.integers(50)) * 0.2
    uv = np.array([[(first, 0.95), (first + reach, 0.95), (first + reach, 1.65), (first, 1.65)]])
    return from_quads(points, uv, Material.PANEL, rng.uniform(0.05, 0.75) * np.ones(3), LETTERS)


def livery(span: tuple[float, float], W: float, rise: tuple[float, float], rng: np.random.Generator) -> list[Mesh]:
    """Returns the decoration of both sides between x = span and z = rise of a body W wide; often nothing."""
    (a, b), (low, high) = span, rise
    L, H, y = b - a, high - low, W / 2 + 0.012
    parts: list[Mesh] = []
    if rng.uniform() < 0.35:
        z, tall = low + H * rng.uniform(0, 0.8), H * rng.uniform(0.05, 0.25)
        slant, ink = rng.choice([0.0, 0.0, rng.uniform(-1, 1)]) * H * 0.2, _ink(rng)
        band = np.array([(a, z), (b, z + slant), (b, z + slant + tall), (a, z + tall)])
        band[:, 1] = np.clip(band[:, 1], low, high)
        parts += [_on_side(side, y, band, ink) for side in (-1, 1)]
    if rng.uniform() < 0.3:
        x, wide, ink = a + L * rng.uniform(0.1, 0.6), L * rng.uniform(0.1, 0.3), _ink(rng)
        lean = rng.uniform(-0.5, 0.5)
        flash = np.array([(x, low), (x + wide, low), (x + wide + lean, high), (x + lean, high)])
        flash[:, 0] = np.clip(flash[:, 0], a, b)
        parts += [_on_side(side, y + 0.002, flash, ink) for side in (-1, 1)]
    if rng.uniform() < 0.65:
        tall = min(H * rng.uniform(0.12, 0.4), 1.0)
        width = min(L * rng.uniform(0.3, 0.85), tall * 9)
        start = (a + (L - width) * rng.uniform(0.1, 0.9), low + (H - tall) * rng.uniform(0.2, 0.9))
        parts += [text_panel(side, W / 2, start, width, tall, rng) for side in (-1, 1)]
    if rng.uniform() < 0.35:
        parts += _roundel((a, b), y + 0.004, (low, high), rng)
    if rng.uniform() < 0.3:
        tall = H * rng.uniform(0.1, 0.25)
        z = low + H * rng.uniform(0.3, 0.7)
        parts.append(box((0.02, W * 0.7, tall), Material.PANEL, _ink(rng), (9, 1, 0, 0), centre=(a - 0.03, 0, z)))
    return parts


def _roundel(
    span: tuple[float, float], y: float, rise: tuple[float, float], rng: np.random.Generator
) -> list[Mesh]:
    """Returns a round or star-shaped sign on both sides."""
    radius = min(rise[1] - rise[0], span[1] - span[0]) * rng.uniform(0.15, 0.4)
    x, z = rng.uniform(span[0] + radius, span[1] - radius), (rise[0] + rise[1]) / 2
    angle = np.linspace(0, 2 * np.pi, 17)
    out = radius * np.where(np.arange(17) % 2 == 0, 1.0, rng.choice([1.0, 1.0, 0.6, 0.8]))
    rim = np.stack([x + out * np.cos(angle), z + out * np.sin(angle)], axis=1)
    parts, ink = [], _ink(rng)
    for side in (-1, 1):
        points = np.full((16, 3, 3), side * y)
        points[:, 0, 0], points[:, 0, 2] = x, z
        points[:, 1][:, [0, 2]], points[:, 2][:, [0, 2]] = rim[:-1], rim[1:]
        parts.append(from_triangles(points, points[..., [0, 2]], Material.PANEL, ink, PLAIN))
    return parts


def warning_stripes(x: float, width: float, tall: float, z: float, rng: np.random.Generator) -> Mesh:
    """Returns slanting red and white or yellow stripes on the rear face at x."""
    count = max(4, int(width / 0.22))
    edges = np.linspace(-width / 2, width / 2, count + 1)
    a, b = edges[:-1], np.minimum(edges[1:], width / 2)
    lean = min(tall, width / count)
    zeros = np.zeros(count)
    quads = np.stack(
        [
            np.stack([zeros + x, a, zeros + z], 1),
            np.stack([zeros + x, b, zeros + z], 1),
            np.stack([zeros + x, np.minimum(b + lean, width / 2), zeros + z + tall], 1),
            np.stack([zeros + x, np.minimum(a + lean, width / 2), zeros + z + tall], 1),
        ],
        axis=1,
    )
    light = (0.65, 0.65, 0.62) if rng.uniform() < 0.5 else (0.7, 0.55, 0.05)
    colours = np.where((np.arange(count) % 2 == 0)[:, None], light, (0.5, 0.03, 0.02))
    return from_quads(quads, quads[..., 1:], Material.PANEL, colours.astype(np.float32), PLAIN)
