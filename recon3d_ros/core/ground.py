"""The road as a plane in the camera's view, fitted anew in each frame."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recon3d_ros.core.mounting import Mounting

Vectors = npt.NDArray[np.float64]

SAMPLES = 8000  # pixels looked at, at most
HYPOTHESES = 200
IRLS_ROUNDS = 6
MAX_RANGE = 12.0  # of the fit, in camera heights: about 20 m; beyond it a road's bend matters more than noise
TOLERANCE = 0.1  # of the camera's height: on the road this is the relative error of the depth
MAX_TILT = math.radians(6.0)  # of the road against the vehicle standing level
MAX_RATIO = 2.0  # between the fitted height and the known one: a depth wronger than that is not corrected
MAX_SLOPE = 0.3  # from one sampled row to the next: more is no road
MIN_POINTS = 80
CLEARLY_MORE = 0.2  # of the points lie on a plane free to tilt: among vehicles it was 0.17 more
# A network's errors go together over wide parts of the image: all points say as much as so many independent ones.
INDEPENDENT = 30.0
SLOWLY_VARYING = 0.03  # of the height: springs, load, a road that is not flat across; it does not average out


@dataclass(frozen=True, eq=False)
class GroundPlane:
    """The road near the vehicle, normal . p + height = 0, in the unit of the depth that it was fitted to.

    Attributes:
        normal: (3,) float64 unit vector, up, optical frame.
        height: of the camera above the plane; metres if the depth is right.
        inlier_share: of the points where the road may be, how many lie on the plane.
        residual: robust standard deviation of those points' relative depth error.
        sigma: standard deviation of log(height).
    """

    normal: Vectors
    height: float
    inlier_share: float
    residual: float
    sigma: float

    def heights(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns the (...) float32 heights of (..., 3) points above the plane, NaN where there is no point."""
        return np.asarray(points @ self.normal.astype(np.float32) + np.float32(self.height), dtype=np.float32)

    def scaled(self, scale: float) -> GroundPlane:
        """Returns the plane in the same depth times `scale`."""
        return dataclasses.replace(self, height=self.height * scale)


@dataclass(frozen=True, eq=False)
class GroundFit:
    """A frame's road: the plane, or None and the reason why there is none."""

    plane: GroundPlane | None
    reason: str = ""


def nominal_plane(mounting: Mounting) -> GroundPlane:
    """Returns the road as the mounting alone has it: what to go on with where no road is seen."""
    return GroundPlane(mounting.up, mounting.height, inlier_share=0.0, residual=math.inf, sigma=math.inf)


def fit_ground(
    points: npt.NDArray[np.float32],
    mounting: Mounting,
    *,
    tilt_sigma: float = math.radians(1.0),
    min_share: float = 0.2,
    seed: int = 0,
) -> GroundFit:
    """Returns the plane of the road near the vehicle. The same points give the same plane.

    Planes near level are proposed, each through one point; the one that most points lie on and fewest below is
    refined by reweighted least squares. Proposals through three points were tried: among dense traffic, where a
    quarter of the points is road, most of them were planes along vehicles.

    A residual is the relative error of depth, 1 + normal . p / height, because that is how a network errs: a
    centimetre counts more near the vehicle than far from it. How far the vehicle tilts is held near what it
    usually does: depth that is wrong by a constant of inverse depth looks just like a tilt, and only such a prior
    tells them apart.

    Args:
        points: (h, w, 3) float32, optical frame, rows from top to bottom; NaN where there is none.
        mounting: of the camera.
        tilt_sigma: standard deviation of the road's tilt against the level vehicle, radians: braking, bumps,
            and the mounting's own error.
        min_share: of the level points where the road may be; below it there is no road.
        seed: of the proposals.
    """
    road = _road_points(points, mounting)
    if len(road) < MIN_POINTS:
        return GroundFit(None, f"{len(road)} level points where the road may be, expected {MIN_POINTS}")
    up, height = mounting.up, mounting.height
    across = np.linalg.svd(up[None])[2][1:]  # (2, 3): how a normal tilts
    # What a tilt of one sigma costs, in the unit of a point whose error is the tolerance.
    tilt_cost = len(road) / INDEPENDENT
    planes = _proposals(road, up, height, across, spread=2 * tilt_sigma, seed=seed)
    if not len(planes):
        return GroundFit(None, f"no level plane within a factor {MAX_RATIO:g} of {height:g} m below the camera")
    tilts = (planes @ across.T) / np.linalg.norm(planes, axis=1)[:, None] / tilt_sigma
    plane = planes[int(np.argmax(_score(1.0 + road @ planes.T) - tilt_cost * (tilts**2).sum(axis=1)))]
    plane = _refine(road, plane, across, tilt_cost * (TOLERANCE / tilt_sigma) ** 2)

    residuals = 1.0 + road @ plane
    is_on = np.abs(residuals) < TOLERANCE
    share = float(is_on.mean())
    if share < min_share or np.count_nonzero(is_on) < MIN_POINTS:
        return GroundFit(None, f"{100 * share:.0f} % of the level points lie on one plane")
    tilted = _refine(road, plane, across, 0.0)
    tilt = math.acos(min(1.0, float(tilted @ up / np.linalg.norm(tilted))))
    if tilt > MAX_TILT and (np.abs(1.0 + road @ tilted) < TOLERANCE).mean() > share + CLEARLY_MORE:
        return GroundFit(
            None, f"the road is tilted by {math.degrees(tilt):.0f} degrees; correct the camera's pitch and roll"
        )
    fitted_height = 1.0 / float(np.linalg.norm(plane))
    normal = plane * fitted_height
    if not 1 / MAX_RATIO < fitted_height / height < MAX_RATIO:
        return GroundFit(None, f"the road is {fitted_height:.2f} m below the camera, which is {height:g} m high")
    residual = 1.4826 * float(np.median(np.abs(residuals[is_on])))
    sigma = math.hypot(SLOWLY_VARYING, residual / math.sqrt(INDEPENDENT * share))
    return GroundFit(GroundPlane(normal, fitted_height, share, residual, sigma))


