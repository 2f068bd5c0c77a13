# SPDX-License-Identifier: Apache-2.0
"""A running node, its rig and what both say, for faults: each in a process of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from _observer import BenchError, Observer, until
from _recovery_cases import CAMERAS, GOOD_SETS, Case
from _rig import RigProcess
from diagnostic_msgs.msg import DiagnosticArray
from memory import usage
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import PointCloud2

from selfocc_ros.ros import qos
from selfocc_ros.ros.cdr import header_stamp_ns
from selfocc_ros.ros.domain import environment, own_domain
from selfocc_ros.ros.processes import Processes
from selfocc_ros.ros.session import NODE, POINTS_TOPIC

FAKE_NODE = Path(__file__).parents[1] / "test" / "ros" / "fake_node.py"
GUARD_S = 90.0
STEP_S = 3.0
"""So long a set may take to come out before the next one is sent; only those that never will take it."""
AHEAD_S = 0.15
MEANWHILE = 3
"""So many sets have to come out during a fault that does not silence the node."""

_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class Held:
    """What the node holds that could leak."""

    threads: int
    files: int
    subscriptions: tuple[str, ...]


@dataclass
class Out:
    """One message of ~/occupied_points."""

    wall_s: float
    stamp_ns: int


class Recovery:
    """Runs cases against one node; a context.

    Attributes:
        out: what was published, in order.
        node_exit: the node's exit status, once the context is left.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fault = folder / "network_fault"
        self._heard: list[tuple[str, str]] = []  # entry, all its text
        self.out: list[Out] = []
        self.node_exit: int | None = None

    def __enter__(self) -> Recovery:
        self._fault.write_text("")
        with ExitStack() as stack:
            domain = stack.enter_context(own_domain())
            self._environment = environment(domain)
            self._observer = stack.enter_context(Observer(domain))
            self._processes = stack.enter_context(Processes(self._folder, self._environment))
            node = self._observer.node
            node.create_subscription(PointCloud2, POINTS_TOPIC, self._hear_points, qos.POINTS, raw=True)
            node.create_subscription(DiagnosticArray, "/diagnostics", self._hear_diagnostics, qos.DIAGNOSTICS)
            self._set = node.create_client(SetParameters, f"/{NODE}/set_parameters")
            parameters = (f"checkpoint:=faulty:{self._fault}", "tf_wait:=0.3")
            arguments = [part for assignment in parameters for part in ("-p", assignment)]
            self._processes.start("node", [sys.executable, "-u", str(FAKE_NODE), "--ros-args", *arguments])
            self._rig = RigProcess(self._environment)
            stack.callback(lambda: self._rig.end())
            self._until(lambda: self.out and self._set.service_is_ready(), "the start of the node")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.node_exit = self._processes.stop("node")
        self._stack.close()

    def begin(self, case: Case) -> None:
        """Let the fault come, and wait for what the node has to do and say while it lasts."""
        if not case.begin:
            return
        self._heard.clear()
        self._tell(case.begin)
        begun, begun_s = len(self.out), time.monotonic()
        self._await_said(case)
        if case.goes_on:
            self._until(lambda: len(self.out) >= begun + MEANWHILE, f"publishing while {case.name}")
        elif case.silent and (late := [out for out in self.out[begun:] if out.wall_s > begun_s + 1.0]):
            raise BenchError(f"{len(late)} messages came out while {case.name}")

    def sets_to_recover(self, case: Case) -> int:
        """End the fault while time stands still, and send good sets one by one: how many it takes until one comes out.

        Raises:
            BenchError: more than `GOOD_SETS`.
        """
        self._heard.clear()
        if not self._is_killed(case):
            self._rig.tell("pause")
            self._settle()
        self._tell(case.end)
        if self._is_killed(case):
            self._rig.tell("pause")
        for number in range(1, GOOD_SETS + 1):
            before = len(self.out)
            stamp_ns = int(self._rig.tell("step"))
            deadline = time.monotonic() + STEP_S
            while time.monotonic() < deadline:
                # A set begins with the image of the reference camera, or of the one that stands in for it.
                if any(0 <= out.stamp_ns - stamp_ns < 50_000_000 for out in self.out[before:]):
                    return number
                time.sleep(0.02)
        raise BenchError(f"nothing came out of {GOOD_SETS} good sets after: {case.name}")

    def seconds_to_recover(self, case: Case) -> float:
        """End the fault while time goes on: seconds of wall time from the first good data to the first result."""
        self._heard.clear()
        self._tell(case.end)
        stamp_ns, begin_s = int(self._rig.tell("run")), time.monotonic()
        before = len(self.out)

        def good() -> list[float]:
            # What is under way from before a jump has stamps that nothing good can have yet.
            return [
                out.wall_s
                for out in self.out[before:]
                if 0.0 <= (out.stamp_ns - stamp_ns) * 1e-9 <= out.wall_s - begin_s + AHEAD_S
            ]

        self._until(good, f"publishing after: {case.name}")
        return good()[0] - begin_s

    def finish(self, case: Case) -> None:
        """Let time go on, and wait until the node has said what it has to and all is well."""
        self._rig.tell("run")
        if not case.begin:
            self._await_said(case)
        self.healthy()

    def healthy(self) -> None:
        """Wait until the node runs with all cameras, and says so."""

        def well() -> bool:
            states = {name: values["state"] for name, values in self._observer.cameras().items()}
            return self._observer.state("state") == "running" and states == dict.fromkeys(CAMERAS, "ok")

        self._until(well, "all being well")

    def held(self) -> Held:
        """What the node holds now."""
        found = usage(self._processes.pids()["node"])
        look = self._observer.node.get_subscriber_names_and_types_by_node
        names = [name for name in self._observer.node.get_node_names() if name.startswith(NODE)]
        # /clock is there or not by parameter use_sim_time.
        topics = sorted(f"{name} {topic}" for name in names for topic, _ in look(name, "/") if topic != "/clock")
        return Held(round(found["threads"]), round(found["files"]), tuple(topics))

    def told(self, text: str) -> int:
        """How often the node's log has a text, apart from the lines that sum up its state every few seconds."""
        return sum(text in line for line in self.log().splitlines() if " sets published" not in line)

    def log(self) -> str:
        """What the node has written so far."""
        return self._processes.log("node").read_text(errors="replace")

    def _tell(self, commands: tuple[str, ...]) -> None:
        for command in commands:
            first, _, rest = command.partition(" ")
            if first == "network":
                self._fault.write_text(rest)
            elif first == "set":
                name, _, word = rest.partition(" ")
                value = _WORDS[word] if word in _WORDS else float(word)
                parameter = Parameter(name, value=value).to_parameter_msg()
                self._observer.call(self._set, SetParameters.Request(parameters=[parameter]))
            elif command == "rig kill":
                self._rig.kill()
            elif first == "rig":
                self._rig = RigProcess(self._environment)
                self._rig.tell(f"jump {rest.removeprefix('start ')}")
                self._rig.tell("await")
            else:
                self._rig.tell(command)

    @staticmethod
    def _is_killed(case: Case) -> bool:
        return "rig kill" in case.begin

    def _settle(self) -> None:
        """Wait until nothing of before the pause is under way any more."""
        quiet_s = time.monotonic()
        count = len(self.out)
        while time.monotonic() < quiet_s + 0.5:
            if len(self.out) != count:
                count, quiet_s = len(self.out), time.monotonic()
            time.sleep(0.05)

    def _await_said(self, case: Case) -> None:
        def said() -> bool:
            entry = f"{NODE}: {case.entry}"
            return any(name == entry and any(text in told for text in case.says) for name, told in list(self._heard))

        self._until(said, f"{' or '.join(case.says)!r} in /diagnostics ({case.entry}) for: {case.name}")

    def _until(self, done: Callable[[], Any], what: str) -> None:
        try:
            until(done, what, GUARD_S, 0.02)
        except BenchError as error:
            last = "; ".join(f"{name}: {text}" for name, text in self._heard[-4:])
            raise BenchError(f"{error}; diagnostics say last: {last}; the log: {self.log()[-1500:]}") from error

    def _hear_points(self, data: bytes) -> None:
        self.out.append(Out(time.monotonic(), header_stamp_ns(data)))

    def _hear_diagnostics(self, message: Any) -> None:
        for entry in message.status:
            values = ", ".join(f"{pair.key}={pair.value}" for pair in entry.values)
            self._heard.append((entry.name, f"{entry.message} {values}"))
