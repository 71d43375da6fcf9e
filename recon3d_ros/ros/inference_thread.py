"""The thread that infers: takes the newest image of each camera, runs those of one size as a batch, publishes."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import rclpy
from rclpy.lifecycle import LifecycleNode

from recon3d_ros.core.camera import CameraError
from recon3d_ros.core.pipeline import DepthFrame, DepthPipeline, Framing, by_size
from recon3d_ros.core.preprocess import RawImage, Rectifier
from recon3d_ros.ros.camera_port import CameraPort, FrameError, ReceivedImage
from recon3d_ros.ros.diagnostics import ENGINE_NOT_READY, CameraHealth
from recon3d_ros.ros.engine_host import EngineHost
from recon3d_ros.ros.frame_publisher import FramePublisher
from recon3d_ros.ros.mailbox import Mailbox
from recon3d_ros.ros.parameter_set import ParameterSet
from recon3d_ros.ros.view_options import framing


@dataclass(frozen=True, eq=False)
class _Decoded:
    """An image that is ready for the network."""

    name: str
    image: RawImage
    framing: Framing
    rectifier: Rectifier


class InferenceThread:
    """Works between `start` and `close`. The executor's thread only puts images into its mailbox.

    Args:
        node: whose log is written to.
        engine: of the pipeline; frames that it is not ready for are rejected.
        pipeline, publisher, ports: what a frame goes through.
        healths: count what becomes of each camera's frames.
        parameters: returns those that hold now; a batch sees one state of them.
    """

    def __init__(
        self,
        node: LifecycleNode,
        engine: EngineHost,
        pipeline: DepthPipeline,
        publisher: FramePublisher,
        ports: Mapping[str, CameraPort],
        healths: Mapping[str, CameraHealth],
        parameters: Callable[[], ParameterSet],
    ) -> None:
        self._node = node
        self._engine = engine
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
                self._reject(received, list(received), error)
            finally:
                self._busy_since = None

    def _infer(self, received: dict[str, ReceivedImage]) -> None:
        """Converts, computes and publishes what waited; takes out of `received` what is done.

        Cameras that the network sees at one size are one batch. A batch that fails costs the others nothing.
        """
        start = time.monotonic()
        parameters = self._parameters()
        decoded = self._decoded(received, parameters)
        if not decoded:
            return
        decode_seconds = time.monotonic() - start
        self._publisher.start_batch(parameters)
        for places in by_size([item.rectifier for item in decoded]):
            self._busy_since = time.monotonic()
            batch = [decoded[place] for place in places]
            try:
                frames = self._pipeline(
                    [item.image for item in batch],
                    [item.rectifier.source for item in batch],
                    [item.framing for item in batch],
                )
            except Exception as error:
                self._reject(received, [item.name for item in batch], error)
                continue
            waited = self._busy_since - decode_seconds  # for the decoder, and then for batches of other sizes
            for item, frame in zip(batch, frames, strict=True):
                stages = {"wait": waited - received[item.name].arrival, "decode": decode_seconds, **frame.latency}
                self._publish(received, item, frame, stages)
        self._publisher.end_batch()

    def _decoded(self, received: dict[str, ReceivedImage], parameters: ParameterSet) -> list[_Decoded]:
        """Returns the images that an engine is ready for; takes the others out of `received`."""
        decoded = []
        for name, item in list(received.items()):
            camera_framing = framing(parameters.of(name))
            try:
                image, camera = self._ports[name].decode(item.message)
                rectifier = self._pipeline.rectifier(camera, camera_framing)
                self._check_engine(rectifier)
            except Exception as error:  # what cannot be decoded or rectified costs this camera alone
                self._reject(received, [name], error)
                continue
            decoded.append(_Decoded(name, image, camera_framing, rectifier))
        return decoded

    def _publish(
        self, received: dict[str, ReceivedImage], item: _Decoded, frame: DepthFrame, stages: dict[str, float]
    ) -> None:
        """Publishes a frame and counts what became of it, with the seconds of its stages so far."""
        start = time.monotonic()
        message, health = received[item.name].message, self._healths[item.name]
        try:
            count = self._publisher.publish(item.name, frame, item.rectifier, message.header)
        except Exception as error:  # what one camera's outputs meet must not cost the others their frames
            self._reject(received, [item.name], error)
            return
        done = time.monotonic()
        arrival = received.pop(item.name).arrival
        if count == 0:  # who asked for it has left since
            health.count_unwanted()
            return
        health.count_published({**stages, "publish": done - start, "total": done - arrival})

    def _reject(self, received: dict[str, ReceivedImage], names: Sequence[str], error: Exception) -> None:
        """Rejects the frames of these cameras; raises the error where the node is ending."""
        if not rclpy.ok(context=self._node.context):
            raise error
        failure = self._known(error)
        for name in names:
            del received[name]
            reject(self._node, self._healths[name], failure)

    def _check_engine(self, rectifier: Rectifier) -> None:
        """Raises FrameError where no engine is ready for what a rectifier gives out."""
        size = rectifier.camera.height, rectifier.camera.width
        self._engine.prepare(size)
        if not self._engine.is_ready(size):
            raise FrameError(ENGINE_NOT_READY, self._engine.message(size))

    def _known(self, error: Exception) -> FrameError:
        """Returns the reason why a frame is rejected."""
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
