"""Where a vehicle's cameras stand in a scene, and what lenses they have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from training.render.footprints import overlapping
from training.render.mesh import Array
from training.render.pinhole import Pinhole
from training.render.scene import StreetScene
from training.render.traffic import VIEWED

# A view is judged by every eighth pixel before it is rendered.
GLANCE = 8
MAX_PITCH, MAX_ROLL = np.radians(6.0), np.radians(3.0)
# Yaw of the six cameras of a ring around one vehicle, to the left, and their place on it: metres forward of
# the camera behind the windscreen and to the left.
RING = tuple(
    (np.radians(yaw), x, y)
    for yaw, x, y in (
        (0, 0.0, 0.0),
        (55, -0.2, 0.45),
        (-55, -0.2, -0.45),
        (110, -0.7, 0.45),
        (-110, -0.7, -0.45),
        (180, -1.8, 0.0),
    )
)
# Half length and width of the camera's own vehicle, which begins this far ahead of the camera.
OWN_HALF, NOSE = (2.2, 0.9), (0.4, 1.9)


def optical_pose(position: np.ndarray, yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Returns T_world_camera (4, 4) looking along yaw (from x to y), pitched down and rolled clockwise (rad)."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    T = np.eye(4)
    T[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    T[:3, 1] = np.cos(roll) * down - np.sin(roll) * right
    T[:3, 2], T[:3, 3] = forward, position
    return T


def random_intrinsics(rng: np.random.Generator, *, width: int, height: int) -> np.ndarray:
    """Returns K (3, 3): horizontal field of view 35 to 120 degrees, mostly 50 to 100; principal point up to 10 %
    off the centre across, 20 % down or up."""
    wide = rng.uniform(50, 100) if rng.uniform() < 0.8 else rng.uniform(35, 120)
    fx = width / 2 / np.tan(np.radians(wide) / 2)
    fy = fx * rng.uniform(0.985, 1.015)
    cx = (width - 1) / 2 + rng.uniform(-0.1, 0.1) * width * rng.uniform()
    cy = (height - 1) / 2 + np.clip(rng.normal(0, 0.07), -0.2, 0.2) * height
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _own_footprint(ground: Array, heading: float, nose: float) -> Array:
    """Returns the footprint of the vehicle that carries the camera."""
    back = OWN_HALF[0] - nose
    middle = ground[:2] - back * np.array([np.cos(heading), np.sin(heading)])
    return np.array([*middle, heading, *OWN_HALF], np.float32)


def _spot(scene: StreetScene, rng: np.random.Generator, nose: float) -> tuple[float, float, int]:
    """Returns s, lateral and direction where the camera's vehicle might stand; the point is below the camera."""
    if scene.stands and rng.uniform() < 0.6:
        s, lateral, direction = scene.stands[rng.integers(len(scene.stands))]
        return s + direction * (OWN_HALF[0] - nose), lateral + rng.normal(0, 0.1), direction
    lateral, direction = scene.lanes[rng.integers(len(scene.lanes))]
    if rng.uniform() < 0.07:
        section = scene.section
        return rng.uniform(*VIEWED), rng.uniform(-1, 1) * (section.half_road + min(section.sidewalk)), direction
    return rng.uniform(*VIEWED), lateral + np.clip(rng.normal(0, 0.3), -0.7, 0.7), direction


def _height(rng: np.random.Generator) -> float:
    """Returns the camera's height above the road: 1.2 to 2 m mostly, 0.5 to 3 m at all."""
    return float(rng.uniform(1.2, 2.0) if rng.uniform() < 0.8 else rng.uniform(0.5, 3.0))


def random_camera(scene: StreetScene, rng: np.random.Generator, *, width: int, height: int) -> Pinhole:
    """Returns a camera on a vehicle in one of the scene's lanes: mostly looking ahead, else one of a ring."""
    nose = rng.uniform(*NOSE)
    for _ in range(60):
        s, lateral, direction = _spot(scene, rng, nose)
        ground, heading = scene.path.at(s, lateral)
        heading += 0.0 if direction > 0 else np.pi
        if not overlapping(_own_footprint(ground, heading, nose), scene.solids, 0.2).any():
            break
    yaw, x, y = RING[rng.integers(1, len(RING))] if rng.uniform() < 0.25 else RING[0]
    yaw += rng.normal(0, 0.05)
    position = ground.astype(float)
    position[:2] += x * np.array([np.cos(heading), np.sin(heading)])
    position[:2] += y * np.array([-np.sin(heading), np.cos(heading)])
    slope = scene.path.slope(s) * direction
    position[2] += _height(rng) - 0.02 * min(abs(lateral), scene.section.half_road) + slope * x
    tilt = -np.arctan(slope) * np.cos(yaw)
    pitch = np.clip(rng.normal(0, 0.03), -MAX_PITCH, MAX_PITCH)
    roll = np.clip(rng.normal(0, 0.012), -MAX_ROLL, MAX_ROLL) - np.arctan(slope) * np.sin(yaw)
    pose = optical_pose(position, heading + yaw, tilt + pitch, roll)
    return Pinhole(width, height, random_intrinsics(rng, width=width, height=height), pose)


def usable_camera(
    scene: StreetScene,
    depth_of: Callable[[Pinhole], Array],
    rng: np.random.Generator,
    *,
    width: int,
    height: int,
) -> Pinhole:
    """Returns a random camera whose view is one that a vehicle could have; the last drawn if none of 12 is.

    Args:
        depth_of: renders the depth (H, W) of a camera.
    """

    def depths_of(cameras: Sequence[Pinhole]) -> list[Array]:
        return [depth_of(camera) for camera in cameras]

    return usable_cameras(scene, depths_of, [rng], width=width, height=height)[0]


def usable_cameras(
    scene: StreetScene,
    depths_of: Callable[[Sequence[Pinhole]], Sequence[Array]],
    rngs: Sequence[np.random.Generator],
    *,
    width: int,
    height: int,
) -> list[Pinhole]:
    """Returns a camera as `usable_camera` does for each generator; their views are judged together.

    Args:
        depths_of: renders the depth (H, W) of each camera.
    """
    shrink = np.diag([1 / GLANCE, 1 / GLANCE, 1.0])
    found: dict[int, Pinhole] = {}
    waiting = list(range(len(rngs)))
    for _ in range(12):
        drawn = {k: random_camera(scene, rngs[k], width=width, height=height) for k in waiting}
        found |= drawn
        glances = [
            Pinhole(width // GLANCE, height // GLANCE, shrink @ camera.K, camera.T_world_camera)
            for camera in drawn.values()
        ]
        waiting = [k for k, depth in zip(waiting, depths_of(glances), strict=True) if not is_usable(depth)]
        if not waiting:
            break
    return [found[k] for k in range(len(rngs))]


def is_usable(depth: Array) -> bool:
    """Returns whether a view (H, W) in metres is neither inside a thing nor right before it, nor mostly sky.

    Of the random views 94 % are; 1 % of these have an upper half mostly filled by something nearer than 10 m.
    """
    return bool(
        np.quantile(depth, 0.02) > 1.0
        and np.mean(depth < 3.0) <= 0.35
        and np.median(depth[len(depth) // 2 :]) < 40
        and np.isinf(depth).mean() < 0.45
    )
