# SPDX-License-Identifier: Apache-2.0
"""Who offers a topic, who listens to it, and who cannot hear whom: what the ROS graph tells without a message."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy


def full_name(endpoint: Any) -> str:
    """The node of a publisher or subscription, with its namespace."""
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"


def mismatch(offered: QoSProfile, wanted: QoSProfile) -> str:
    """Why a subscription that wants one profile gets nothing from a publisher that offers the other; empty if it does.

    Reliability and durability: those are what drivers and viewers get wrong. A profile that leaves one to the system
    is taken to fit.
    """
    if offered.reliability == ReliabilityPolicy.BEST_EFFORT and wanted.reliability == ReliabilityPolicy.RELIABLE:
        return "offered best effort, wanted reliable"
    if offered.durability == DurabilityPolicy.VOLATILE and wanted.durability == DurabilityPolicy.TRANSIENT_LOCAL:
        return "offered volatile, wanted transient local"
    return ""


def unheard(node: Node, topic: str, wanted: QoSProfile) -> dict[str, str]:
    """Publishers of a topic that a subscription of `node` with the profile `wanted` does not hear, with the reason."""
    found = {
        full_name(offer): mismatch(offer.qos_profile, wanted) for offer in node.get_publishers_info_by_topic(topic)
    }
    return {name: reason for name, reason in found.items() if reason}


def offered(node: Node, topic: str) -> str:
    """How the publishers of a topic offer it, in words; empty without one."""
    offers = node.get_publishers_info_by_topic(topic)
    reliable = {offer.qos_profile.reliability == ReliabilityPolicy.RELIABLE for offer in offers}
    words = " and ".join({True: "reliable", False: "best effort"}[each] for each in sorted(reliable, reverse=True))
    return f"{words}, from {len(offers)} publishers" if len(offers) > 1 else words


def deaf(node: Node, source: str) -> list[str]:
    """One sentence for each subscription to a topic of the node `source` that cannot hear it."""
    sentences = []
    for topic, _ in node.get_topic_names_and_types():
        if not topic.startswith(source.rstrip("/") + "/"):
            continue
        offers = [offer.qos_profile for offer in node.get_publishers_info_by_topic(topic)]
        for listener in node.get_subscriptions_info_by_topic(topic):
            reasons = [mismatch(offer, listener.qos_profile) for offer in offers]
            if reasons and all(reasons):
                sentences.append(f"{full_name(listener)} does not hear {topic}: {reasons[0]}")
    return sentences


def listened_to(node: Node, source: str) -> list[str]:
    """The topics of the node `source` that somebody subscribes to."""
    prefix = source.rstrip("/") + "/"
    return sorted(
        topic
        for topic, _ in node.get_topic_names_and_types()
        if topic.startswith(prefix) and node.count_publishers(topic) and node.count_subscribers(topic)
    )
