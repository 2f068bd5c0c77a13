# SPDX-License-Identifier: Apache-2.0
"""While the network computes, the node answers, tells its state and follows /clock: counted, never timed.

The real network on one thread, over DDS. A node whose callbacks had to wait for the network would answer about once
per set of images.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from selfocc_ros.ros import qos
from selfocc_ros.ros.domain import environment, own_domain
from selfocc_ros.ros.processes import Processes
from selfocc_ros.ros.session import NODE_COMMAND

pytestmark = pytest.mark.slow

SETS = 6
ANSWERS_PER_SET = 10
REQUESTS: dict[str, tuple[Any, Any]] = {
    "get_parameters": (GetParameters, GetParameters.Request(names=["height_band"])),
    "set_parameters": (
        SetParameters,
        SetParameters.Request(parameters=[Parameter("height_band", value=[0.2, 1.9]).to_parameter_msg()]),
    ),
    "describe_parameters": (DescribeParameters, DescribeParameters.Request(names=["height_band"])),
    "get_state": (GetState, GetState.Request()),
    "set_enabled": (SetBool, SetBool.Request(data=True)),
}


class Working:
    """The node at work, and what it says of itself: (stamp in s, published) of each message on /diagnostics."""

    def __init__(self, node: Node, executor: SingleThreadedExecutor, processes: Processes) -> None:
        self.node = node
        self.told: list[tuple[float, int]] = []
        self._executor, self._processes = executor, processes
        node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, qos.DIAGNOSTICS)

    def until(self, done: Callable[[], Any], what: str, timeout_s: float = 120.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, f"{what} within {timeout_s} s"
            assert not self._processes.ended(), {n: self._processes.last_line(n) for n in self._processes.ended()}
            self._executor.spin_once(timeout_sec=0.05)

    def published(self) -> int:
        return self.told[-1][1] if self.told else 0

    def _hear(self, message: Any) -> None:
        for entry in message.status:
            if entry.name == "selfocc: state":
                values = {pair.key: pair.value for pair in entry.values}
                stamp = message.header.stamp
                self.told.append((stamp.sec + stamp.nanosec * 1e-9, int(values["published"])))


@pytest.fixture(scope="module")
def working(make_bag: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Working]:
    folder = tmp_path_factory.mktemp("working")
    bag = make_bag(folder / "bag", seconds=20.0, scale=4)
    with own_domain() as domain, Processes(folder, {**environment(domain), "OMP_NUM_THREADS": "1"}) as processes:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=domain)
        executor = SingleThreadedExecutor(context=context)
        node = Node("caller", context=context)
        executor.add_node(node)
        processes.start("node", [*NODE_COMMAND, "--ros-args", "-p", "use_sim_time:=true", "-p", "tf_wait:=2.0"])
        processes.start_module("player", "selfocc_ros.ros.bag_player", str(bag), "--loop", "--wait-for-node", "selfocc")
        out = Working(node, executor, processes)
        out.until(out.published, "the first set")
        yield out
        node.destroy_node()
        context.shutdown()


def test_parameters_and_services_are_answered_many_times_per_set(working: Working):
    clients = {name: working.node.create_client(kind, f"/selfocc/{name}") for name, (kind, _) in REQUESTS.items()}
    for name, client in clients.items():
        working.until(client.service_is_ready, f"service {name}")
    begin, answers = working.published(), dict.fromkeys(clients, 0)
    while working.published() < begin + SETS:
        for name, client in clients.items():
            future = client.call_async(REQUESTS[name][1])
            working.until(future.done, f"an answer of {name}")
            assert future.result() is not None
            answers[name] += 1
    sets = working.published() - begin
    assert sum(answers.values()) >= ANSWERS_PER_SET * sets, (answers, sets)


def test_diagnostics_and_the_clock_keep_their_pace(working: Working):
    """Diagnostics come once a second of the recording, which plays in real time, and each with a time of its own."""
    count, begin = len(working.told), working.published()
    working.until(lambda: working.published() >= begin + SETS and len(working.told) >= count + 4, "sets")
    stamps = [stamp for stamp, _ in working.told[count:]]
    steps = [b - a for a, b in itertools.pairwise(stamps) if b > a - 5.0]  # less than that: the next loop
    assert max(steps) < 4.0, stamps
    assert len(set(stamps)) > len(stamps) / 2, stamps  # a change of state may come in the same tick
