# SPDX-License-Identifier: Apache-2.0
"""Whether the node bears half an hour of faults: one every ten seconds, in a drive that plays in a loop.

    python bench/soak.py --minutes 30 --seed 1 --json out/soak.json

The node is the real one with the small predictor of the tests, the rig is that of the fault tests; what happens when
is drawn from `--seed`. A fault lasts `HELD` of the period. Reported are

- stale, by fault: how often nothing was published for `STALE_S` after it, or for `SILENT_S` at the end of a fault
  that leaves enough to publish from;
- recovery: seconds from the end of a fault to the next message;
- repeated: messages with the stamp of the one before;
- exceptions: what the node's log tells of exceptions that nobody meant;
- memory, open files and threads of the node (least of each minute, over the second half of the time).

The exit status is 1 where something is stale or repeated, where there are exceptions, or where the node does not end.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from _faults import FAULTS, Scene
from _observer import BenchError, Observer, until
from _rig import RigProcess
from memory import trend, usage
from sensor_msgs.msg import PointCloud2

from selfocc_ros.cli.output import write_json
from selfocc_ros.errors import SelfOccError
from selfocc_ros.ros import qos
from selfocc_ros.ros.cdr import header_stamp_ns
from selfocc_ros.ros.domain import environment, own_domain
from selfocc_ros.ros.processes import Processes
from selfocc_ros.ros.session import POINTS_TOPIC

FAKE_NODE = Path(__file__).parents[1] / "test" / "ros" / "fake_node.py"
LOOP_S = 45.0
HELD = 0.4
STALE_S, SILENT_S = 5.0, 2.5
LOOK_S = 0.1
UNMEANT = re.compile(
    r"Traceback|a message could not be used|(skipped|not published): [A-Za-z]*(Error|Exception): |\[FATAL\]"
)


class Output:
    """When messages came out, and whether any came twice."""

    def __init__(self, observer: Observer) -> None:
        self.count = self.repeated = 0
        self.last_s = time.monotonic()
        self._stamp_ns = 0
        observer.node.create_subscription(PointCloud2, POINTS_TOPIC, self._hear, qos.POINTS, raw=True)

    def _hear(self, data: bytes) -> None:
        stamp_ns = header_stamp_ns(data)
        self.repeated += stamp_ns == self._stamp_ns
        self._stamp_ns = stamp_ns
        self.count += 1
        self.last_s = time.monotonic()


class Watcher(threading.Thread):
    """Samples a process once a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.samples: list[dict[str, float]] = []
        self._pid = pid
        self._begin = time.monotonic()
        self._end = threading.Event()

    def run(self) -> None:
        """Until told to end, or until the process ends."""
        while not self._end.wait(1.0):
            try:
                self.samples.append({"t_s": round(time.monotonic() - self._begin, 1), **usage(self._pid)})
            except OSError:
                return

    def end(self) -> None:
        """No more samples."""
        self._end.set()
        self.join()


class Soak:
    """Throws faults at a running node and sees what comes out of it."""

    def __init__(self, scene: Scene, output: Output, processes: Processes, period_s: float) -> None:
        self.stale: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.recoveries_s: list[tuple[float, str]] = []
        self._scene, self._output, self._processes = scene, output, processes
        self._period_s = period_s

    def run(self, seconds: float) -> None:
        """One fault after the other, until the time is up and each was thrown equally often.

        Raises:
            BenchError: the node has ended, or does not answer.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            order = sorted(FAULTS)
            self._scene.dice.shuffle(order)
            for name in order:
                self._throw(name)

    def _throw(self, name: str) -> None:
        make, goes_on = FAULTS[name]
        begin_s = time.monotonic()
        self.faults[name] += 1
        with make(self._scene):
            while time.monotonic() < begin_s + HELD * self._period_s:
                self._look()
            silent_s = time.monotonic() - self._output.last_s
            if goes_on and silent_s > SILENT_S:
                self._note(name, f"nothing for {silent_s:.1f} s at its end")
        undone_s, count = time.monotonic(), self._output.count
        while self._output.count == count and time.monotonic() < undone_s + 4 * STALE_S:
            self._look()
        recovery_s = time.monotonic() - undone_s
        self.recoveries_s.append((recovery_s, name))
        if recovery_s > STALE_S:
            self._note(name, f"nothing for {recovery_s:.1f} s after it")
        self._watch(name, begin_s + self._period_s)

    def _watch(self, name: str, until_s: float) -> None:
        """Good data come until then."""
        begin_s = time.monotonic()
        while time.monotonic() < until_s:
            self._look()
            if time.monotonic() - max(self._output.last_s, begin_s) > STALE_S:
                begin_s = time.monotonic()
                self._note(name, f"nothing for {STALE_S:g} s")

    def _look(self) -> None:
        time.sleep(LOOK_S)
        if "node" in self._processes.ended():
            raise BenchError(f"the node ended: {self._processes.last_line('node')}")

    def _note(self, name: str, what: str) -> None:
        self.stale[name] += 1
        print(f"stale: {name}: {what}", flush=True)


def measure(minutes: float, period_s: float, seed: int, folder: Path) -> dict[str, Any]:
    """The figures.

    Raises:
        BenchError: the node did not come up, ended, or does not answer.
    """
    with (
        own_domain() as domain,
        Observer(domain) as observer,
        Processes(folder, environment(domain)) as processes,
    ):
        output = Output(observer)
        processes.start("node", [sys.executable, "-u", str(FAKE_NODE), "--ros-args", "-p", "use_sim_time:=true"])
        scene = Scene(observer, lambda: RigProcess(environment(domain), "--loop", str(LOOP_S)), random.Random(seed))
        watcher = Watcher(processes.pids()["node"])
        try:
            until(lambda: output.count >= 3 and scene.ready(), "the start of the node and its services")
            observer.subscribe_to_outputs()
            watcher.start()
            soak = Soak(scene, output, processes, period_s)
            soak.run(60 * minutes)
            watcher.end()
        finally:
            scene.rig.end()
        node_exit = processes.stop("node")
        log = processes.log("node").read_text(errors="replace").splitlines()
    unmeant = [line for line in log if UNMEANT.search(line)]
    worst = sorted(soak.recoveries_s, reverse=True)
    return {
        "seed": seed,
        "faults": dict(soak.faults),
        "published": output.count,
        "stale": dict(soak.stale),
        "repeated": output.repeated,
        "exceptions": unmeant,
        "recovery_s_p50": worst[len(worst) // 2][0],
        "recovery_s_worst": {name: round(seconds, 2) for seconds, name in worst[:3]},
        "node_exit": node_exit,
        **trend(watcher.samples, window=60 if minutes > 5 else 5),
        "samples": watcher.samples,
    }


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long (3; 30 is the soak that is reported)")
    parser.add_argument("--period", type=float, default=10.0, help="seconds from one fault to the next (10)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of faults (0)")
    parser.add_argument(
        "--json", metavar="FILE", help="write the figures and all samples as JSON; - is standard output"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="selfocc_soak_") as folder:
        try:
            figures = measure(args.minutes, args.period, args.seed, Path(folder))
            if args.json:
                write_json(args.json, figures)
        except SelfOccError as error:
            print(f"soak: {error}", file=sys.stderr)
            return 2
    for name, value in figures.items():
        if name != "samples":
            print(f"{name:22} {value:.2f}" if isinstance(value, float) else f"{name:22} {value}")
    bad = figures["stale"] or figures["repeated"] or figures["exceptions"] or figures["node_exit"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
