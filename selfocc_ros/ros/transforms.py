# SPDX-License-Identifier: Apache-2.0
"""Listens to /tf and /tf_static and fills a `TransformTree`.

tf2_ros' Python listener is not used: it is missing where ROS comes from wheels, and in Humble it does not notice a
jump back in time. The tree has tf2's semantics.

rclpy takes one message of each topic per turn, so at the hundreds of messages per second of a vehicle's /tf
transforms would come later and later behind images, which they must not. Hence a node and a thread of their own, as in
tf2_ros.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.logs.convert import feed
from selfocc_ros.ros import qos
from selfocc_ros.ros.spin import spin_until

try:
    from tf2_msgs.msg import TFMessage
except ImportError as error:  # the one message package that wheels lack
    raise ImportError(
        "selfocc_ros needs tf2_msgs: source an installed ROS 2, or build it with `python tools/build_underlay.py`"
    ) from error


class TransformListener:
    """Feeds every transform that arrives into `tree`; a broken one is told once per edge and left out.

    Args:
        beside: the node for which transforms are listened to; name, namespace and context are taken from it.
        tree: where the transforms go. Drops its timed transforms itself when time jumps back.
        warn: called with one sentence about what cannot be used, from another thread.
        look_on: called with (topic, message) of all that arrives, from that thread too.
    """

    def __init__(
        self,
        beside: Node,
        tree: TransformTree,
        warn: Callable[[str], None],
        look_on: Callable[[str, Any], None] | None = None,
    ) -> None:
        self._tree = tree
        self._warn = warn
        self._look_on = look_on
        self._told: set[tuple[str, str]] = set()
        name = f"{beside.get_name()}_tf"
        self._node = Node(
            name,
            namespace=beside.get_namespace(),
            context=beside.context,
            # A name given on the command line is meant for the other node; this one needs no clock.
            cli_args=["--ros-args", "-r", f"__node:={name}"],
            # The service that describes types would cost 90 KB anew each time that the node is activated.
            parameter_overrides=[
                Parameter("use_sim_time", value=False),
                Parameter("start_type_description_service", value=False),
            ],
            start_parameter_services=False,
        )
        for topic, static, profile in (("/tf", False, qos.TF), ("/tf_static", True, qos.TF_STATIC)):
            self._node.create_subscription(TFMessage, topic, partial(self._store, topic, static), profile)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="selfocc-transforms", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._end.set()
        self._thread.join()
        self._node.destroy_node()

    def _run(self) -> None:
        spin_until(self._end, self._node, lambda error: self._warn(f"a transform could not be used: {error!r}"))

    def _store(self, topic: str, static: bool, message: Any) -> None:
        if self._look_on is not None:
            self._look_on(topic, message)
        for parent, child, error in feed(self._tree, message, static):
            if (parent, child) not in self._told:
                self._told.add((parent, child))
                self._warn(f"{topic}: the transform from {child!r} to {parent!r} is left out: {error}")
