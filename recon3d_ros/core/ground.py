"""The road as a plane in the camera's view, fitted anew in each frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.mounting import Mounting

Vector = npt.NDArray[np.float64]

SAMPLES = 4000  # pixels looked at, at most
HYPOTHESES = 200
MAX_RANGE = 15.0  # of the fit, in camera heights: about 25 m; beyond it a road's bend matters more than noise
TOLERANCE = 0.12  # of the camera's height; on the road this is the relative error of the depth
IRLS_ROUNDS = 6


@dataclass(frozen=True, eq=False)
class GroundPlane:
    """The road near the vehicle, n . p + height = 0, in the unit of the depth that it was fitted to.

    Attributes:
        normal: (3,) float64 unit vector, up, optical frame.
        height: of the camera above the plane; metres if the depth is right.
        inlier_share: of the points where the road may be, how many lie on the plane.
        residual: robust standard deviation of those points' relative depth error.
        sigma: standard deviation of log(height).
    """

    normal: Vector
    height: float
    inlier_share: float
    residual: float
    sigma: float

    def heights(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns the (...) float32 heights of (..., 3) points above the plane, NaN where there is no point."""
        return np.asarray(points @ self.normal.astype(np.float32) + np.float32(self.height), dtype=np.float32)

    def scaled(self, scale: float) -> GroundPlane:
        """Returns the plane of the same depth times `scale`."""
        return GroundPlane(self.normal, self.height * scale, self.inlier_share, self.residual, self.sigma)


@dataclass(frozen=True, eq=False)
class GroundFit:
    """A frame's road: the plane, or None and the reason why none was found."""

    plane: GroundPlane | None
    reason: str = ""


def nominal_plane(mounting: Mounting) -> GroundPlane:
    """Returns the road as the mounting alone has it: what to go on with while no road is seen."""
    return GroundPlane(mounting.up, mounting.height, inlier_share=0.0, residual=math.inf, sigma=math.inf)


def fit_ground(
    points: npt.NDArray[np.float32],
    mounting: Mounting,
    *,
    max_tilt: float = math.radians(6.0),
    max_ratio: float = 2.0,
    min_share: float = 0.25,
    seed: int = 0,
) -> GroundFit:
    """Returns the plane of the road near the vehicle. The same points give the same plane.

    Three points at a time propose planes (RANSAC); the one that most points lie on and fewest below is refined by
    reweighted least squares. Residuals are relative errors of depth, 1 + n . p / height, because that is how a
    network errs: so a centimetre counts more near the vehicle than far from it.

    Args:
        points: (h, w, 3) float32, optical frame; NaN where there is none.
        mounting: of the camera.
        max_tilt: between the road and the level vehicle's, radians: pitching, rolling and the mounting's error.
        max_ratio: the fitted height is within the known one divided and multiplied by this.
        min_share: of the points where the road may be; below it none is found.
        seed: of the choice of the three points.
    """
    samples = _sample(points)
    up, height = mounting.up, mounting.height
    depression = -(samples @ up)
    distance = np.sqrt(np.maximum(np.einsum("ij,ij->i", samples, samples) - depression**2, 0.0))
    # Where a road within the prior can be: not above the horizon, not far below the road.
    may_be = (distance < MAX_RANGE * height) & (depression > height / max_ratio - math.tan(max_tilt) * distance)
    may_be &= (depression > 0.25 * height) & (depression < max_ratio * height + math.tan(max_tilt) * distance)
    road = samples[may_be]
    if len(road) < max(20, 0.02 * SAMPLES):
        return GroundFit(None, f"{len(road)} of {len(samples)} points are where the road may be")
    planes = _hypotheses(road, up, height, max_tilt=max_tilt, max_ratio=max_ratio, seed=seed)
    if not len(planes):
        return GroundFit(
            None, f"no three points lie on a plane within {math.degrees(max_tilt):g} degrees of level"
        )
    best = planes[int(np.argmax(_score(1.0 + road @ planes.T)))]
    plane, residuals = _refine(road, best)
    is_on = np.abs(residuals) < TOLERANCE
    share = float(is_on.mean())
    if share < min_share:
        return GroundFit(None, f"{100 * share:.0f} % of the points where the road may be lie on one plane")
    fitted_height = 1.0 / float(np.linalg.norm(plane))
    normal = plane * fitted_height
    if normal @ up < math.cos(max_tilt) or not 1 / max_ratio < fitted_height / height < max_ratio:
        return GroundFit(
            None,
            f"the plane is {math.degrees(math.acos(min(1.0, float(normal @ up)))):.1f} degrees off level, "
            f"{fitted_height:.2f} below the camera",
        )
    residual = 1.4826 * float(np.median(np.abs(residuals[is_on])))
    return GroundFit(GroundPlane(normal, fitted_height, share, residual, _sigma(residual, share)))


