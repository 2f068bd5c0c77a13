# SPDX-License-Identifier: Apache-2.0
"""Tells others where the cameras are whose mounting comes from a file: depth images and RViz need their frames too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from tf2_msgs.msg import TFMessage

from selfocc_ros.geometry.poses import matrix_to_quaternion
from selfocc_ros.ros import qos

Mounting = tuple[str, str, NDArray[np.float64]]
"""Base frame, optical frame, base_from_camera (4,4)."""


class MountingBroadcaster:
    """Publishes mountings on /tf_static, as static_transform_publisher would; nothing while there are none."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher: Publisher[TFMessage] | None = None

    def tell(self, mountings: Sequence[Mounting]) -> None:
        """Publish these, in place of those before."""
        if self._publisher is None:
            if not mountings:
                return
            self._publisher = self._node.create_publisher(TFMessage, "/tf_static", qos.profile(1, latched=True))
        self._publisher.publish(TFMessage(transforms=[self._transform(*mounting) for mounting in mountings]))

    def close(self) -> None:
        """Publish no longer."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None

    def _transform(self, parent: str, child: str, parent_from_child: NDArray[np.float64]) -> TransformStamped:
        message = TransformStamped(child_frame_id=child)
        message.header.frame_id = parent
        message.header.stamp = self._node.get_clock().now().to_msg()
        offset, turn = message.transform.translation, message.transform.rotation
        offset.x, offset.y, offset.z = (float(v) for v in parent_from_child[:3, 3])
        turn.x, turn.y, turn.z, turn.w = (float(v) for v in matrix_to_quaternion(parent_from_child[:3, :3]))
        return message