def _road_points(points: npt.NDArray[np.float32], mounting: Mounting) -> Vectors:
    """Returns (N, 3) float64: the points of a fixed grid where the road may be, and where the surface is level."""
    H, W, _ = points.shape
    stride = max(1, math.ceil(math.sqrt(H * W / SAMPLES)))
    grid = points[::stride, ::stride].astype(np.float64)
    height = mounting.height
    depression = -(grid @ mounting.up)
    distance = np.sqrt(np.maximum(np.einsum("ijk,ijk->ij", grid, grid) - depression**2, 0.0))
    slack = math.tan(MAX_TILT) * distance
    with np.errstate(invalid="ignore"):
        may_be = (distance < MAX_RANGE * height) & (depression < MAX_RATIO * height + slack)
        may_be &= (depression > height / MAX_RATIO - slack) & (depression > 0.25 * height)
        # A vehicle's side rises from one row to the next at the same distance; the road goes on.
        is_level = np.zeros_like(may_be)
        is_level[:-1] = np.abs(np.diff(depression, axis=0)) < MAX_SLOPE * np.abs(np.diff(distance, axis=0))
    return np.asarray(grid[may_be & is_level], dtype=np.float64)


def _proposals(road: Vectors, up: Vectors, height: float, across: Vectors, *, spread: float, seed: int) -> Vectors:
    """Returns (K, 3) planes, normal / height, near level and each through one of the points."""
    rng = np.random.default_rng(seed)
    normals = up + rng.normal(scale=spread, size=(HYPOTHESES, 2)) @ across
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    through = -np.einsum("ij,ij->i", normals, road[rng.integers(0, len(road), HYPOTHESES)])
    is_likely = (through > height / MAX_RATIO) & (through < height * MAX_RATIO)
    return np.asarray(normals[is_likely] / through[is_likely, None], dtype=np.float64)


def _score(residuals: Vectors) -> Vectors:
    """Returns the (K,) worth of planes from (N, K) residuals: points on the plane, less those under it."""
    on = np.maximum(1.0 - (residuals / TOLERANCE) ** 2, 0.0).sum(axis=0)
    under = (residuals < -2 * TOLERANCE).sum(axis=0)
    return np.asarray(on - under, dtype=np.float64)


def _refine(road: Vectors, plane: Vectors, across: Vectors, tilt_weight: float) -> Vectors:
    """Returns the refined (3,) plane, normal / height.

    Least squares in inverse depth, 1/z = -plane . ray, where the rays are exact and only the depth is noisy. The
    weights rest on the plane's own depth, not on the measured one: that would bias the height.
    """
    rays = road / road[:, 2:]
    inverse = 1.0 / road[:, 2]
    for _ in range(IRLS_ROUNDS):
        expected = np.maximum(-(rays @ plane), 1e-6)
        errors = inverse / expected - 1.0
        weights = np.maximum(1.0 - (errors / (2 * TOLERANCE)) ** 2, 0.0)
        rows = rays * (weights / expected)[:, None]
        level = tilt_weight / float(plane @ plane) * (across.T @ across)
        plane = np.asarray(
            np.linalg.solve(rows.T @ rows + level, -rows.T @ (weights * inverse / expected)), np.float64
        )
    return plane
