"""Renders a recorded drive with exact depth and poses: `python -m training.render.drive OUT --frames N`."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.core.camera import CameraModel
from training.render import vehicles
from training.render.image import render
from training.render.mesh import Mesh, merge, place
from training.render.photo import develop, exposure_key
from training.render.pinhole import Pinhole
from training.render.raycast import Caster, cast_depth
from training.render.scene import StreetScene, make_scene
from training.render.views import optical_pose

logger = logging.getLogger(__name__)
RATE_HZ = 10.0
SPEED = 8.0
CAMERA_HEIGHT = 1.55
JPEG_QUALITY = 82
# Scenes of drives are numbered from here on, where no training scene ever is.
FIRST_SCENE = 10**15


@dataclass(frozen=True)
class Mover:
    """A vehicle of the moving traffic: road coordinates at the start, signed speed along the road in m/s."""

    mesh: Mesh
    s: float
    lateral: float
    speed: float


@dataclass(frozen=True)
class DriveFrame:
    """One moment of a drive.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth: (H / 2, W / 2) float32 metres along z at the pixel centres of the half-size camera, inf for sky.
        camera: the camera of the image and where it was.
    """

    image: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    camera: Pinhole


def drive_camera(width: int, height: int) -> CameraModel:
    """Returns the drive's camera: 72 degrees wide, its principal point a little off the centre."""
    focal = width / 2 / np.tan(np.radians(72) / 2)
    return CameraModel(width, height, focal, focal, width * 0.508, height * 0.483, "plumb_bob", (0.0,) * 5)


def _pose(scene: StreetScene, t: float, lateral: float, direction: int) -> npt.NDArray[np.float64]:
    """Returns T_world_camera at a time, with the slow nodding of a car on its springs."""
    s = direction * SPEED * t
    ground, heading = scene.path.at(s, lateral)
    ground[2] += CAMERA_HEIGHT - 0.02 * abs(lateral)
    ahead = np.interp([s - 2, s + 2], scene.path.s, scene.path.z)
    pitch = (
        -direction * np.arctan2(ahead[1] - ahead[0], 4.0) + 0.004 * np.sin(5.1 * t) + 0.003 * np.sin(8.3 * t + 1)
    )
    yaw = heading + (0.0 if direction > 0 else np.pi) + 0.004 * np.sin(0.9 * t)
    return optical_pose(ground, yaw, float(pitch), 0.006 * np.sin(3.7 * t + 0.4))


def _movers(scene: StreetScene, rng: np.random.Generator, lane: tuple[float, int]) -> list[Mover]:
    """Returns a vehicle that drives ahead and several that come the other way."""
    movers = []
    for lateral, direction in scene.section.lanes:
        own = (lateral, direction) == lane
        starts = [15.0, 48.0] if own else [30.0, 52.0, 95.0]
        speed = SPEED if own else 7.0
        for start in starts:
            mesh = vehicles.driving_vehicle(rng, 0.15)
            turned = place(mesh, (0, 0, 0), 0.0 if direction > 0 else np.pi)
            pace = speed * rng.uniform(0.97, 1.06)
            movers.append(Mover(turned, lane[1] * start, lateral, direction * pace))
    return movers


def drive_frames(seed: int, frames: int, *, width: int, height: int) -> Iterator[DriveFrame]:
    """Yields the frames of a drive along one residential street, 0.1 s apart."""
    scene = make_scene(FIRST_SCENE + seed, "residential", with_traffic=False)
    rng = np.random.default_rng([FIRST_SCENE, seed])
    direction = 1
    lane = next(lane for lane in scene.section.lanes if lane[1] == direction)
    movers = _movers(scene, rng, lane)
    full = drive_camera(width, height)
    half = full.resized(width=width // 2, height=height // 2)
    key = 0.0
    for k in range(frames):
        t = k / RATE_HZ
        parts = [scene.mesh]
        for mover in movers:
            ground, heading = scene.path.at(mover.s + mover.speed * t, mover.lateral)
            ground[2] -= 0.02 * abs(mover.lateral)
            parts.append(place(mover.mesh, ground, heading))
        caster = Caster(merge(parts))
        pose = _pose(scene, t, lane[0], direction)
        camera = Pinhole(width, height, full.K, pose)
        radiance, _ = render(caster, camera, scene.section, scene.lighting, rng)
        key = key or exposure_key(radiance)
        depth = cast_depth(caster, Pinhole(half.width, half.height, half.K, pose))
        yield DriveFrame(develop(radiance, rng, key=key), depth, camera)


def depth_to_millimetres(depth: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Returns uint16 millimetres; 0 where the depth is not finite or does not fit."""
    fits = np.isfinite(depth) & (depth < 65.535)
    return np.where(fits, np.rint(np.where(fits, depth, 0) * 1000), 0).astype(np.uint16)


def write_drive(out: Path, *, frames: int, width: int, height: int, seed: int) -> None:
    """Writes image/, depth/, calibration.json and poses.txt."""
    for folder in ("image", "depth"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    poses = []
    for k, frame in enumerate(drive_frames(seed, frames, width=width, height=height)):
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        cv2.imwrite(str(out / "image" / f"{k:06d}.jpg"), frame.image[:, :, ::-1], options)
        millimetres = depth_to_millimetres(frame.depth)
        cv2.imwrite(str(out / "depth" / f"{k:06d}.png"), millimetres, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        poses.append(" ".join(f"{x:.7g}" for x in frame.camera.T_world_camera[:3].ravel()))
        logger.info("frame %d of %d", k + 1, frames)
    (out / "poses.txt").write_text("\n".join(poses) + "\n")
    camera = drive_camera(width, height)
    calibration = {
        "width": width,
        "height": height,
        "K": [[round(float(x), 6) for x in row] for row in camera.K],
        "distortion_model": camera.distortion_model,
        "D": list(camera.distortion),
        "rate_hz": RATE_HZ,
        "camera_height_m": CAMERA_HEIGHT,
    }
    (out / "calibration.json").write_text(json.dumps(calibration, indent=1) + "\n")


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Render a drive with exact depth and poses.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    write_drive(args.out, frames=args.frames, width=args.width, height=args.height, seed=args.seed)


if __name__ == "__main__":
    main()
