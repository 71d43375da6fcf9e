"""The depth node: camera images in, metric depth and point clouds out. Wiring only."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from recon3d_ros.core.camera import CameraModel
from recon3d_ros.core.model import ModelError
from recon3d_ros.core.pipeline import DepthPipeline
from recon3d_ros.engines import EngineError
from recon3d_ros.ros.camera_port import CameraPort, ReceivedImage
from recon3d_ros.ros.diagnostics import CameraHealth, key_values
from recon3d_ros.ros.engine_host import EngineHost, engine_options
from recon3d_ros.ros.frame_publisher import FramePublisher
from recon3d_ros.ros.inference_thread import InferenceThread
from recon3d_ros.ros.lifecycle import refuse_impossible_transitions
from recon3d_ros.ros.parameter_field import ParameterError
from recon3d_ros.ros.parameter_set import declare_parameters, result_of, with_changes
from recon3d_ros.ros.parameters import DepthNodeParameters
from recon3d_ros.ros.running import run_node
from recon3d_ros.ros.view_options import framing

NODE_NAME = "recon3d_depth"
HANG_CHECK_PERIOD = 0.2  # seconds


class DepthNode(LifecycleNode):
    """A managed node: `configure` loads the network, `activate` starts the inference thread.

    The executor's thread only stores the newest image of each camera; one inference thread takes what waits,
    runs it as one batch and publishes, so that parameters, services and diagnostics stay responsive.

    Raises:
        ParameterError: if a parameter is unknown, has the wrong type or is out of range.
    """

    def __init__(self, **node_options: object) -> None:
        super().__init__(NODE_NAME, **node_options)
        refuse_impossible_transitions(self)
        # Before the parameters, which may raise: Kilted's try_shutdown destroys every node, half-made ones too.
        self._ports: dict[str, CameraPort] = {}
        self._engine: EngineHost | None = None
        self._pipeline: DepthPipeline | None = None
        self._publisher: FramePublisher | None = None
        self._inference: InferenceThread | None = None
        self._state = "unconfigured"
        self._failure = ""
        self._parameter_set = declare_parameters(self)
        self._healths = {name: CameraHealth(name, self.parameters.stale_after) for name in self.parameters.cameras}
        self.add_on_set_parameters_callback(self._set_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # On a steady clock: health must go on being told when /clock stops.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self.parameters.diagnostics_period, self._publish_diagnostics, clock=steady)

    @property
    def parameters(self) -> DepthNodeParameters:
        """The node's own parameters; a camera may have others (ParameterSet.of)."""
        return self._parameter_set.node

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self._configure()
        except Exception as error:  # rclpy would swallow it without a word
            is_known = isinstance(error, ModelError | EngineError)
            self._failure = str(error) if is_known else f"{type(error).__name__}: {error}"
            self.get_logger().error(f"configure failed: {self._failure}")
            self.get_logger().debug(traceback.format_exc())
            self._release()
            return TransitionCallbackReturn.FAILURE
        self._failure, self._state = "", "inactive"
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        parameters = self.parameters
        self._engine = engine = EngineHost(
            parameters.model,
            engine_options(parameters),
            serve_while_building=parameters.serve_while_building,
            logger=self.get_logger(),
        )
        if not engine.info.is_metric:
            self.get_logger().warning(f"{engine.info.name} is not metric: its depth has an unknown scale")
        self._pipeline = pipeline = DepthPipeline(engine)
        self._publisher = FramePublisher(self, self._parameter_set, self._healths, max_depth=engine.info.max_depth)

        def prepare(name: str, camera: CameraModel) -> None:
            engine.prepare(pipeline.network_size(camera, framing(self._parameter_set.of(name))))

        if any(self._parameter_set.of(name).network_pixels == 0 for name in parameters.cameras):
            engine.prepare(engine.info.size)  # known before any camera has told its own
        self._ports = {
            name: CameraPort(
                self,
                name,
                self._parameter_set.of(name),
                self._healths[name],
                self._receive,
                prepare,
                self._publisher.frames.forget,
            )
            for name in parameters.cameras
        }
        info = engine.info
        size = "free size" if info.has_free_size else f"{info.width}x{info.height}"
        self.get_logger().info(
            f"configured: {info.name} {info.version}, {size}, {parameters.backend}, "
            f"cameras {', '.join(parameters.cameras)}"
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        self._inference = InferenceThread(
            self,
            self._engine,
            self._pipeline,
            self._publisher,
            self._ports,
            self._healths,
            lambda: self._parameter_set,
        )
        self._inference.start()
        self._state = "active"
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def start(self) -> bool:
        """Configures and activates the node (autostart); returns whether both succeeded."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def hang(self) -> str:
        """Returns what is wrong where a batch has taken longer than `inference_timeout`, else ""."""
        inference, limit = self._inference, self.parameters.inference_timeout
        seconds = inference.busy_seconds() if inference is not None else 0.0
        if not 0.0 < limit < seconds:
            return ""
        return f"inference has taken {seconds:.1f} s, inference_timeout is {limit:.1f} s: the engine hangs"

    def destroy_node(self) -> None:
        self._release()
        super().destroy_node()

    def _receive(self, camera: str, image: ReceivedImage) -> None:
        health = self._healths[camera]
        if self._state != "active" or not self._publisher.is_wanted(camera):
            health.count_unwanted()
        else:
            self._inference.put(camera, image)

    def _set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            self._parameter_set = with_changes(self._parameter_set, changes)
        except ParameterError as error:
            return result_of(error)
        return result_of(None)

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        is_active = self._state == "active"
        lidar = self._publisher.lidar if self._publisher else None
        info = self._pipeline.engine.info if self._pipeline else None
        values = {
            "state": self._state,
            "backend": self.parameters.backend,
            "model": f"{info.name} {info.version}" if info else self.parameters.model,
            "model_sha256": info.sha256 if info else "",
            "is_metric": info.is_metric if info else "",
        }
        message.status = [
            DiagnosticStatus(
                level=DiagnosticStatus.ERROR if self._failure else DiagnosticStatus.OK,
                name=NODE_NAME,
                message=self._failure or self._state,
                values=key_values(values),
            ),
            *([self._engine.report()] if self._engine else []),
            *([lidar.report(is_active=is_active)] if lidar else []),
            *(health.report(is_active=is_active) for health in self._healths.values()),
        ]
        self._diagnostics.publish(message)

    def _stop(self) -> None:
        """Ends the inference thread; what waited unread counts as dropped."""
        self._state = "inactive"
        if self._inference is not None:
            self._inference.close()
            self._inference = None

    def _release(self) -> None:
        """Ends the inference thread, then removes the topics and the network."""
        self._stop()
        for port in self._ports.values():
            port.destroy()
        self._ports = {}
        if self._publisher is not None:
            self._publisher.destroy()
            self._publisher = None
        self._pipeline = None
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        self._state = "unconfigured"


def _end_if_inference_hangs(node: DepthNode) -> None:
    """Ends the process with status 1 once the engine hangs, so that a supervisor starts it anew.

    A thread that hangs in an engine's own code can be neither stopped nor joined; only its process can end.
    """
    while not (hang := node.hang()):
        time.sleep(HANG_CHECK_PERIOD)
    node.get_logger().fatal(f"{hang}; the node ends, to be started again (launch argument respawn:=true)")
    os._exit(1)


def _start(node: DepthNode) -> bool:
    """Starts the node where it is to start itself, and what watches its inference; returns whether it may run."""
    if node.parameters.autostart and not node.start():
        return False
    threading.Thread(target=_end_if_inference_hangs, args=(node,), name="watchdog", daemon=True).start()
    return True


def main(arguments: list[str] | None = None) -> int:
    """Runs the node until it is told to stop; returns 1 if it could not start."""
    return run_node(NODE_NAME, DepthNode, refusals=(ParameterError,), prepare=_start, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
