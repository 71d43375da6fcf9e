"""What `recon3d run` writes: depth PNGs, clouds, a rosbag2, a preview picture and a summary."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from recon3d_ros.bags import messages as to_message
from recon3d_ros.bags.writer import BagWriter
from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.cloud import RayTable, dense_points
from recon3d_ros.core.encodings import encode_depth
from recon3d_ros.core.image_files import write_image
from recon3d_ros.core.pipeline import DepthFrame
from recon3d_ros.tools.inputs import CameraFrame, InputError
from recon3d_ros.tools.point_files import write_pcd, write_ply
from recon3d_ros.tools.preview import Moments, preview_rows

SUMMARY = "summary.json"
CLOUD_WRITERS = {"ply": write_ply, "pcd": write_pcd}
PREVIEW_ROWS = 3
FAST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # a third of the time of the default, files a tenth larger


@contextmanager
def output_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Returns a folder to write into, which becomes `path` when all is written: a half result never stands there.

    Raises:
        InputError: if `path` exists and is not the result of an earlier run that may be overwritten.
    """
    path = path.absolute()
    if path.exists() and any(path.iterdir() if path.is_dir() else [path]):
        if not overwrite:
            raise InputError(f"{path}: exists already; give another folder, or --overwrite")
        if not (path / SUMMARY).is_file():
            raise InputError(f"{path}: is not the output of an earlier run (no {SUMMARY}); it is not overwritten")
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Writes what was run and how it went."""
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")


class CameraOutput:
    """The files of one camera, and its topics in the bag.

    depth/NNNNNN.png: uint16 millimetres along z, 0 for invalid; its camera is calibration.json.
    clouds/NNNNNN.ply or .pcd: finite points in metres, optical frame.
    NNNNNN counts the camera's images in the recording.

    Args:
        folder: of the camera.
        bag: shared by all cameras.
        cloud: "ply", "pcd" or "none".
        stride: every n-th pixel in both directions becomes a point.
    """

    def __init__(self, folder: Path, bag: BagWriter, *, cloud: str, stride: int) -> None:
        self._folder = folder
        self._bag = bag
        self._cloud = cloud
        self._stride = stride
        self._rays = RayTable()
        self._moments = Moments()
        (folder / "depth").mkdir(parents=True)
        if cloud != "none":
            (folder / "clouds").mkdir()

    def write(self, source: CameraFrame, frame: DepthFrame) -> None:
        """Writes the depth, the cloud and the messages of a frame."""
        self._moments.add(frame)
        self._write_calibration(frame.camera)
        name = f"{source.index:06d}"
        write_image(self._folder / "depth" / f"{name}.png", encode_depth(frame.depth, "16UC1"), FAST_PNG)
        points = self._rays.points(frame.depth, frame.camera, stride=self._stride)
        colors = frame.image[:: self._stride, :: self._stride]
        if self._cloud != "none":
            kept, kept_colors = dense_points(points, colors)
            path = self._folder / "clouds" / f"{name}.{self._cloud}"
            comment = f"frame {source.frame_id} stamp_ns {source.stamp_ns}"
            CLOUD_WRITERS[self._cloud](path, kept, np.asarray(kept_colors), comment=comment)
        self._write_messages(source, frame, points, colors)

    def _write_messages(
        self,
        source: CameraFrame,
        frame: DepthFrame,
        points: npt.NDArray[np.float32],
        colors: npt.NDArray[np.uint8],
    ) -> None:
        header = to_message.header(source.stamp_ns, source.frame_id)
        messages = {
            "depth/camera_info": to_message.camera_info_message(frame.camera, header),
            "depth/image_rect": to_message.image_message(encode_depth(frame.depth, "32FC1"), "32FC1", header),
            "image_rect": to_message.image_message(frame.image, "rgb8", header),
            "points": to_message.cloud_message(points, colors, header),
        }
        for topic, message in messages.items():
            self._bag.write(f"/{source.camera_name}/{topic}", message, source.stamp_ns)

    def _write_calibration(self, camera: CameraModel) -> None:
        """Writes the first frame's camera; where it changes on the way, the bag's camera_info says when."""
        path = self._folder / "calibration.json"
        if not path.exists():
            content = {"width": camera.width, "height": camera.height, "K": camera.K.tolist()}
            path.write_text(json.dumps(content, indent=1) + "\n")

    def write_preview(self) -> None:
        """Writes preview.png: image, depth and cloud from above for three moments."""
        picture = preview_rows(self._moments.spread(PREVIEW_ROWS))
        write_image(self._folder / "preview.png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
