# SPDX-License-Identifier: Apache-2.0
"""What differs between Humble, Jazzy, Kilted and Lyrical, in one place.

Everything else in this folder is written against the part of rclpy that they share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

#: What `spin` raises when the process is asked to end.
SHUTDOWN = (KeyboardInterrupt, ExternalShutdownException)


def parameter_overrides(node: Node) -> dict[str, Parameter[Any]]:
    """What the command line and the parameter files set for this node, declared or not.

    No release offers this publicly without also declaring every override, misspelt ones included, so the attribute
    that all of them have is read; a release without it reports no unknown parameters rather than failing.
    """
    return dict(getattr(node, "_parameter_overrides", {}))


def incompatible_qos_callback(callback: Callable[[Any], None]) -> SubscriptionEventCallbacks:
    """Event callbacks for a subscription which call `callback` when a publisher's QoS cannot match."""
    return SubscriptionEventCallbacks(incompatible_qos=callback, use_default_callbacks=False)


def shut_down() -> None:
    """End rclpy once, however often and from wherever it is called (`try_shutdown` is missing in early Humble)."""
    if rclpy.ok():
        rclpy.shutdown()
