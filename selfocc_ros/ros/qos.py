# SPDX-License-Identifier: Apache-2.0
"""Quality of service: what we offer, and how subscriptions follow what publishers offer.

A best-effort subscription matches every publisher but loses most large messages (fragments of a 4 MB image rarely all
arrive); a reliable one never matches a best-effort publisher. So a subscription takes the publisher's own reliability.
"""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind

from selfocc_ros.ros.compat import unmatched_subscriber_callback

#: A second or more at usual rates: an image lost here is a set without its camera. Raw ones may have megabytes.
IMAGE_DEPTH, COMPRESSED_DEPTH = 10, 30
INFO_DEPTH = 2
TF_DEPTH = 500


def profile(depth: int, *, reliable: bool = True, latched: bool = False) -> QoSProfile:
    """A keep-last profile; `latched` is transient_local: late subscribers get the last `depth` messages."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


#: Nav2's static layer wants the latched grid; RViz's volatile subscription matches it too.
GRID = profile(1, latched=True)
POINTS = profile(5)
DIAGNOSTICS = profile(10)
TF = profile(TF_DEPTH)
TF_STATIC = profile(TF_DEPTH, latched=True)


def offered(node: Node, topic: str, depth: int, policy: str = "auto") -> QoSProfile | None:
    """The profile for a subscription to `topic` that every present publisher matches, or None without a publisher.

    Reliable if all publishers are reliable, latched if all are latched: the strongest that still matches everybody.

    Args:
        policy: as the parameter `qos`: "reliable" and "best_effort" are asked for whatever is offered.
    """
    offers = [info.qos_profile for info in node.get_publishers_info_by_topic(topic)]
    if not offers:
        return None
    return profile(
        depth,
        reliable=policy == "reliable"
        or (policy == "auto" and all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)),
        latched=all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers),
    )


def same(one: QoSProfile, other: QoSProfile) -> bool:
    """Whether two profiles ask for the same reliability and durability."""
    return one.reliability == other.reliability and one.durability == other.durability


def offer(node: Node, kind: Any, topic: str, profile: QoSProfile) -> Publisher:
    """A publisher that tells of subscribers who ask for more than it offers, and so get nothing."""

    def unmatched(event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        node.get_logger().warning(f"a subscriber to {topic} gets nothing: it asks for another QoS ({policy})")

    return node.create_publisher(kind, topic, profile, event_callbacks=unmatched_subscriber_callback(unmatched))
