# SPDX-License-Identifier: Apache-2.0
"""Listens to /tf and /tf_static and fills a `TransformTree`.

tf2_ros' Python listener is not used: it is missing where ROS comes from wheels, and in Humble it does not notice a
jump back in time. The tree has tf2's semantics.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node

from selfocc_ros.errors import SelfOccError
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.logs.convert import feed
from selfocc_ros.ros import qos

try:
    from tf2_msgs.msg import TFMessage
except ImportError as error:  # the one message package that wheels lack
    raise ImportError(
        "selfocc_ros needs tf2_msgs: source an installed ROS 2, or build it with `python tools/build_underlay.py`"
    ) from error


class TransformListener:
    """Feeds every transform that arrives into `tree`; a broken one is told once per edge and left out.

    Args:
        node: the node that subscribes.
        tree: where the transforms go. Clears its timed edges itself when time jumps back.
        warn: called with one sentence about a transform that cannot be used.
    """

    def __init__(self, node: Node, tree: TransformTree, warn: Callable[[str], None]) -> None:
        self._tree = tree
        self._warn = warn
        self._told: set[tuple[str, str]] = set()
        for topic, static, profile in (("/tf", False, qos.TF), ("/tf_static", True, qos.TF_STATIC)):
            node.create_subscription(TFMessage, topic, partial(self._store, topic, static), profile)

    def _store(self, topic: str, static: bool, message: Any) -> None:
        for transform in message.transforms:
            edge = (transform.header.frame_id, transform.child_frame_id)
            try:
                # One at a time: a broken transform must not take the others of its message with it.
                feed(self._tree, TFMessage(transforms=[transform]), static)
            except SelfOccError as error:
                if edge not in self._told:
                    self._told.add(edge)
                    self._warn(f"{topic}: the transform from {edge[1]!r} to {edge[0]!r} is left out: {error}")
