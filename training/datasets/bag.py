"""A rosbag2 with images, CameraInfo, TF and a LiDAR, brought into the form of a drive folder.

A bag can be read from its beginning only, and training reads frames in any order: so the pairs of image and
sweep are written to a folder once, and read from there (training.datasets.drive).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from recon3d_ros.bags.bag_path import BagError
from recon3d_ros.bags.cameras import COMPRESSED_IMAGE, decode, find_cameras
from recon3d_ros.bags.lidar import Sweep, find_lidar, sweep_of
from recon3d_ros.bags.reader import BagReader
from recon3d_ros.bags.transforms import EgoMotion, Transforms, read_ego_motion, read_transforms
from recon3d_ros.core.calibration import Calibration
from recon3d_ros.core.camera import CameraError, CameraModel
from recon3d_ros.core.camera_info import camera_from_info, check_image_size
from recon3d_ros.core.encodings import EncodingError
from recon3d_ros.core.image_files import JPEG_SIGNATURE
from recon3d_ros.core.lidar import Points, Pose, check_fits, project, sweep_to_world, transform
from recon3d_ros.core.preprocess import TO_RGB, RawImage
from recon3d_ros.core.stamps import stamp_ns_of
from recon3d_ros.core.transforms import TransformError

SLACK_NS = 100_000_000  # how far beyond the first and last pose the motion is taken to go on
RECENT_SWEEPS = 3
PATIENCE_NS = 1_000_000_000  # how late a sweep may be recorded


@dataclass(frozen=True, eq=False)
class BagFrame:
    """An image of a bag with the sweep next to it in time.

    Attributes:
        stamp_ns: Of the image.
        content: The message's JPEG file, or None where it held no JPEG.
        image, camera: As the camera gave it, with its lens distortion.
        points: (N, 3) metres, the camera's optical frame at the image's time.
    """

    stamp_ns: int
    content: bytes | None
    image: RawImage
    camera: CameraModel
    points: Points


class BagFrames:
    """The images of one camera of a bag, each with the sweep nearest in time, one after another.

    Points are moved by the vehicle's own motion where nav_msgs/Odometry or a moving transform from odom, map or
    world says it: from each point's own time, or else the sweep's, to the image's.

    Attributes:
        skipped: Why images were left out, and how many; complete after iteration.
        ego_motion: None where the bag does not say how the vehicle moved.
        unmoved: How many frames lie outside of the time of that motion, and have their points as measured.
    """

    def __init__(
        self,
        path: Path,
        *,
        image_topic: str = "",
        lidar_topic: str = "",
        calibration: Calibration | None = None,
        max_gap: float = 0.06,
    ) -> None:
        """Opens the bag, finds its topics and reads its transforms.

        Args:
            path: Of the bag.
            image_topic, lidar_topic: Needed where there is more than one.
            calibration: Used instead of CameraInfo, and instead of TF where it has T_camera_lidar.
            max_gap: Seconds that image and sweep may lie apart.

        Raises:
            BagError: It cannot be read, or lacks images, CameraInfo or LiDAR.
        """
        self._reader = BagReader(path)
        self._path, self._calibration, self._max_gap_ns = path, calibration, round(max_gap * 1e9)
        self._camera_topics = find_cameras(
            self._reader, (image_topic,) if image_topic else (), is_calibrated=calibration is not None
        )[0]
        self._lidar_topic = find_lidar(self._reader, lidar_topic)
        self._transforms: Transforms = read_transforms(self._reader)
        self.ego_motion: EgoMotion | None = None
        self.unmoved = 0
        self.skipped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[BagFrame]:
        """Yields the frames by their stamps.

        Raises:
            BagError: No transform leads from the LiDAR to the camera, or no image has a sweep beside it.
            LidarError: The sweep does not fall into the image.
        """
        count = 0
        for index, (content, data, info, sweep) in enumerate(self._pairs()):
            if index == 0:  # it reads the bag once more
                self._find_motion(content.header.frame_id, sweep.frame_id)
            try:
                image = decode(content)
                camera = self._camera(info)
                check_image_size(camera, image)
            except (CameraError, EncodingError) as error:
                self.skipped[str(error)] += 1
                continue
            stamp = stamp_ns_of(content.header)
            points = self._points(sweep, content.header.frame_id, stamp)
            if count == 0:
                check_fits(points, camera.undistorted(), f"{self._path}, first sweep")
            count += 1
            yield BagFrame(stamp, data, image, camera, points)
        if count == 0:
            reasons = "; ".join(f"{number} x {reason}" for reason, number in self.skipped.items())
            raise BagError(
                f"{self._path}: no image can be used together with a LiDAR sweep: {reasons or 'no image'}"
            )

    def _pairs(self) -> Iterator[tuple[Any, bytes | None, Any, Sweep]]:
        """Yields image message, its JPEG file, the CameraInfo before it, and the sweep nearest in time."""
        topics = self._camera_topics
        info = self._first(topics.camera_info) if topics.camera_info else None
        waiting: list[tuple[Any, Any]] = []
        sweeps: list[Sweep] = []
        names = [name for name in (topics.image, topics.camera_info, self._lidar_topic) if name]
        for message in self._reader.messages(names):
            try:
                content = self._reader.deserialise(message)
                if message.topic == topics.camera_info:
                    info = content
                elif message.topic == topics.image:
                    waiting.append((content, info))
                else:
                    frame_id = content.header.frame_id.removeprefix("/")
                    sweep = sweep_of(content, stamp_ns=stamp_ns_of(content.header), frame_id=frame_id)
                    sweeps = [*sweeps[1 - RECENT_SWEEPS :], sweep]
            except (BagError, EncodingError) as error:
                self.skipped[f"{message.topic}: {error}"] += 1
                continue
            # An image waits until a sweep came that is later: only then the nearest is known. It does not wait
            # for a LiDAR that has stopped.
            newest = stamp_ns_of(content.header) - self._max_gap_ns - PATIENCE_NS
            while waiting:
                stamp = stamp_ns_of(waiting[0][0].header)
                if not (sweeps and sweeps[-1].stamp_ns >= stamp) and newest < stamp:
                    break
                yield from self._pair(*waiting.pop(0), sweeps)
        for image, its_info in waiting:
            yield from self._pair(image, its_info, sweeps)

    def _pair(self, image: Any, info: Any, sweeps: list[Sweep]) -> Iterator[tuple[Any, bytes | None, Any, Sweep]]:
        stamp = stamp_ns_of(image.header)
        sweep = min(sweeps, key=lambda sweep: abs(sweep.stamp_ns - stamp), default=None)
        if sweep is None or abs(sweep.stamp_ns - stamp) > self._max_gap_ns:
            gap = "" if sweep is None else f"; the nearest is {abs(sweep.stamp_ns - stamp) / 1e9:.3g} s away"
            reason = f"no sweep on {self._lidar_topic} within {self._max_gap_ns / 1e9:g} s"
            self.skipped[reason + (gap if not self.skipped else "")] += 1
            return
        is_jpeg = image.__msgtype__ == COMPRESSED_IMAGE and bytes(image.data[:2]) == JPEG_SIGNATURE
        yield image, bytes(image.data) if is_jpeg else None, info, sweep

    def _first(self, topic: str) -> Any:
        """Returns the first CameraInfo: images recorded just before it belong to it too."""
        return self._reader.deserialise(next(self._reader.messages([topic])))

    def _camera(self, info: Any) -> CameraModel:
        return camera_from_info(info) if self._calibration is None else self._calibration.camera

    def _T_camera_lidar(self, camera_frame: str, lidar_frame: str) -> Pose:
        if self._calibration is not None and self._calibration.T_camera_lidar is not None:
            return self._calibration.T_camera_lidar
        try:
            return self._transforms.fixed.lookup(camera_frame.removeprefix("/"), lidar_frame)
        except TransformError as error:
            raise BagError(
                f"{self._path}: {error}; record /tf_static, or give T_camera_lidar in a calibration file"
            ) from error

    def _find_motion(self, camera_frame: str, lidar_frame: str) -> None:
        self._T_camera_lidar(camera_frame, lidar_frame)
        self.ego_motion = read_ego_motion(self._reader, self._transforms, lidar_frame)

    def _points(self, sweep: Sweep, camera_frame: str, stamp: int) -> Points:
        """Returns the sweep's points in the camera's frame at the image's time."""
        T_camera_lidar = self._T_camera_lidar(camera_frame, sweep.frame_id)
        motion = self.ego_motion
        first, last = sweep.stamp_ns, sweep.stamp_ns
        parts = np.zeros(len(sweep.points))
        if sweep.times is not None and len(sweep.times) and np.ptp(sweep.times) > 0:
            first = sweep.stamp_ns + round(float(sweep.times.min()) * 1e9)
            last = sweep.stamp_ns + round(float(sweep.times.max()) * 1e9)
            parts = (sweep.times - sweep.times.min()) / np.ptp(sweep.times)
        if motion is None:
            return transform(sweep.points, T_camera_lidar)
        if not all(motion.trajectory.covers(time, SLACK_NS) for time in (first, last, stamp)):
            self.unmoved += 1
            return transform(sweep.points, T_camera_lidar)
        T_body_lidar = self._transforms.fixed.lookup(motion.frame, sweep.frame_id)
        T_start, T_end, T_image = (motion.trajectory.pose(time) @ T_body_lidar for time in (first, last, stamp))
        in_world = sweep_to_world(sweep.points, parts, T_start, T_end)
        return transform(in_world, T_camera_lidar @ np.linalg.inv(T_image))


