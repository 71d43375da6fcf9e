"""The thread that infers: takes the newest image of each camera, runs them as one batch, publishes."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping

import rclpy
from rclpy.lifecycle import LifecycleNode

from recon3d_ros.core.camera import CameraError
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.ros.camera_port import CameraPort, FrameError, ReceivedImage
from recon3d_ros.ros.diagnostics import CameraHealth
from recon3d_ros.ros.frame_publisher import FramePublisher
from recon3d_ros.ros.mailbox import Mailbox
from recon3d_ros.ros.parameter_set import ParameterSet


class InferenceThread:
    """Works between `start` and `close`. The executor's thread only puts images into its mailbox.

    Args:
        node: whose log is written to.
        pipeline, publisher, ports: what a frame goes through.
        healths: count what becomes of each camera's frames.
        parameters: returns those that hold now; a batch sees one state of them.
    """

    def __init__(
        self,
        node: LifecycleNode,
        pipeline: DepthPipeline,
        publisher: FramePublisher,
        ports: Mapping[str, CameraPort],
        healths: Mapping[str, CameraHealth],
        parameters: Callable[[], ParameterSet],
    ) -> None:
        self._node = node
        self._pipeline = pipeline
        self._publisher = publisher
        self._ports = ports
        self._healths = healths
        self._parameters = parameters
        self._mailbox: Mailbox[ReceivedImage] = Mailbox()
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._infer_until_closed, name="inference", daemon=True)

    def start(self) -> None:
        """Begins to take images."""
        self._publisher.start()
        self._thread.start()

    def put(self, camera: str, image: ReceivedImage) -> None:
        """Hands an image over; the one that it replaces unread counts as dropped."""
        if self._mailbox.put(camera, image) is not None:
            self._healths[camera].count_dropped()

    def close(self) -> None:
        """Ends the thread after its batch; what waited unread counts as dropped."""
        for name in self._mailbox.close():
            self._healths[name].count_dropped()
        self._thread.join()

    def busy_seconds(self) -> float:
        """Returns for how long the batch of this moment has been worked at; 0 between two batches."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def _infer_until_closed(self) -> None:
        while received := self._mailbox.take_all():
            self._busy_since = time.monotonic()
            try:
                self._infer(received)
            except Exception as error:  # the thread must outlive any single batch
                if not rclpy.ok(context=self._node.context):
                    return
                failure = self._unexpected(error)
                for name in received:
                    reject(self._node, self._healths[name], failure)
            finally:
                self._busy_since = None

    def _infer(self, received: dict[str, ReceivedImage]) -> None:
        """Converts, computes and publishes what waited, as one batch; takes out of `received` what is done."""
        start = time.monotonic()
        parameters = self._parameters()
        names, images, cameras, crops = [], [], [], []
        for name, item in list(received.items()):
            crop = parameters.of(name).crop_position
            try:
                image, camera = self._ports[name].decode(item.message)
                self._pipeline.rectifier(camera, crop)  # made here: one that cannot be costs this camera alone
            except Exception as error:
                del received[name]
                reject(self._node, self._healths[name], self._known(error))
                continue
            names.append(name)
            images.append(image)
            cameras.append(camera)
            crops.append(crop)
        if not names:
            return
        decoded = time.monotonic()
        frames = self._pipeline(images, cameras, crops)
        self._publisher.start_batch(parameters)
        for name, camera, crop, frame in zip(names, cameras, crops, frames, strict=True):
            item = received[name]
            publish_start = time.monotonic()
            try:
                rectifier = self._pipeline.rectifier(camera, crop)
                count = self._publisher.publish(name, frame, rectifier, item.message.header)
            except Exception as error:  # what one camera's outputs meet must not cost the others their frames
                if not rclpy.ok(context=self._node.context):
                    raise
                del received[name]
                reject(self._node, self._healths[name], self._known(error))
                continue
            done = time.monotonic()
            del received[name]
            if count == 0:  # who asked for it has left since
                self._healths[name].count_unwanted()
                continue
            latency = {
                "wait": start - item.arrival,
                "decode": decoded - start,
                **frame.latency,
                "publish": done - publish_start,
                "total": done - item.arrival,
            }
            self._healths[name].count_published(latency)
        self._publisher.end_batch()

    def _known(self, error: Exception) -> FrameError:
        """Returns the reason why one camera's frame is rejected."""
        if isinstance(error, FrameError):
            return error
        if isinstance(error, CameraError):
            return FrameError("bad_camera_info", f"CameraInfo cannot be used: {error}")
        return self._unexpected(error)

    def _unexpected(self, error: Exception) -> FrameError:
        """Returns the reason for the counters; the log gets the whole story."""
        self._node.get_logger().error(traceback.format_exc(), throttle_duration_sec=5.0)
        return FrameError("failed", f"{type(error).__name__}: {error}")


def reject(node: LifecycleNode, health: CameraHealth, error: FrameError) -> None:
    """Counts a frame that cannot be used, and tells why, each reason now and then."""
    if health.count_rejected(error.reason, str(error)):
        node.get_logger().warning(f"{health.name}: frame rejected ({error.reason}): {error}")
