# SPDX-License-Identifier: Apache-2.0
"""The node on an rclpy that lacks what Humble's lacks: its events are in another module, and much is not there at all.

It shows that nothing outside `compat.py` reaches for what only newer releases have. What Humble does differently
under the same name is not imitated.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node

# docs.ros.org/en/humble against kilted.
ABSENT = ("add_post_set_parameters_callback", "add_pre_set_parameters_callback", "wait_for_node")


def become_humble() -> None:
    """Take away from the rclpy of this process what Humble has not."""
    importlib.import_module("rclpy.lifecycle")  # it uses the newer names itself
    events = importlib.import_module("rclpy.event_handler")
    sys.modules["rclpy.qos_event"] = events
    sys.modules["rclpy.event_handler"] = None  # type: ignore[assignment]
    for name in ("rclpy.experimental", "rclpy.parameter_event_handler", "rclpy.parameter_client"):
        sys.modules[name] = None  # type: ignore[assignment]
    for name in ABSENT:
        if hasattr(Node, name):
            delattr(Node, name)
    init = rclpy.init

    def init_and_return_nothing(*args: Any, **options: Any) -> None:
        init(*args, **options)

    rclpy.init = init_and_return_nothing


if __name__ == "__main__":
    become_humble()
    runpy.run_path(str(Path(__file__).with_name("fake_node.py")), run_name="__main__")
