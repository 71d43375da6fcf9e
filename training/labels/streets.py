"""Clouds of rendered streets, each point with its exact label: `python -m training.labels.streets OUT`.

OUT gets SCENE_NUMBER.npz with points (N, 3) float32, metres, x forward, y left, z up, the sensor above the origin,
the road below it at z = 0, and labels (N,) uint8, a training.render.mesh.Sort. Every second cloud is a LiDAR's
sweep, the others are depth images of a camera ahead, with the errors that a network makes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from recon3d_ros.core.atomic_file import open_atomically
from training.render.mesh import Array, Sort
from training.render.pinhole import Pinhole
from training.render.raycast import Caster, cast_depth
from training.render.scene import StreetScene, make_scene
from training.render.views import usable_camera

LABELS = tuple(sort.name.lower() for sort in Sort)
RANGE = (1.5, 50.0)  # metres
# A LiDAR of 64 beams (Velodyne HDL-64E: 2 degrees up to 24.8 down), every third step of its turn.
BEAMS_DEG = np.linspace(2.0, -24.8, 64)
STEP_DEG = 0.5
LIDAR_NOISE = 0.02  # metres
WIDTH, HEIGHT, STRIDE = 640, 192, 3  # of the camera, and of its pixels that become points
# Of depth from an image: relative errors of the whole picture, of its larger parts and of pixels.
PICTURE_ERROR, PART_ERROR, PIXEL_ERROR = 0.05, 0.05, 0.01
PARTS = (6, 20)  # rows and columns of such parts


@dataclass(frozen=True, eq=False)
class StreetCloud:
    """Points of a street and what they belong to.

    Attributes:
        points: (N, 3) float32 metres, x forward, y left, z up; z = 0 is the road below the sensor.
        labels: (N,) uint8 Sort.
    """

    points: Array
    labels: npt.NDArray[np.uint8]


def street_clouds(seed: int, count: int) -> Iterator[StreetCloud]:
    """Yields `count` clouds of the scene of a seed, LiDAR and camera in turn."""
    scene = make_scene(seed)
    caster = Caster(scene.mesh)
    for number in range(count):
        rng = np.random.default_rng([seed, number, 5])
        camera = usable_camera(scene, lambda c: cast_depth(caster, c), rng, width=WIDTH, height=HEIGHT)
        cloud = (_lidar_cloud if number % 2 == 0 else _camera_cloud)(scene, caster, camera, rng)
        if len(cloud.points):
            yield cloud


def _lidar_cloud(scene: StreetScene, caster: Caster, camera: Pinhole, rng: np.random.Generator) -> StreetCloud:
    turn, up = np.meshgrid(np.radians(np.arange(-180, 180, STEP_DEG)), np.radians(BEAMS_DEG))
    directions = np.stack([np.cos(up) * np.cos(turn), np.cos(up) * np.sin(turn), np.sin(up)], axis=-1)
    T_world_sensor = _level_pose(camera)
    rays = (directions.reshape(-1, 3) @ T_world_sensor[:3, :3].T).astype(np.float32)
    distance, triangle = _cast(caster, T_world_sensor, rays)
    hit = (triangle >= 0) & (distance > RANGE[0]) & (distance < RANGE[1])
    noisy = distance[hit] + rng.normal(0, LIDAR_NOISE, int(hit.sum()))
    points = directions.reshape(-1, 3)[hit] * noisy[:, None]
    return _cloud(scene, caster, T_world_sensor, points, triangle[hit])


def _camera_cloud(scene: StreetScene, caster: Caster, camera: Pinhole, rng: np.random.Generator) -> StreetCloud:
    v, u = np.mgrid[: camera.height : STRIDE, : camera.width : STRIDE].astype(np.float32)
    rays = camera.rays(u.ravel(), v.ravel())
    depth, triangle = _cast(caster, camera.T_world_camera, rays)
    hit = (triangle >= 0) & (depth > RANGE[0]) & (depth < RANGE[1])
    H, W = u.shape
    parts = cv2.resize(rng.normal(0, PART_ERROR, PARTS).astype(np.float32), (W, H), interpolation=cv2.INTER_CUBIC)
    error = parts + rng.normal(0, PIXEL_ERROR, (H, W)) + rng.normal(0, PICTURE_ERROR)
    T_world_sensor = _level_pose(camera)
    points = rays[hit] * (depth * np.exp(error.ravel()))[hit, None] @ T_world_sensor[:3, :3]
    return _cloud(scene, caster, T_world_sensor, points, triangle[hit])


def _cast(caster: Caster, T_world_sensor: np.ndarray, rays: Array) -> tuple[Array, np.ndarray]:
    """Returns how many steps along world rays (N, 3) the first triangle lies, and its number; -1 for none."""
    origin = T_world_sensor[:3, 3].astype(np.float32)
    distance, triangle, _ = caster.cast(np.tile(origin, (len(rays), 1)), rays)
    return distance, triangle


def _level_pose(camera: Pinhole) -> np.ndarray:
    """Returns T_world_sensor (4, 4) of a level sensor where the camera is, x forward, y left, z up."""
    forward = camera.T_world_camera[:3, 2]
    yaw = np.arctan2(forward[1], forward[0])
    T = np.eye(4)
    T[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    T[:3, 3] = camera.T_world_camera[:3, 3]
    return T


def _cloud(
    scene: StreetScene, caster: Caster, T_world_sensor: np.ndarray, points: np.ndarray, triangle: np.ndarray
) -> StreetCloud:
    """Returns points of the sensor's frame with the road below it at z = 0."""
    down = np.array([[0.0, 0.0, -1.0]], np.float32)
    height, _ = _cast(caster, T_world_sensor, down)
    road = np.array([0.0, 0.0, -height[0]])
    return StreetCloud((points - road).astype(np.float32), scene.mesh.sort[triangle])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Writes clouds of rendered streets with exact labels.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--clouds", type=int, default=6, help="of each scene")
    parser.add_argument("--seed", type=int, default=0, help="of the first scene, in hundreds")
    options = parser.parse_args(arguments)
    for name in ("scenes", "clouds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}, expected 1 or more")
    try:
        for k in tqdm(range(options.scenes), unit="scene", disable=None):
            for number, cloud in enumerate(street_clouds(100 * options.seed + k, options.clouds)):
                with open_atomically(options.out / f"{k:05d}_{number:02d}.npz") as file:
                    np.savez(file, points=cloud.points, labels=cloud.labels)
    except OSError as error:
        parser.exit(1, f"{error}\n")
    print(f"{options.out}: clouds of {options.scenes} scenes")


if __name__ == "__main__":
    main()
