"""What the viewer shows of a camera: image, depth, cloud, scale and timing on one time line, written by rerun.

rerun, because its viewer is free software that comes with its wheel and opens a file without an account or a
network. Foxglove's does neither; for those who use it, `recon3d demo` and `run` write mcap, which it opens.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from recon3d_ros.tools.inputs import InputError

try:
    import rerun as rr
    import rerun.blueprint as rrb
except ImportError as error:
    raise InputError("the viewer is not installed: pip install 'recon3d_ros[view]' (rerun-sdk)") from error

from recon3d_ros.core.cloud import RayTable, dense_points
from recon3d_ros.core.shown_frame import ShownFrame

TIMELINE = "stamp"
MAX_DEPTH = 80.0  # metres, the end of the depth's colours
JPEG_QUALITY = 85
POINT_RADIUS_PX = 1.5
# Behind and above the camera, looking ahead; metres, optical frame.
EYE = rrb.EyeControls3D(position=(0.0, -6.0, -9.0), look_target=(0.0, 0.0, 14.0), eye_up=(0.0, -1.0, 0.0))


def layout(camera_names: Sequence[str]) -> rrb.Blueprint:
    """Returns the viewer's panels: cloud, image and depth, below them scale and timing; a tab for each camera."""
    tabs = [
        rrb.Vertical(
            rrb.Horizontal(
                rrb.Spatial3DView(
                    name="Cloud",
                    origin=name,
                    contents=["$origin/points", "$origin/view", "$origin/view/image"],
                    eye_controls=EYE,
                ),
                rrb.Vertical(
                    rrb.Spatial2DView(name="Image", origin=f"{name}/view", contents="$origin/image"),
                    rrb.Spatial2DView(
                        name=f"Depth, 0 to {MAX_DEPTH:g} m", origin=f"{name}/view", contents="$origin/depth"
                    ),
                ),
                column_shares=[3, 2],
            ),
            rrb.Horizontal(
                rrb.TimeSeriesView(name="Scale", origin=f"{name}/scale"),
                rrb.TimeSeriesView(name="Timing, ms", origin=f"{name}/timing"),
            ),
            row_shares=[3, 1],
            name=name,
        )
        for name in camera_names
    ]
    return rrb.Blueprint(rrb.Tabs(*tabs) if len(tabs) > 1 else tabs[0], collapse_panels=True)


class ViewLog:
    """Writes frames into a rerun recording.

    Args:
        recording: with its sink set.
        stride: every n-th pixel in both directions becomes a point.
    """

    def __init__(self, recording: rr.RecordingStream, *, stride: int) -> None:
        self._recording = recording
        self._stride = stride
        self._rays: dict[str, RayTable] = {}

    def add(self, frame: ShownFrame) -> None:
        """Writes one moment of a camera."""
        name, camera, stride, log = frame.camera_name, frame.camera, self._stride, self._recording.log
        if name not in self._rays:
            self._rays[name] = RayTable()
            log(name, rr.ViewCoordinates.RDF, static=True)
        self._recording.set_time(TIMELINE, timestamp=np.datetime64(frame.stamp_ns, "ns"))
        pinhole = rr.Pinhole(
            image_from_camera=camera.K,
            width=camera.width,
            height=camera.height,
            camera_xyz=rr.ViewCoordinates.RDF,
            image_plane_distance=1.0,
        )
        log(f"{name}/view", pinhole)
        log(f"{name}/view/image", rr.Image(frame.image).compress(jpeg_quality=JPEG_QUALITY))
        seen = np.where(np.isfinite(frame.depth), frame.depth, np.float32(0.0))
        depth = rr.DepthImage(seen, meter=1.0, colormap="turbo", depth_range=(0.0, MAX_DEPTH))
        log(f"{name}/view/depth", depth)
        organised = self._rays[name].points(frame.depth, camera, stride=stride)
        points, colors = dense_points(organised, frame.image[::stride, ::stride])
        log(f"{name}/points", rr.Points3D(points, colors=colors, radii=-POINT_RADIUS_PX))
        for key, value in frame.scales.items():
            log(f"{name}/scale/{key}", rr.Scalars(value))
        for stage, seconds in frame.latency.items():
            log(f"{name}/timing/{stage}", rr.Scalars(1e3 * seconds))


@contextmanager
def recording(name: str, camera_names: list[str], output: Path | None) -> Iterator[rr.RecordingStream]:
    """Opens a rerun recording that goes into a file, which appears whole or not at all, or into a new viewer."""
    stream = rr.RecordingStream("recon3d_ros", recording_id=name)
    blueprint = layout(camera_names)
    if output is None:
        stream.connect_grpc(_open_viewer(), default_blueprint=blueprint)
        yield stream
        stream.flush()
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    try:
        stream.save(partial, default_blueprint=blueprint)
        yield stream
        stream.disconnect()
        partial.replace(output)
    finally:
        stream.disconnect()
        partial.unlink(missing_ok=True)


def _open_viewer() -> str:
    """Starts rerun's viewer, which outlives this command, and returns its address; only this host can reach it.

    Raises:
        InputError: if there is no screen.
    """
    if sys.platform == "linux" and not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
        raise InputError("there is no screen (DISPLAY is not set); write a file with -o FILE.rrd")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "rerun", "--bind", "127.0.0.1", "--port", str(port), "--expect-data-soon"]
    subprocess.Popen(command, start_new_session=True)
    return f"rerun+http://127.0.0.1:{port}/proxy"
