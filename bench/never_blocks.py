# SPDX-License-Identifier: Apache-2.0
"""Whether the node answers while the network computes: parameters, services, /clock and diagnostics.

    python bench/never_blocks.py --calls 200 --json out/never_blocks.json

A recording is played in a loop through the real node with a real network and one thread for it, and all outputs are
wanted, rendered depth included. Another process calls one service after the other, `--calls` times each. Times are from
the call to the answer, of the caller.

- p50, p99, worst: of each service, and of all calls together.
- diagnostics: messages per second (1 is right; changes of state come on top) and the longest gap between two.
- clock: how far the node's time is behind what /clock told last, whenever diagnostics come.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _observer import BenchError, Observer, until
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from memory import town_drive
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from std_srvs.srv import SetBool

from selfocc_ros.cli.output import write_json
from selfocc_ros.errors import SelfOccError
from selfocc_ros.ros import qos
from selfocc_ros.ros.domain import environment, own_domain
from selfocc_ros.ros.processes import Processes
from selfocc_ros.ros.session import NODE, NODE_COMMAND

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TORCH_NUM_THREADS": "1"}
PAUSE_S = 0.01

_BAND = Parameter("height_band", value=[0.3, 2.0]).to_parameter_msg()
SERVICES: dict[str, tuple[Any, Callable[[], Any]]] = {
    "get_parameters": (GetParameters, lambda: GetParameters.Request(names=["height_band", "max_skew"])),
    "set_parameters": (SetParameters, lambda: SetParameters.Request(parameters=[_BAND])),
    "describe_parameters": (DescribeParameters, lambda: DescribeParameters.Request(names=["height_band"])),
    "list_parameters": (ListParameters, ListParameters.Request),
    "get_state": (GetState, GetState.Request),
    "set_enabled": (SetBool, lambda: SetBool.Request(data=True)),
}
"""Types and requests; none of them changes anything."""


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Pace:
    """Counts /clock and the node's diagnostics, and how far the node's time lags."""

    def __init__(self, observer: Observer) -> None:
        self.clocks = 0
        self.diagnostics_s: list[float] = []
        self.lags_ms: list[float] = []
        self._now_ns = 0
        observer.node.create_subscription(Clock, "/clock", self._clock, qos.profile(10, reliable=False))
        observer.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, qos.DIAGNOSTICS)

    def _clock(self, message: Any) -> None:
        self.clocks += 1
        self._now_ns = message.clock.sec * 10**9 + message.clock.nanosec

    def _diagnosed(self, message: Any) -> None:
        if not any(entry.name == f"{NODE}: state" for entry in message.status):
            return
        self.diagnostics_s.append(time.monotonic())
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        lag_ms = (self._now_ns - stamp_ns) * 1e-6
        if -1e3 < lag_ms < 5e3:  # not across the start of a loop
            self.lags_ms.append(lag_ms)


def measure(bag: Path, checkpoint: str, calls: int, folder: Path) -> dict[str, Any]:
    """The figures; `bag` is played in a loop as long as it takes.

    Raises:
        BenchError: the node or the player did not come up, or a service does not answer.
    """
    with (
        own_domain() as domain,
        Observer(domain) as observer,
        Processes(folder, {**environment(domain), **ONE_THREAD}) as processes,
    ):
        pace = Pace(observer)
        arguments = ["-p", "use_sim_time:=true", "-p", f"checkpoint:={checkpoint}"] if checkpoint else []
        arguments = arguments or ["-p", "use_sim_time:=true"]
        processes.start("node", [*NODE_COMMAND, "--ros-args", *arguments])
        processes.start_module(
            "player", "selfocc_ros.ros.bag_player", str(bag), "--loop", "--wait-for-node", NODE, "--timeout", "120"
        )
        until(
            lambda: observer.state("state") == "running" or processes.ended(), "the first set that the node publishes"
        )
        if processes.ended():
            name = next(iter(processes.ended()))
            raise BenchError(f"the {name} ended: {processes.last_line(name)}")
        clients = {name: observer.node.create_client(kind, f"/{NODE}/{name}") for name, (kind, _) in SERVICES.items()}
        for name, client in clients.items():
            until(client.service_is_ready, f"the start of service {name}")
        outputs = observer.subscribe_to_outputs()
        until(lambda: len(pace.diagnostics_s) >= 3, "diagnostics")
        published, heard, clocks, begin_s = (
            int(observer.state("published")),
            len(pace.diagnostics_s),
            pace.clocks,
            time.monotonic(),
        )
        times: dict[str, list[float]] = {name: [] for name in clients}
        for _ in range(calls):
            for name, client in clients.items():
                times[name].append(observer.call(client, SERVICES[name][1]())[1])
                time.sleep(PAUSE_S)
        elapsed_s = time.monotonic() - begin_s
        diagnosed = pace.diagnostics_s[heard - 1 :]
        latency = observer.latency_ms()
        published = int(observer.state("published")) - published
        clock_hz = (pace.clocks - clocks) / elapsed_s
        lags = list(pace.lags_ms)
    every = [ms for values in times.values() for ms in values]
    return {
        "seconds": elapsed_s,
        "published": published,
        "outputs": len(outputs),
        "latency_ms": latency,
        "services": {name: _row(values) for name, values in times.items()},
        "all": _row(every),
        "diagnostics_hz": (len(diagnosed) - 1) / (diagnosed[-1] - diagnosed[0]),
        "diagnostics_gap_s": max(b - a for a, b in itertools.pairwise(diagnosed)),
        "clock_hz": clock_hz,
        "clock_lag_ms_p50": percentile(lags, 0.5),
        "clock_lag_ms_worst": max(lags),
    }


def _row(values: Sequence[float]) -> dict[str, float]:
    return {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "worst": max(values)}


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=200, help="of each service (200)")
    parser.add_argument("--bag", type=Path, help="recording to play; a drive is rendered where none is given")
    parser.add_argument("--checkpoint", default="", help="for the node; the shipped one where none is given")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is standard output")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="selfocc_never_blocks_") as folder:
        try:
            bag = args.bag or town_drive(Path(folder) / "town")
            figures = measure(bag, args.checkpoint, args.calls, Path(folder))
            if args.json:
                write_json(args.json, figures)
        except SelfOccError as error:
            print(f"never_blocks: {error}", file=sys.stderr)
            return 2
    for name, row in {**figures.pop("services"), "all": figures.pop("all")}.items():
        print(f"{name:22}" + "  ".join(f"{key} {value:6.1f} ms" for key, value in row.items()))
    stages = ", ".join(f"{stage} {ms:.0f}" for stage, ms in figures.pop("latency_ms").items())
    print(f"{'network':22}{stages} ms")
    for name, value in figures.items():
        print(f"{name:22}{value:.2f}" if isinstance(value, float) else f"{name:22}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
