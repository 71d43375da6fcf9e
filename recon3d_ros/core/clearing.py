"""Free space as points: what a costmap can clear by, since it drops NaN and cannot place +Inf."""

from __future__ import annotations

import numpy as np

from recon3d_ros.core.intervals import Floats, Pose


def clearing_points(
    depth: Floats,
    rays: Floats,
    *,
    max_range: float,
    T_base_camera: Pose | None = None,
    min_height: float = 0.0,
    max_height: float = 0.0,
) -> Floats:
    """Returns a point at max_range on the ray of each pixel that sees nothing nearer.

    A costmap frees the cells from the camera to the point. The points are beyond what it may mark only where its
    obstacle_max_range is below max_range. No point is put nearer, on rays that leave the height band before:
    it would be marked.

    Args:
        depth: (H, W) float32 metres along z; +Inf and all beyond max_range count as free, NaN does not.
        rays: (H, W, 3) float32 rays at z = 1.
        max_range: metres along the ray.
        T_base_camera: (4, 4); needed for a height band.
        min_height, max_height: metres along z of the base frame; points outside are left out, as costmaps drop
            them. Equal: no band.

    Returns:
        (N, 3) float32 metres, optical frame.
    """
    z = np.float32(max_range) / np.sqrt(np.einsum("hwc,hwc->hw", rays, rays))
    is_free = depth >= z
    points = rays[is_free] * z[is_free][:, None]
    if min_height < max_height:
        if T_base_camera is None:
            raise ValueError(
                "clearing points in a height band need T_base_camera, where the camera is in the base frame"
            )
        heights = points @ T_base_camera[2, :3] + T_base_camera[2, 3]
        points = points[(heights >= min_height) & (heights <= max_height)]
    return np.asarray(points, dtype=np.float32)
