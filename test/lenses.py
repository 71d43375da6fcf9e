"""Lens distortion by its published formulas, independent of OpenCV, and a renderer that looks through it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel

Array = npt.NDArray[np.float64]

LENSES = {
    "none": (),
    "plumb_bob": (-0.28, 0.07, 0.0011, -0.0007, 0.013),
    "rational_polynomial": (-0.05, 0.02, 0.0006, -0.0009, 0.004, 0.25, 0.01, 0.002),
    "equidistant": (-0.014, 0.021, -0.016, 0.004),
}
DISTORTED = [model for model in LENSES if model != "none"]


def distort(camera: CameraModel, x: Array, y: Array) -> tuple[Array, Array]:
    """Returns the pixels (u, v) at which rays (x, y, 1) appear.

    Source: OpenCV's calib3d documentation: "Detailed Description" (plumb_bob, and rational_polynomial without thin
        prism and tilt) and "Fisheye camera model" (equidistant).
    """
    r2 = x**2 + y**2
    d = (*camera.distortion, *([0.0] * 8))
    if camera.distortion_model == "equidistant":
        theta = np.arctan(np.sqrt(r2))
        theta_d = theta * (1 + d[0] * theta**2 + d[1] * theta**4 + d[2] * theta**6 + d[3] * theta**8)
        factor = np.divide(theta_d, np.sqrt(r2), out=np.ones_like(r2), where=r2 > 0)
        x_d, y_d = x * factor, y * factor
    else:
        k1, k2, p1, p2, k3, k4, k5, k6 = d[:8]
        radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
        x_d = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
        y_d = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
    return camera.fx * x_d + camera.cx, camera.fy * y_d + camera.cy


def rays_of_raw_pixels(camera: CameraModel) -> tuple[Array, Array]:
    """Returns the rays (x, y, 1) that fall on each raw pixel, each (height, width), by Newton's method."""
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    step = 1e-6
    for _ in range(20):
        u0, v0 = distort(camera, x, y)
        ux, vx = (np.subtract(a, b) / step for a, b in zip(distort(camera, x + step, y), (u0, v0), strict=True))
        uy, vy = (np.subtract(a, b) / step for a, b in zip(distort(camera, x, y + step), (u0, v0), strict=True))
        determinant = ux * vy - uy * vx
        x = x - ((u0 - u) * vy - (v0 - v) * uy) / determinant
        y = y - ((v0 - v) * ux - (u0 - u) * vx) / determinant
    u0, v0 = distort(camera, x, y)
    assert np.abs(u0 - u).max() < 1e-6
    assert np.abs(v0 - v).max() < 1e-6
    return x, y
