# SPDX-License-Identifier: Apache-2.0
"""What differs between Humble, Jazzy, Kilted and Lyrical, in one place.

Everything else in this folder is written against the part of rclpy that they share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks


def parameter_overrides(node: Node) -> dict[str, Parameter[Any]]:
    """What the command line and the parameter files set for this node, declared or not.

    No release offers this publicly without also declaring every override, misspelt ones included, so the attribute
    that all of them have is read; a release without it reports no unknown parameters rather than failing.
    """
    return dict(getattr(node, "_parameter_overrides", {}))


def incompatible_qos_callback(callback: Callable[[Any], None]) -> SubscriptionEventCallbacks:
    """Event callbacks for a subscription which call `callback` when a publisher's QoS cannot match."""
    return SubscriptionEventCallbacks(incompatible_qos=callback, use_default_callbacks=False)