def _sample(points: npt.NDArray[np.float32]) -> Vector:
    """Returns (N, 3) float64 points of a fixed grid over the image."""
    H, W, _ = points.shape
    stride = max(1, math.ceil(math.sqrt(H * W / SAMPLES)))
    grid = points[stride // 2 :: stride, stride // 2 :: stride].reshape(-1, 3)
    return grid[np.isfinite(grid).all(axis=1) & (grid[:, 2] > 0)].astype(np.float64)


def _hypotheses(
    road: Vector, up: Vector, height: float, *, max_tilt: float, max_ratio: float, seed: int
) -> Vector:
    """Returns (K, 3) planes m = normal / height through three of the points each, within the prior."""
    rng = np.random.default_rng(seed)
    chosen = road[rng.integers(0, len(road), (HYPOTHESES, 3))]
    chosen = chosen[np.abs(np.linalg.det(chosen)) > 1e-6 * height**3]
    planes = np.linalg.solve(chosen, -np.ones((len(chosen), 3, 1)))[..., 0]
    norms = np.linalg.norm(planes, axis=1)
    is_likely = (
        (planes @ up > math.cos(max_tilt) * norms)
        & (norms * height < max_ratio)
        & (norms * height > 1 / max_ratio)
    )
    return np.asarray(planes[is_likely], dtype=np.float64)


def _score(residuals: Vector) -> Vector:
    """Returns the (K,) worth of planes from (N, K) residuals: points on the plane, less those under it."""
    on = np.maximum(1.0 - (residuals / TOLERANCE) ** 2, 0.0).sum(axis=0)
    under = (residuals < -2 * TOLERANCE).sum(axis=0)
    return np.asarray(on - under, dtype=np.float64)


def _refine(road: Vector, plane: Vector) -> tuple[Vector, Vector]:
    """Returns the refined (3,) plane m = normal / height and the (N,) residuals 1 + m . p.

    Least squares in inverse depth, 1/z = -m . ray, where the rays are exact and only the depth is noisy;
    weighted by the plane's own depth so that the error is relative (with the measured depth the height would be biased).
    """
    rays = road / road[:, 2:]
    inverse = 1.0 / road[:, 2]
    for _ in range(IRLS_ROUNDS):
        expected = -(rays @ plane)  # inverse depth of the plane
        errors = (inverse - expected) / np.maximum(expected, 1e-6)
        weights = np.where(expected > 1e-6, np.maximum(1.0 - (errors / (2 * TOLERANCE)) ** 2, 0.0), 0.0)
        rows = rays * (weights / np.maximum(expected, 1e-6))[:, None]
        plane = np.linalg.solve(rows.T @ rows, -rows.T @ (weights * inverse / np.maximum(expected, 1e-6)))
    return plane, 1.0 + road @ plane


def _sigma(residual: float, share: float) -> float:
    return math.hypot(0.03, residual / math.sqrt(10 * share))
