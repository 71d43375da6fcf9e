"""Colours of depth and of its error, the same in every picture."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

# The scale is fixed, so that colours mean the same distance in every picture; it is logarithmic, as one that is
# linear in inverse depth leaves everything beyond 10 m in one colour.
NEAR, FAR = 2.0, 80.0  # metres
SKY = (56, 72, 96)  # RGB, as all colours here
INVALID = (0, 0, 0)
# Of the ratio of predicted to true depth, by its log2: half the depth, right, twice.
TOO_NEAR, RIGHT, TOO_FAR = (40, 90, 255), (245, 245, 245), (255, 50, 30)


def color_depth(depth: npt.NDArray[np.floating]) -> Picture:
    """Returns the (..., 3) uint8 RGB colours of depths in metres: red is NEAR, blue FAR, black invalid.

    Args:
        depth: (H, W) metres; NaN is invalid, +Inf nothing in range.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.log(FAR / np.clip(depth, NEAR, FAR)) / np.log(FAR / NEAR)
    color = cv2.applyColorMap(np.nan_to_num(255 * level).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1].copy()
    color[np.isposinf(depth)] = SKY
    color[np.isnan(depth)] = INVALID
    return np.asarray(color, dtype=np.uint8)


def color_ratio(prediction: npt.NDArray[np.floating], target: npt.NDArray[np.floating]) -> Picture:
    """Returns the (..., 3) uint8 RGB colours of predicted against true depth.

    Args:
        prediction: of any shape, metres; NaN is invalid and black.
        target: of the same shape, metres; NaN is unknown and black.

    Returns:
        White where they agree, blue where the prediction is half the truth or less, red where it is twice or more.
    """
    with np.errstate(invalid="ignore"):
        log_ratio = np.clip(np.log2(np.asarray(prediction, np.float64) / target), -1.0, 1.0)
    channels = [np.interp(log_ratio, (-1.0, 0.0, 1.0), v) for v in zip(TOO_NEAR, RIGHT, TOO_FAR, strict=True)]
    color: Picture = np.nan_to_num(np.stack(channels, axis=-1)).astype(np.uint8)
    color[np.isnan(log_ratio)] = INVALID
    return color
