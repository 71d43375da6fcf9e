"""From the network's frames to everything that is published of them; runs in the inference thread."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.camera_view import CameraView, View, ViewOptions
from recon3d_ros.core.masks import MaskError
from recon3d_ros.core.pipeline import DepthFrame
from recon3d_ros.core.preprocess import Rectifier
from recon3d_ros.core.scan import ScanError
from recon3d_ros.core.stamps import stamp_ns_of
from recon3d_ros.core.transforms import parse_transforms
from recon3d_ros.core.voxel import compile_now
from recon3d_ros.ros.camera_outputs import CameraOutputs, scale_values
from recon3d_ros.ros.camera_port import FrameError
from recon3d_ros.ros.diagnostics import CameraHealth
from recon3d_ros.ros.frames import open_frames
from recon3d_ros.ros.lidar_port import LidarPort
from recon3d_ros.ros.merged_cloud import MergedCloud, part_of
from recon3d_ros.ros.parameter_set import ParameterSet
from recon3d_ros.ros.parameters import DepthNodeParameters
from recon3d_ros.ros.places import Located, Places
from recon3d_ros.ros.view_options import view_options

CLOUDS = ("points", "obstacles", "ground")


@dataclass
class _Camera:
    """One camera's part in this.

    Attributes:
        outputs: its publishers.
        view: its state between frames.
        health: its counters.
        last_sweep: number of the last LiDAR sweep that the view has taken.
        unmasked: the camera whose image the ego mask lies outside of, and what was said of it.
    """

    outputs: CameraOutputs
    view: CameraView
    health: CameraHealth
    last_sweep: int = 0
    unmasked: tuple[CameraModel, str] | None = None


class FramePublisher:
    """Publishes the frames of all cameras, and their merged clouds.

    Where a transform is missing, or the mounting cannot be, what depends on it is withheld, counted and told; all
    else goes on.

    Args:
        node: that publishes.
        parameters: at first.
        healths: of the cameras.
        max_depth: of the model, metres.
    """

    def __init__(
        self,
        node: LifecycleNode,
        parameters: ParameterSet,
        healths: Mapping[str, CameraHealth],
        *,
        max_depth: float,
    ) -> None:
        compile_now()  # so that a voxel size set while running costs no frame
        self._node = node
        self._parameters = parameters
        self._max_depth = max_depth
        self.frames = open_frames(node, parse_transforms(parameters.node.static_transforms))
        self._places = Places(self.frames)
        topic = parameters.node.lidar_topic
        self.lidar = LidarPort(node, topic, parameters.node.lidar_timeout) if topic else None
        self._merged = MergedCloud(node, parameters.node.cameras)
        self._cameras = {
            name: _Camera(CameraOutputs(node, name), CameraView(self._options(name)), healths[name])
            for name in parameters.node.cameras
        }

    def destroy(self) -> None:
        """Removes all topics from the node."""
        for camera in self._cameras.values():
            camera.outputs.destroy()
        self._merged.destroy()
        if self.lidar is not None:
            self.lidar.destroy()
        self.frames.close()

    def _options(self, name: str) -> ViewOptions:
        return view_options(self._parameters.of(name), max_depth=self._max_depth)

    def is_wanted(self, name: str) -> bool:
        """Whether anybody subscribes to what is made of a camera's frames."""
        return self._cameras[name].outputs.is_wanted() or self._merged.is_wanted()

    def start(self) -> None:
        """Begins anew after a pause."""
        self._merged.forget()

    def start_batch(self, parameters: ParameterSet) -> None:
        """Begins a batch of frames, with the parameters that hold for all of it."""
        if parameters is not self._parameters:
            self._parameters = parameters
            for name, camera in self._cameras.items():
                camera.view.set_options(self._options(name))
                camera.unmasked = None
        self._places.start_batch(parameters.node.transform_timeout)

    def publish(self, name: str, frame: DepthFrame, rectifier: Rectifier, header: Header) -> int:
        """Publishes what somebody subscribes to of a frame under the input's own stamp; returns how many messages.

        Raises:
            FrameError: if nothing of it could be published.
        """
        camera, parameters = self._cameras[name], self._parameters.of(name)
        stamp_ns = stamp_ns_of(header)
        located = self._locate(camera, parameters, header.frame_id, stamp_ns)
        seen = self._see(camera, frame, rectifier, stamp_ns, located)
        count = camera.outputs.publish_images(seen, header, parameters)
        count += self._publish_located(name, camera, seen, header, parameters, located)
        self._tell(name, camera, seen, located, frame_id=header.frame_id)
        if count == 0 and located.problems:
            raise FrameError(*next(iter(located.problems.items())))
        return count

    def end_batch(self) -> None:
        """Publishes the merged clouds if no camera's part is missing any more."""
        node = self._parameters.node
        self._merged.publish_if_complete(node.base_frame, merge_overlaps=node.merge_overlaps)

    def _locate(self, camera: _Camera, parameters: DepthNodeParameters, frame_id: str, stamp_ns: int) -> Located:
        outputs, merged = camera.outputs, self._merged
        has_base_filter = camera.view.options.filters.needs_base
        located = self._places.locate(
            frame_id,
            stamp_ns,
            parameters,
            needs_base=outputs.is_wanted("scan", "clearing")
            or merged.is_wanted()
            or (has_base_filter and outputs.is_wanted(*CLOUDS)),
            needs_mounting=parameters.scale_mode == "ground"
            or outputs.is_wanted("obstacles", "ground")
            or merged.is_wanted("obstacles"),
            needs_target=outputs.is_wanted(*CLOUDS, "clearing"),
        )
        if parameters.scale_mode == "lidar" and self.lidar is not None:
            for sweep in self.lidar.sweeps():
                if sweep.number > camera.last_sweep:
                    T_camera_lidar = self._places.lidar(sweep.frame_id, frame_id, stamp_ns, located.problems)
                    if T_camera_lidar is None:
                        break
                    camera.view.add_sweep(sweep.points, sweep.stamp, T_camera_lidar)
                    camera.last_sweep = sweep.number
        return located

    def _see(
        self, camera: _Camera, frame: DepthFrame, rectifier: Rectifier, stamp_ns: int, located: Located
    ) -> View:
        """Returns the frame's view; without the ego mask where that lies outside the image, which is then told."""
        view, stamp = camera.view, stamp_ns * 1e-9
        if camera.unmasked is not None and camera.unmasked[0] != rectifier.source:
            camera.unmasked = None
            view.set_options(self._options(camera.health.name))
        try:
            seen = view.see(frame, rectifier, stamp, located.place)
        except MaskError as error:
            camera.unmasked = rectifier.source, str(error)
            filters = dataclasses.replace(view.options.filters, ego_mask=())
            view.set_options(dataclasses.replace(view.options, filters=filters))
            seen = view.see(frame, rectifier, stamp, located.place)
        if camera.unmasked is not None:
            located.problems["ego_mask"] = f"going on without the ego mask: {camera.unmasked[1]}"
        return seen

    def _publish_located(
        self,
        name: str,
        camera: _Camera,
        seen: View,
        header: Header,
        parameters: DepthNodeParameters,
        located: Located,
    ) -> int:
        """Publishes what needs to know where the camera is, as far as that is known; returns how many messages."""
        outputs, count = camera.outputs, 0
        has_base = located.place.T_base_camera is not None
        can_filter = has_base or not camera.view.options.filters.needs_base
        can_move = not parameters.target_frame or located.T_target_camera is not None
        wants_own = outputs.is_wanted(*CLOUDS, "clearing") and can_move
        wants_merged = self._merged.is_wanted() and has_base
        if can_filter and (wants_own or wants_merged):
            labels = outputs.is_wanted("obstacles", "ground") or self._merged.is_wanted("obstacles")
            labelled = outputs.cloud(camera.view, seen, parameters, labels=labels)
            if wants_own:
                count += outputs.publish_clouds(camera.view, labelled, seen, header, parameters, located)
            part = part_of(labelled, seen, stamp_ns_of(header)) if wants_merged else None
            if part is not None:
                node = self._parameters.node
                self._merged.add(name, part, node.base_frame, merge_overlaps=node.merge_overlaps)
                count += 1
        if outputs.is_wanted("scan") and has_base:
            try:
                count += outputs.publish_scan(camera.view, seen, header, parameters)
            except ScanError as error:
                located.problems["scan"] = str(error)
        return count

    def _tell(self, name: str, camera: _Camera, seen: View, located: Located, *, frame_id: str) -> None:
        """Puts the frame's state into the camera's health, and its problems into the log once a second."""
        size = f"{seen.frame.camera.width}x{seen.frame.camera.height}"
        camera.health.facts = {"depth_size": size, "frame_id": frame_id, **scale_values(seen)}
        conditions = dict(located.problems)
        if seen.estimate.is_held:
            conditions["scale"] = f"scale held at {seen.estimate.scale:.3f}: {seen.estimate.reason}"
        if camera.view.options.filters.min_confidence and seen.frame.confidence is None:
            conditions["confidence"] = "min_confidence has no effect: the model gives no confidence"
        if np.isnan(seen.frame.depth).all():
            conditions["depth"] = "the depth of every pixel is invalid (NaN): does the network see anything?"
        camera.health.conditions = conditions
        for reason, message in located.problems.items():
            if camera.health.count_problem(reason):
                self._node.get_logger().warning(f"{name}: {message}")
