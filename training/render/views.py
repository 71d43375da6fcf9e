"""Where a vehicle's cameras stand in a scene, and what lenses they have."""

from __future__ import annotations

import numpy as np

from training.render.raycast import Pinhole
from training.render.scene import StreetScene


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
    """Returns K (3, 3): horizontal field of view 50 to 100 degrees, principal point up to 10 % off the centre."""
    fx = width / 2 / np.tan(np.radians(rng.uniform(50, 100)) / 2)
    fy = fx * rng.uniform(0.985, 1.015)
    cx = (width - 1) / 2 + rng.uniform(-0.1, 0.1) * width * rng.uniform()
    cy = (height - 1) / 2 + np.clip(rng.normal(0, 0.07), -0.2, 0.2) * height
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _is_free(scene: StreetScene, ground: np.ndarray, heading: float) -> bool:
    """Returns whether the vehicle that carries the camera has room there: no other within 3.3 m of the camera
    along the lane, nor beside it closer than vehicles pass."""
    offset = scene.vehicle_positions[:, :2] - ground[:2]
    along = np.abs(offset @ [np.cos(heading), np.sin(heading)]) - scene.vehicle_positions[:, 2]
    across = np.abs(offset @ [-np.sin(heading), np.cos(heading)])
    return not ((along < 3.3) & (across < 1.7) | (along < 0.5) & (across < 2.2)).any()


def random_camera(scene: StreetScene, rng: np.random.Generator, *, width: int, height: int) -> Pinhole:
    """Returns a camera on a vehicle in one of the scene's lanes, mostly looking along the road."""
    section = scene.section
    for _ in range(50):
        lateral, direction = section.lanes[rng.integers(len(section.lanes))]
        if rng.uniform() < 0.1:
            lateral = rng.uniform(-1, 1) * (section.half_road + min(section.sidewalk))
        s = rng.uniform(-25, 70)
        ground, heading = scene.path.at(s, lateral + rng.normal(0, 0.35))
        if _is_free(scene, ground, heading):
            break
    heading += 0 if direction > 0 else np.pi
    look = rng.uniform()
    turn = (
        rng.normal(0, 0.06)
        if look < 0.72
        else (np.pi + rng.normal(0, 0.1) if look < 0.8 else rng.uniform(-np.pi, np.pi))
    )
    slope = np.interp([s - 2, s + 2], scene.path.s, scene.path.z)
    tilt = -np.arctan2(slope[1] - slope[0], 4.0) * direction * np.cos(turn)
    up = rng.normal(1.6, 0.15) if rng.uniform() < 0.8 else rng.uniform(1.2, 2.2)
    ground[2] += np.clip(up, 1.2, 2.2) - 0.02 * abs(lateral)
    pitch = tilt + np.clip(rng.normal(0, 0.025), -0.07, 0.07)
    pose = optical_pose(ground, heading + turn, pitch, np.clip(rng.normal(0, 0.012), -0.035, 0.035))
    return Pinhole(width, height, random_intrinsics(rng, width=width, height=height), pose)
