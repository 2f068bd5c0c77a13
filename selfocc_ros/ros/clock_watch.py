# SPDX-License-Identifier: Apache-2.0
"""Notices which clock the node follows, and when /clock stands still although images come in."""

from __future__ import annotations

from rclpy.node import Node

from selfocc_ros.ros.complaints import Complaints
from selfocc_ros.ros.status import Status

STILL_S = 2.0


class ClockWatch:
    """Looks at the clock of `node`; `use_sim_time` may be set at any time."""

    def __init__(self, node: Node, status: Status, complain: Complaints) -> None:
        self._node = node
        self._status = status
        self._complain = complain
        self._sim: bool | None = None
        self._seen_ns = -1
        self._since_s = 0.0

    def look(self, now_s: float) -> None:
        """Compare the clock with a steady one, of which it is `now_s`; call about twice a second."""
        sim = bool(self._node.get_parameter("use_sim_time").value)
        if sim != self._sim:
            if self._sim is not None:
                clock = "/clock" if sim else "the system's clock"
                self._node.get_logger().info(f"use_sim_time is {str(sim).lower()} now: time is that of {clock}")
            self._sim, self._since_s = sim, now_s
            self._status.set_sim_time(sim)
        clock_ns = self._node.get_clock().now().nanoseconds
        if clock_ns != self._seen_ns or not self._images_come():
            self._seen_ns, self._since_s = clock_ns, now_s
        sentence = ""
        if sim and now_s - self._since_s > STILL_S:
            sentence = (
                f"/clock stands still at {clock_ns * 1e-9:.3f} s while images come in"
                if clock_ns
                else "use_sim_time is true, but nothing comes on /clock"
            )
            self._complain(("clock", clock_ns == 0), sentence)
        self._status.trouble("clock", sentence)

    def _images_come(self) -> bool:
        cameras = self._status.snapshot().cameras.values()
        return any(camera.age_s is not None and camera.age_s < STILL_S for camera in cameras)
