# SPDX-License-Identifier: Apache-2.0
"""Runs a node until it is asked to end, and leaves ROS usable until the node has put its things in order.

rclpy's own signal handlers shut the context down first, so that whatever a node still does on its way out (another
thread that publishes, a log line) fails. Here the signal is only noted.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from selfocc_ros.errors import SelfOccError

_LOOK_S = 0.1  # a signal that comes while the executor waits is noticed after this time


_asked_to_end = threading.Event()


class ArgumentError(SelfOccError, ValueError):
    """The ROS arguments of a program cannot be used."""


def init(arguments: Sequence[str]) -> None:
    """`rclpy.init` that leaves SIGINT and SIGTERM to us: from now on they are noted for `spin_until_signal`.

    Raises:
        ArgumentError: what stands after --ros-args cannot be used, a parameter file that is not there for instance.
    """
    _asked_to_end.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _note)
    try:
        rclpy.init(args=list(arguments), signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # rclpy's RCLError, which has no public name
        raise ArgumentError(f"the ROS arguments cannot be used: {error}") from error


def _note(_number: int, _frame: FrameType | None) -> None:
    _asked_to_end.set()


def ask_to_end() -> None:
    """End as after SIGINT."""
    _asked_to_end.set()


def spin_until_signal(node: Node, survive: Callable[[Exception], None] | None = None) -> None:
    """Run the node's callbacks until SIGINT or SIGTERM (however many of them); see `spin_until`."""
    spin_until(_asked_to_end, node, survive)


def turn_until_signal(executor: Executor, survive: Callable[[Exception], None]) -> None:
    """Run the callbacks of an executor that is somebody else's until SIGINT, SIGTERM or `ask_to_end`."""
    _turn(_asked_to_end, executor, survive)


def spin_until(end: threading.Event, node: Node, survive: Callable[[Exception], None] | None = None) -> None:
    """Run the node's callbacks until `end` is set, or until the context ends.

    `survive` gets what a callback raises, and the node goes on; without it the exception ends the node.
    """
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    try:
        _turn(end, executor, survive)
    finally:
        executor.remove_node(node)
        executor.shutdown()


def _turn(end: threading.Event, executor: Executor, survive: Callable[[Exception], None] | None) -> None:
    while not end.is_set():
        try:
            executor.spin_once(timeout_sec=_LOOK_S)
        except ExternalShutdownException:
            return
        except Exception as error:
            if survive is None:
                raise
            survive(error)


def interrupt_once() -> None:
    """Let the first SIGINT or SIGTERM raise KeyboardInterrupt in the main thread, and ignore those after it.

    A terminal and a launch both pass Ctrl-C on; the second one must not break the way out.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


def shut_down() -> None:
    """End rclpy once, however often it is called (`try_shutdown` is missing in early Humble)."""
    if rclpy.ok():
        rclpy.shutdown()
