"""The ego mask: polygons that a user draws on the camera's image around what belongs to the vehicle."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.preprocess import RawImage, Rectifier

# Corners (u, v) in pixels of the image as the camera sends it, before undistortion, crop and resize: there the
# user sees the bonnet, and there it stays when the model's size changes.
Polygon = tuple[tuple[float, float], ...]


class MaskError(ValueError):
    """A polygon that cannot be a mask."""


def parse_polygon(text: str) -> Polygon:
    """Returns the polygon of a text such as "0 300, 620 280, 640 375, 0 375": u v of each corner, in order.

    Raises:
        MaskError: if it is not that, or no simple polygon (check_polygon).
    """
    try:
        corners = [tuple(float(number) for number in corner.split()) for corner in text.split(",")]
    except ValueError as error:
        raise MaskError(f"mask polygon '{text}': {error}; expected 'u v, u v, u v' in pixels") from error
    if any(len(corner) != 2 for corner in corners):
        raise MaskError(f"mask polygon '{text}': expected two numbers a corner, 'u v, u v, u v' in pixels")
    polygon = tuple((corner[0], corner[1]) for corner in corners)
    check_polygon(polygon)
    return polygon


def check_polygon(polygon: Polygon) -> None:
    """Raises MaskError unless it has three or more finite corners and an area, and its sides do not cross."""
    if len(polygon) < 3:
        raise MaskError(f"mask polygon {_name(polygon)} has {len(polygon)} corners, expected 3 or more")
    if not all(math.isfinite(number) for corner in polygon for number in corner):
        raise MaskError(f"mask polygon {_name(polygon)} has a corner that is not finite, expected pixels")
    sides = list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))
    for corner, following in sides:
        if corner == following:
            raise MaskError(
                f"mask polygon {_name(polygon)} names the corner {corner} twice in a row; leave one out"
            )
    for first, side in enumerate(sides):
        for second in range(first + 1, len(sides)):
            are_neighbours = second == first + 1 or (first == 0 and second == len(sides) - 1)
            if not are_neighbours and _touch(side, sides[second]):
                raise MaskError(
                    f"mask polygon {_name(polygon)} crosses itself: the side {side[0]} to {side[1]} meets that "
                    f"from {sides[second][0]} to {sides[second][1]}; give the corners in order around the shape"
                )
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in sides) / 2
    if abs(area) < 1.0:
        raise MaskError(
            f"mask polygon {_name(polygon)} has an area of {abs(area):.2g} pixels, expected at least 1"
        )


def ego_mask(polygons: Sequence[Polygon], rectifier: Rectifier) -> npt.NDArray[np.bool_]:
    """Returns which pixels of the rectified image show what the polygons enclose.

    Args:
        polygons: in pixels of the raw image.
        rectifier: of the camera.

    Returns:
        (height, width) bool; True also where a rectified pixel takes only a part of its colour from within.

    Raises:
        MaskError: if a corner lies outside the raw image.
    """
    width, height = rectifier.source.width, rectifier.source.height
    raw = np.zeros((height, width), dtype=np.uint8)
    for polygon in polygons:
        for u, v in polygon:
            # Image tools name the border 0 and the width, pixel centres are at 0 to width - 1: accept both.
            if not (-0.5 <= u <= width and -0.5 <= v <= height):
                raise MaskError(
                    f"mask polygon {_name(polygon)} has the corner ({u:g}, {v:g}) outside the {width}x{height} "
                    "image; expected pixels of the image as the camera sends it"
                )
        cv2.fillPoly(raw, [np.rint(polygon).astype(np.int32)], 255)
    return np.asarray(rectifier(RawImage(raw, "mono"))[..., 0] > 0, dtype=np.bool_)


def _name(polygon: Polygon) -> str:
    return "'" + ", ".join(f"{u:g} {v:g}" for u, v in polygon) + "'"


def _touch(side: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> bool:
    """Returns whether two line segments have a point in common."""
    (a, b), (c, d) = side, other
    turns = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    ends = ((turns[0], c, side), (turns[1], d, side), (turns[2], a, other), (turns[3], b, other))
    return any(turn == 0 and _is_in_bounds(end, segment) for turn, end, segment in ends)


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    """Returns twice the signed area of a triangle: its sign says to which side of ab the corner c lies."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _is_in_bounds(p: tuple[float, float], segment: Sequence[tuple[float, float]]) -> bool:
    a, b = segment
    return min(a[0], b[0]) <= p[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= p[1] <= max(a[1], b[1])
