"""Pictures of the scale over the frames of a drive, and of obstacles and ground in some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.lidar import Returns
from recon3d_ros.core.obstacles import GROUND, OBSTACLE

WIDTH, HEIGHT = 1200, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 250, 30, 50
COLOURS = {  # BGR
    "model": (60, 60, 60),
    "ground": (40, 40, 210),
    "ground, alone": (170, 170, 245),
    "lidar": (200, 90, 20),
    "lidar, alone": (240, 195, 150),
}


def write_picture(path: Path, scales: Mapping[str, Sequence[float]]) -> None:
    """Writes the plot: the scale of each mode in COLOURS, against the number of the frame."""
    picture = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    values = np.array([scales[name] for name in COLOURS])
    count = values.shape[1]
    low, high = np.floor(values.min() * 20 - 0.5) / 20, np.ceil(values.max() * 20 + 0.5) / 20

    def place(frame: float, scale: float) -> tuple[int, int]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * frame / max(count - 1, 1)
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (scale - low) / (high - low)
        return round(x), round(y)

    def write(text: str, at: tuple[int, int], colour: tuple[int, int, int] = (0, 0, 0)) -> None:
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.55, colour, 1, cv2.LINE_AA)

    for scale in np.arange(low, high + 0.001, 0.05):
        x, y = place(0, scale)
        cv2.line(picture, (x, y), place(count - 1, scale), (225, 225, 225), 1)
        write(f"{scale:.2f}", (12, y + 5))
    for frame in range(0, count, 10):
        x, y = place(frame, low)
        write(str(frame + 1), (x - 8, y + 22))
    write("frame (10 a second)", (WIDTH // 2 - 200, HEIGHT - 8))
    write("metric / predicted depth", (LEFT, 18))
    # The unfiltered lines first: the filtered ones lie on top.
    for row, name in enumerate(sorted(COLOURS, key=lambda name: "alone" not in name)):
        points = np.array([place(frame, scale) for frame, scale in enumerate(scales[name])], np.int32)
        thickness = 1 if "alone" in name else 2
        cv2.polylines(picture, [points], False, COLOURS[name], thickness, cv2.LINE_AA)
        at = WIDTH - RIGHT + 20, TOP + 30 + 28 * row
        cv2.line(picture, at, (at[0] + 40, at[1]), COLOURS[name], thickness + 1, cv2.LINE_AA)
        write(name, (at[0] + 50, at[1] + 5))
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])


def split_picture(
    image: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], returns: Returns, height: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """Returns an RGB picture: left the labels over the image, right the returns; ground green, obstacles red.

    Args:
        image: (h, w, 3) uint8 RGB.
        labels: (h, w) of obstacles.split_ground.
        returns, height: the LiDAR's, and how far each is above level ground, metres.
    """
    said, seen = image // 2, image // 2
    said[labels == GROUND, 1] += 127
    said[labels == OBSTACLE, 0] += 127
    for which, colour in ((np.abs(height) < 0.2, (0, 255, 0)), ((height > 0.4) & (height < 2.5), (255, 0, 0))):
        seen[returns.row[which], returns.column[which]] = colour
    return np.hstack([said, seen])


def write_split_picture(path: Path, pictures: Sequence[npt.NDArray[np.uint8]]) -> None:
    page = cv2.cvtColor(np.vstack(pictures), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(path), page, [cv2.IMWRITE_JPEG_QUALITY, 80])