def extract_drive(frames: BagFrames, folder: Path, *, every: int = 1) -> int:
    """Writes the frames of a bag as a drive folder, its calibration last, and returns their number.

    Args:
        frames: Of the bag.
        folder: Must not exist yet.
        every: Take each so-and-so-many-th frame.

    Raises:
        FileExistsError: The folder exists.
        BagError, LidarError: As in iterating.
    """
    if folder.exists():
        raise FileExistsError(f"{folder}: exists already; adapt from that folder, or remove it")
    (folder / "image").mkdir(parents=True)
    (folder / "lidar").mkdir()
    camera, count = None, 0
    for index, frame in enumerate(frames):
        camera = camera or frame.camera
        if frame.camera != camera:
            frames.skipped["the camera's calibration changes within the bag"] += 1
            continue
        if index % every:
            continue
        _write_image(folder / "image" / f"{count:06d}", frame)
        inside = project(frame.points, camera.undistorted()).index
        sweep = np.zeros((len(inside), 4), dtype=np.float32)
        sweep[:, :3] = frame.points[inside]
        np.save(folder / "lidar" / f"{count:06d}.npy", sweep)
        count += 1
    if camera is not None:
        content = {
            "width": camera.width,
            "height": camera.height,
            "K": camera.K.tolist(),
            "distortion_model": camera.distortion_model,
            "D": list(camera.distortion),
            "T_camera_lidar": np.eye(4).tolist(),
        }
        (folder / "calibration.json").write_text(json.dumps(content, indent=1) + "\n")
    return count


def _write_image(path: Path, frame: BagFrame) -> None:
    if frame.content is not None:
        path.with_suffix(".jpg").write_bytes(frame.content)
        return
    conversion = TO_RGB[frame.image.channels]
    rgb = frame.image.data if conversion is None else cv2.cvtColor(frame.image.data, conversion)
    content = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    path.with_suffix(".png").write_bytes(content.tobytes())
