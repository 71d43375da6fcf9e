"""What rclpy's lifecycle node leaves to its users."""

from __future__ import annotations

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode


def refuse_impossible_transitions(node: LifecycleNode) -> None:
    """Makes a node answer a transition that its state does not have with success=False.

    rclpy raises from the service's callback instead, which ends the executor and with it the node: asking a second
    time for `activate` would be enough. (rclpy/lifecycle/node.py, __on_change_state: Humble to Kilted.)
    """
    service = node._service_change_state
    change_state = service.callback

    def answer(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
        try:
            return change_state(request, response)
        except RuntimeError as error:  # rclpy's RCLError
            transition = request.transition.label or request.transition.id
            node.get_logger().warning(f"transition {transition} is refused: {error}")
            response.success = False
            return response

    service.callback = answer
