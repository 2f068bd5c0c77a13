# SPDX-License-Identifier: Apache-2.0
"""The node as a process of its own, over real DDS, and a node of this process to look at it."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from selfocc_ros.ros import qos
from selfocc_ros.ros.domain import environment, own_domain
from selfocc_ros.ros.processes import Processes

GUARD_S = 60.0  # hangs end here; nothing is expected to take that long
CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
SHUTDOWN = {
    "unconfigured": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    "inactive": Transition.TRANSITION_INACTIVE_SHUTDOWN,
    "active": Transition.TRANSITION_ACTIVE_SHUTDOWN,
}


class LiveNode:
    """What a test asks of the node.

    Attributes:
        processes: `node` runs in there.
        eye: a node of this process.
        told: the node's entry in each message on /diagnostics, by key.
    """

    def __init__(self, processes: Processes, eye: Node, executor: SingleThreadedExecutor) -> None:
        self.processes = processes
        self.eye = eye
        self.told: list[dict[str, str]] = []
        self._executor = executor
        self._clients: dict[str, Any] = {}
        eye.create_subscription(DiagnosticArray, "/diagnostics", self._hear, qos.DIAGNOSTICS)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Turn until something holds."""
        deadline = time.monotonic() + GUARD_S
        while not condition():
            assert time.monotonic() < deadline, f"{what} within {GUARD_S} s; the node's log ends: {self.log()[-2000:]}"
            self._executor.spin_once(timeout_sec=0.05)

    def hear(self, kind: Any, topic: str, profile: Any) -> list[Any]:
        """A list that fills with messages."""
        heard: list[Any] = []
        self.eye.create_subscription(kind, topic, heard.append, profile)
        return heard

    def ask(self, kind: Any, name: str, request: Any) -> Any:
        """The future of a call to one of the node's services."""
        if name not in self._clients:
            self._clients[name] = self.eye.create_client(kind, f"/selfocc/{name}")
        client = self._clients[name]
        self.until(client.service_is_ready, f"service {name}")
        return client.call_async(request)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """The answer of one of the node's services."""
        future = self.ask(kind, name, request)
        self.until(future.done, f"an answer of {name}")
        return future.result()

    def set(self, **values: Any) -> Any:
        """Set parameters, all at once; a name has `__` for its dot."""
        parameters = [Parameter(name.replace("__", "."), value=v).to_parameter_msg() for name, v in values.items()]
        request = SetParametersAtomically.Request(parameters=parameters)
        return self.call(SetParametersAtomically, "set_parameters_atomically", request).result

    def change(self, transition: int) -> bool:
        """Whether a transition succeeded."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, "change_state", request).success)

    def lifecycle(self) -> str:
        """The state as the lifecycle knows it."""
        return str(self.call(GetState, "get_state", GetState.Request()).current_state.label)

    def await_state(self, *states: str) -> dict[str, str]:
        """Wait for diagnostics which tell one of these states; returns them."""
        self.told.clear()
        self.until(lambda: self.told and self.told[-1]["state"] in states, f"state {' or '.join(states)}")
        return self.told[-1]

    def await_published(self, more: int = 2) -> None:
        """Wait until so many more sets are published."""
        self.told.clear()
        self.until(lambda: self.told, "diagnostics")
        begin = int(self.told[-1]["published"])
        self.until(lambda: int(self.told[-1]["published"]) >= begin + more, f"{more} more sets")

    def start_player(self, bag: Path, *options: str) -> None:
        """Begin to play a recording."""
        self.processes.start_module("player", "selfocc_ros.ros.bag_player", str(bag), *options)

    def loop(self, bag: Path) -> None:
        """Play a recording over and over, from when the node is ready."""
        self.start_player(bag, "--loop", "--wait-for-node", "selfocc")

    def played(self) -> int:
        """Wait for the end of the player; its exit status."""
        self.until(lambda: "player" in self.processes.ended(), "the player ended")
        return self.processes.ended()["player"]

    def play(self, bag: Path, *options: str) -> int:
        """Play a recording to its end; the player's exit status."""
        self.start_player(bag, *options)
        return self.played()

    def subscribes(self) -> set[str]:
        """Topics to which the node and its listener to transforms subscribe."""
        return self._entities(self.eye.get_subscriber_names_and_types_by_node)

    def publishes(self) -> set[str]:
        """Topics that the node publishes."""
        return self._entities(self.eye.get_publisher_names_and_types_by_node)

    def _entities(self, look: Callable[[str, str], Sequence[tuple[str, Any]]]) -> set[str]:
        names = [name for name in self.eye.get_node_names() if name.startswith("selfocc")]
        return {topic for name in names for topic, _ in look(name, "/")}

    def threads(self) -> int:
        """How many threads the node has."""
        return self._count("task")

    def files(self) -> int:
        """How many files and sockets the node has open."""
        return self._count("fd")

    def memory(self) -> int:
        """Bytes of the node that are in memory."""
        pages = Path(f"/proc/{self.processes.pids()['node']}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def _count(self, what: str) -> int:
        return sum(1 for _ in Path(f"/proc/{self.processes.pids()['node']}/{what}").iterdir())

    def ended(self) -> int:
        """Wait for the end of the node; its exit status."""
        self.until(lambda: "node" in self.processes.ended(), "the node ended")
        return self.processes.ended()["node"]

    def log(self) -> str:
        """What the node has written."""
        return self.processes.log("node").read_text()

    def _hear(self, message: Any) -> None:
        for entry in message.status:
            if entry.name == "selfocc: state":
                self.told.append({pair.key: pair.value for pair in entry.values})


@contextlib.contextmanager
def live_node(folder: Path, command: Sequence[str], *parameters: str, **variables: str) -> Iterator[LiveNode]:
    """Start the node with `-p` for each of `parameters`, in a domain of its own; it has ended on leaving.

    Args:
        folder: for the logs.
        command: starts it.
        variables: more of its environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [part for assignment in parameters for part in ("-p", assignment)]
    with own_domain() as domain, Processes(folder, {**environment(domain), **variables}) as processes:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=domain)
        executor = SingleThreadedExecutor(context=context)
        eye = Node("eye", context=context)
        executor.add_node(eye)
        try:
            out = LiveNode(processes, eye, executor)
            processes.start("node", [*command, "--ros-args", *arguments])
            yield out
        finally:
            executor.shutdown()
            eye.destroy_node()
            context.shutdown()
