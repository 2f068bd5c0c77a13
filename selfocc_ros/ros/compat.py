# SPDX-License-Identifier: Apache-2.0
"""What differs between Humble, Jazzy, Kilted and Lyrical, in one place.

Everything else in this folder is written against the part of rclpy that they share.

What needs nothing here: Lyrical's messages may hold images in a GPU's memory (`rosidl_buffer`), but only for
subscriptions that accept it, and ours don't; for them `data` is the array of bytes that it always was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks


def parameter_overrides(node: Node) -> dict[str, Parameter[Any]]:
    """What the command line and the parameter files set for this node, declared or not.

    No release offers this publicly without also declaring every override, misspelt ones included, so the attribute
    that all of them have is read; a release without it reports no unknown parameters rather than failing.
    """
    return dict(getattr(node, "_parameter_overrides", {}))


def on_parameters(
    node: Node,
    check: Callable[[Sequence[Parameter[Any]]], str],
    changed: Callable[[Sequence[Parameter[Any]]], None],
) -> None:
    """Have parameters that somebody sets checked, and what was set told.

    Humble has no callback after setting: there they count as set once `check` has let them pass.

    Args:
        check: the reason to refuse all of them, or an empty text; must not change anything.
        changed: called once all are set.
    """
    later = getattr(node, "add_post_set_parameters_callback", None)

    def validate(parameters: list[Parameter[Any]]) -> SetParametersResult:
        reason = check(parameters)
        if not reason and later is None:
            changed(parameters)
        return SetParametersResult(successful=not reason, reason=reason)

    node.add_on_set_parameters_callback(validate)
    if later is not None:
        later(changed)


def incompatible_qos_callback(callback: Callable[[Any], None]) -> SubscriptionEventCallbacks:
    """Event callbacks for a subscription which call `callback` when a publisher's QoS cannot match."""
    return SubscriptionEventCallbacks(incompatible_qos=callback, use_default_callbacks=False)


def answering(change_state: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The callback of the service change_state, made to answer no where a transition is not possible.

    Up to Jazzy rclpy raises there, and who asked waits for ever.
    """

    def answer(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except RuntimeError:  # rclpy's RCLError, which has no public name; rcl_lifecycle has logged it
            response.success = False
            return response

    return answer


def unmatched_subscriber_callback(callback: Callable[[Any], None]) -> PublisherEventCallbacks:
    """Event callbacks for a publisher which call `callback` when a subscriber's QoS cannot match.

    Nothing else is listened to: rclpy looks at each kind of event of each publisher at every turn of the executor.
    """
    return PublisherEventCallbacks(incompatible_qos=callback, use_default_callbacks=False)
