# SPDX-License-Identifier: Apache-2.0
"""What benchmarks of the running node share: a node of their own that listens, and figures of processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from selfocc_ros.errors import SelfOccError
from selfocc_ros.ros import qos
from selfocc_ros.ros.cdr import message_class
from selfocc_ros.ros.domain import environment
from selfocc_ros.ros.session import NODE

ANSWER_S = 30.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class BenchError(SelfOccError):
    """What was to be measured did not happen."""


class Observer:
    """A node in `domain` that spins on a thread of its own and keeps the node's last diagnostics.

    Attributes:
        node: to create subscriptions and clients with.
        entries: the last values of each diagnostics entry of the node: {entry: {key: value}}.
        heard: messages on /diagnostics that were the node's.
    """

    def __init__(self, domain: int) -> None:
        os.environ.update(environment(domain))
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = Node("observer", context=self._context)
        self.entries: dict[str, dict[str, str]] = {}
        self.heard = 0
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics, qos.DIAGNOSTICS)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self.node.destroy_node()
        self._context.shutdown()

    def state(self, key: str, default: str = "") -> str:
        """A value of the entry that tells the node's state."""
        return self.entries.get(f"{NODE}: state", {}).get(key, default)

    def latency_ms(self) -> dict[str, float]:
        """Median milliseconds per stage, and their `total`, of what went out lately."""
        prefix = "latency_ms."
        values = self.entries.get(f"{NODE}: state", {})
        return {key.removeprefix(prefix): float(value) for key, value in values.items() if key.startswith(prefix)}

    def cameras(self) -> dict[str, dict[str, str]]:
        """The values of each camera, by its name."""
        prefix = f"{NODE}: camera "
        return {name.removeprefix(prefix): values for name, values in self.entries.items() if name.startswith(prefix)}

    def subscribe_to_outputs(self) -> list[str]:
        """Subscribe to all topics of the node that there are now, which are computed only while somebody does."""
        outputs = [
            (topic, kinds[0])
            for topic, kinds in self.node.get_topic_names_and_types()
            if topic.startswith(f"/{NODE}/") and not topic.endswith("/transition_event")
        ]
        for topic, kind in outputs:
            self.node.create_subscription(message_class(kind), topic, lambda _: None, qos.POINTS, raw=True)
        return [topic for topic, _ in outputs]

    def call(self, client: Any, request: Any) -> tuple[Any, float]:
        """The answer of a service, and the milliseconds from the call to it.

        Raises:
            BenchError: no answer comes.
        """
        answered = threading.Event()
        begin = time.perf_counter()
        end = begin

        def done(_: Any) -> None:
            nonlocal end
            end = time.perf_counter()
            answered.set()

        future = client.call_async(request)
        future.add_done_callback(done)
        if not answered.wait(ANSWER_S):
            raise BenchError(f"{client.srv_name} does not answer within {ANSWER_S:g} s")
        return future.result(), 1e3 * (end - begin)

    def _diagnostics(self, message: Any) -> None:
        entries = {entry.name: {pair.key: pair.value for pair in entry.values} for entry in message.status}
        if f"{NODE}: state" in entries:
            self.entries = entries
            self.heard += 1

    def _spin(self) -> None:
        while not self._end.is_set():
            self._executor.spin_once(timeout_sec=0.1)


def until(done: Callable[[], Any], what: str, timeout_s: float = 120.0, look_s: float = 0.1) -> None:
    """Wait for something.

    Raises:
        BenchError: it did not happen in time; the sentence says what.
    """
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise BenchError(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(look_s)


def cpu_s(pid: int) -> float:
    """Processor time that a process has used so far, all threads, user and system; Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S
