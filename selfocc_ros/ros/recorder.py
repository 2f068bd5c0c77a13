# SPDX-License-Identifier: Apache-2.0
"""Records what the occupancy node publishes into a rosbag2 directory, and when each message came in.

Messages are written as they came over DDS, byte for byte. The JSON-lines log has a line `{"event": "matched"}` once the
node's publishers are found, then topic, stamp_ns and wall_ns of each message.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from nav_msgs.msg import OccupancyGrid
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import PointCloud2

from selfocc_ros.errors import SelfOccError
from selfocc_ros.logs.writer import BagWriter
from selfocc_ros.ros import qos
from selfocc_ros.ros.cdr import header_stamp_ns
from selfocc_ros.ros.spin import init, shut_down, spin_until_signal

POINTS = ("occupied_points", PointCloud2, "sensor_msgs/msg/PointCloud2", qos.profile(20))
GRID = ("occupancy_grid", OccupancyGrid, "nav_msgs/msg/OccupancyGrid", qos.profile(20, latched=True))


class Recorder:
    """Subscribes to both outputs of the node called `source` and writes them to `bag` and `log`."""

    def __init__(self, source: str, bag: BagWriter, log: TextIO) -> None:
        self.node = Node("selfocc_recorder")
        self._bag = bag
        self._log = log
        self._topics = []
        for name, kind, type_name, profile in (POINTS, GRID):
            topic = f"/{source.strip('/')}/{name}"
            self._topics.append(topic)
            bag.add_topic(topic, type_name, latched=name == "occupancy_grid")
            self.node.create_subscription(kind, topic, partial(self._write, topic, type_name), profile, raw=True)
        self._matched = self.node.create_timer(0.1, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _look(self) -> None:
        if all(self.node.count_publishers(topic) for topic in self._topics):
            self._note({"event": "matched"})
            self._matched.cancel()

    def _write(self, topic: str, type_name: str, data: bytes) -> None:
        wall_ns = time.time_ns()
        self._bag.write_cdr(topic, type_name, wall_ns, data)
        self._note({"topic": topic, "stamp_ns": header_stamp_ns(data), "wall_ns": wall_ns})

    def _note(self, row: dict[str, Any]) -> None:
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM; returns the exit status."""
    arguments = list(sys.argv if argv is None else argv)
    parser = argparse.ArgumentParser(prog="recorder", description="Record what the occupancy node publishes.")
    parser.add_argument("bag", type=Path, help="rosbag2 directory to write, replaced if it is a recording")
    parser.add_argument("--log", type=Path, required=True, help="JSON lines: when each message came in")
    parser.add_argument("--node", default="selfocc", help="name of the node, with its namespace (selfocc)")
    args = parser.parse_args(remove_ros_args(arguments)[1:])
    try:
        init(arguments)
        with args.log.open("w") as log, BagWriter(args.bag, replace=True) as bag:
            recorder = Recorder(args.node, bag, log)
            try:
                spin_until_signal(recorder.node)
            finally:
                recorder.node.destroy_node()
    except SelfOccError as error:
        sys.stderr.write(f"recorder: {error}\n")
        return 2
    finally:
        shut_down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
