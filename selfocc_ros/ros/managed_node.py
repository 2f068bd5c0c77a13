# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node whose transitions may take seconds, may fail in one sentence, and never leave it in between.

What has to be done in a transition is somebody else's (`Managed`). This says what becomes of it:

- a SelfOccError is told, and the node stays as it was (FAILURE),
- any other exception is told, goes through on_error, and leaves the node unconfigured, to be configured again,
- shutdown always ends in `finalized`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from selfocc_ros.errors import SelfOccError
from selfocc_ros.node_parameters import ParameterError
from selfocc_ros.ros import compat
from selfocc_ros.ros.executor import SlowGroup
from selfocc_ros.ros.parameters import prepared


class AbandonedError(SelfOccError):
    """A transition is given up since the process is asked to end, which is no fault that anybody has to be told of."""


class Managed(Protocol):
    """What the transitions do. All may raise; SelfOccError where the reason is a sentence for the user."""

    def configure(self) -> None:
        """Get ready; may take seconds. Leaves nothing behind where it raises."""

    def activate(self) -> None:
        """Begin to work."""

    def deactivate(self) -> None:
        """Stop working; `activate` may follow."""

    def release(self) -> None:
        """Give back all that `configure` and `activate` took, however far they came."""

    def finalized(self) -> None:
        """The node is shut down for good."""


class ManagedNode(LifecycleNode):
    """The node `name`; its transitions call `work`.

    The service change_state is in a group of its own, a `SlowGroup`, so that parameters and all else are served while
    a transition takes its time.
    """

    def __init__(self, name: str, work: Managed) -> None:
        super().__init__(name)
        self._work = work
        for service in self.services:
            if service.srv_name.endswith("/change_state"):
                service.callback = compat.answering(service.callback)
                service.callback_group = SlowGroup()
                service.callback_group.add_entity(service)

    def start(self) -> None:
        """Configure and activate, as a lifecycle manager would."""
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Called by rclpy."""
        return self._go(self._work.configure, "configured", super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Called by rclpy."""
        return self._go(self._work.activate, "activated", super().on_activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Called by rclpy."""
        return self._go(self._work.deactivate, "deactivated", super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Called by rclpy."""
        return self._go(self._work.release, "cleaned up", super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Called by rclpy."""
        self._go(self._work.release, "cleaned up", super().on_shutdown, state)
        self._work.finalized()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Called by rclpy when another of these returned ERROR; SUCCESS is `unconfigured`."""
        self._go(self._work.release, "cleaned up", super().on_error, state)
        self.get_logger().error("after this error the node is unconfigured; it may be configured again")
        return TransitionCallbackReturn.SUCCESS

    def set_parameters_atomically(self, parameter_list: list[Parameter[Any]]) -> SetParametersResult:
        """As rclpy's, which the parameter services call; an unknown name is refused with the nearest one."""
        try:
            parameters = prepared(parameter_list)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return super().set_parameters_atomically(parameters)

    def _go(
        self,
        work: Callable[[], None],
        done: str,
        entities: Callable[[LifecycleState], TransitionCallbackReturn],
        state: LifecycleState,
    ) -> TransitionCallbackReturn:
        try:
            work()
        except AbandonedError:
            return TransitionCallbackReturn.FAILURE
        except SelfOccError as error:
            self.get_logger().error(f"the node cannot be {done}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # noqa: BLE001  rclpy would swallow it without a word
            self.get_logger().error(f"the node cannot be {done}: {type(error).__name__}: {error}")
            return TransitionCallbackReturn.ERROR
        return entities(state)
