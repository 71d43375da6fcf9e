"""Flying pixels: depths between a near and a far surface at which nothing stands."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

# Pixels to either side that are compared. A network smears a step of depth over several pixels, the shipped one
# over about ten; a longer reach finds wider smears and costs more good points (python -m benchmarks.cloud).
REACH = 4


def flying_pixels(
    depth: npt.NDArray[np.float32], threshold: float, *, reach: int = REACH
) -> npt.NDArray[np.bool_]:
    """Returns the pixels that interpolate between two surfaces.

    Inverse depth w = 1 / z of any plane is linear in the pixel's coordinates, however steeply the plane is seen.
    So with k = reach, along rows and along columns, both of these are zero on a road up to the horizon:

        even: w(-k) - 2 w(0) + w(k)                         odd: w(-2k) - 2 w(-k) + 2 w(k) - w(2k)

    A smeared step of inverse depth by J gives up to J in one of them: the odd one in its middle, where the even
    one is blind by symmetry, the even one at its shoulders. A pixel flies where either is above `threshold` of its
    own w, so that the test is relative to range. The nearest and the farthest surface around it are kept: a thin
    pole, whose picture is all edge, stays. Only what lies between them goes.

    Args:
        depth: (H, W) float32 metres along z; +Inf is farther than all else, NaN unknown: it accuses no pixel.
            Pixels within `reach` of the image's border are tested in one direction only, or not at all.
        threshold: of the step, as a part of the pixel's inverse depth; 0.1 finds steps of about 10 % of the range.
        reach: k, pixels.

    Returns:
        (H, W) bool.
    """
    is_surface = np.isfinite(depth)
    if not is_surface.any():
        return is_surface
    is_sky = np.isposinf(depth)
    farthest = depth.max(where=is_surface, initial=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        w = np.float32(1) / np.minimum(depth, farthest)
        limit = np.float32(threshold) * w
        bent = _exceeds(w, limit, is_sky, reach)
        bent |= _exceeds(w.T, limit.T, is_sky.T, reach).T
    # A surface's own w is the highest or the lowest around; unknown pixels are neither.
    window = np.ones((2 * reach + 1, 2 * reach + 1), dtype=np.uint8)
    is_known = ~np.isnan(w)
    highest = cv2.dilate(np.where(is_known, w, np.float32(0)), window)
    lowest = cv2.erode(np.where(is_known, w, np.float32(np.inf)), window)
    limit /= 2
    is_between = (highest - w > limit) & (w - lowest > limit)
    return np.asarray(bent & is_between & is_surface, dtype=np.bool_)


def _exceeds(
    w: npt.NDArray[np.float32], limit: npt.NDArray[np.float32], is_sky: npt.NDArray[np.bool_], k: int
) -> npt.NDArray[np.bool_]:
    """Returns where the even or the odd difference along the rows is above the limit."""
    exceeds = np.zeros_like(w, dtype=np.bool_)
    if w.shape[1] > 2 * k:
        even = w[:, : -2 * k] + w[:, 2 * k :]
        even -= 2 * w[:, k:-k]
        # The sky's w is any number up to that of the farthest depth. Where a lower one would make the difference
        # vanish, the surface may go on beyond the range as it came: so does a road.
        touches_sky = is_sky[:, : -2 * k] | is_sky[:, 2 * k :]
        even[is_sky[:, k:-k] | (touches_sky & (even > 0))] = 0
        exceeds[:, k:-k] = np.abs(even) > limit[:, k:-k]
    if w.shape[1] > 4 * k:
        odd = even[:, 2 * k :] - even[:, : -2 * k]  # the even one at +k less that at -k
        exceeds[:, 2 * k : -2 * k] |= np.abs(odd) > limit[:, 2 * k : -2 * k]
    return exceeds
