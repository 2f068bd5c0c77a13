# SPDX-License-Identifier: Apache-2.0
"""Plays a recording through the node, each part a process of its own, and tells what came out and when.

The bag player, the node and a recorder speak over DDS as they would on a vehicle, on loopback and in a ROS domain of
their own. No rclpy in here: this only starts processes and reads what they write.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from selfocc_ros.errors import SelfOccError
from selfocc_ros.logs.reader import Bag
from selfocc_ros.node_parameters import NodeParameters, checked, options, plain
from selfocc_ros.ros.domain import environment, own_domain
from selfocc_ros.ros.processes import Processes
from selfocc_ros.sensing.rig_source import RigSource
from selfocc_ros.sensing.sync import FrameSet, RigSynchronizer

NODE = "selfocc"
POINTS_TOPIC = f"/{NODE}/occupied_points"
GRID_TOPIC = f"/{NODE}/occupancy_grid"
NODE_COMMAND = (sys.executable, "-u", "-m", "selfocc_ros.ros.occupancy_node")
_LOOK_S = 0.1
_QUIET_S, _SLOW_S = 1.5, 10.0

Progress = Callable[[str], None]


def _tell_nobody(_line: str) -> None:
    """Progress where nobody wants to know."""


class SessionError(SelfOccError):
    """The recording could not be played through the node."""


@dataclass(frozen=True)
class SessionResult:
    """What came out of a session.

    Attributes:
        published_stamps: header stamps (ns) of ~/occupied_points in the order in which they came.
        latencies_ms: for each of them, from publishing the last image of its set to receiving the points; NaN for a
            stamp that no set has.
        frames_in: sets of images in what was played, over all loops.
        frames_out: messages on ~/occupied_points.
        frames_missed_at_start: sets played before the first one that came out.
        rate_hz: messages per second of wall time, from the first to the last one.
        node_exit: the node's exit status after it was asked to end.
        node_log, player_log: what the processes wrote.
        output_bag: rosbag2 directory with ~/occupied_points and ~/occupancy_grid.
    """

    published_stamps: tuple[int, ...]
    latencies_ms: tuple[float, ...]
    frames_in: int
    frames_out: int
    frames_missed_at_start: int
    rate_hz: float
    node_exit: int
    node_log: Path
    player_log: Path
    output_bag: Path

    def latency_ms(self, share: float) -> float:
        """A percentile of the latencies, `share` in 0 .. 1; NaN without any."""
        known = sorted(ms for ms in self.latencies_ms if math.isfinite(ms))
        return known[min(len(known) - 1, int(share * len(known)))] if known else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON likes them."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


def play_through_node(
    bag: Path,
    out_dir: Path,
    checkpoint: str | Path = "",
    *,
    rate: float = 1.0,
    loop: int = 1,
    extra_params: Mapping[str, object] | None = None,
    node_command: Sequence[str] | None = None,
    progress: Progress | None = None,
    on_look: Callable[[Mapping[str, int]], None] | None = None,
    start_timeout_s: float = 120.0,
    play_timeout_s: float | None = None,
) -> SessionResult:
    """Play `bag` through the node and record what it publishes into `out_dir`.

    Args:
        bag: any recording that the bag player plays.
        out_dir: gets `output/` (rosbag2), node.log, player.log, recorder.log and the logs of times; made if missing.
        checkpoint: for the node; empty takes the one that comes with the package.
        rate: seconds of the recording per second.
        loop: how often to play it.
        extra_params: more parameters of the node.
        node_command: starts another node in place of ours, for tests.
        progress: gets one line of text at a time.
        on_look: called ten times a second with the process ids by name (node, player, recorder), to measure them.
        start_timeout_s: longest wait for the node to be ready.
        play_timeout_s: longest time to play; None is what the recording needs and two minutes.

    Raises:
        SessionError: a process failed or did not get ready; the sentence is that process' own.
    """
    tell = progress or _tell_nobody
    out_dir.mkdir(parents=True, exist_ok=True)
    # Whoever scores what comes out wants all voxels.
    parameters = {"checkpoint": str(checkpoint), "use_sim_time": True, "surface_only": False, **(extra_params or {})}
    parameters = {name: plain(value) for name, value in parameters.items()}
    parameter_file = out_dir / "node_parameters.yaml"
    parameter_file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
    played, received, output = out_dir / "played.jsonl", out_dir / "received.jsonl", out_dir / "output"
    for log in (played, received):
        log.unlink(missing_ok=True)
    with Bag(bag) as recording:
        topics, duration_s = recording.topics(), recording.duration_s
    if play_timeout_s is None:
        play_timeout_s = duration_s * loop / rate + 120.0

    with own_domain() as domain, Processes(out_dir, environment(domain)) as processes:
        session = _Session(processes, tell, on_look)
        tell(f"playing in ROS domain {domain}")
        processes.start_module("recorder", "selfocc_ros.ros.recorder", str(output), "--log", str(received))
        processes.start("node", [*(node_command or NODE_COMMAND), "--ros-args", "--params-file", str(parameter_file)])
        session.until(lambda: bool(_rows(received)), start_timeout_s, "the recorder found no node")
        processes.start_module(
            "player", "selfocc_ros.ros.bag_player", str(bag), "--rate", str(rate), "--loop", str(loop),
            "--wait-for-node", NODE, "--timeout", str(start_timeout_s), "--publish-log", str(played),
        )  # fmt: skip
        session.until(
            lambda: "player" in processes.ended(),
            start_timeout_s + play_timeout_s,
            "the player did not come to its end",
        )
        session.until_quiet(received, time.time())
        node_exit = processes.stop("node")
        processes.stop("recorder")
    sets = played_sets(_rows(played), {t: info.type for t, info in topics.items()}, parameters)
    points = [row for row in _rows(received) if row.get("topic") == POINTS_TOPIC]
    return _result(sets, points, node_exit, processes.log("node"), processes.log("player"), output)


class _Session:
    """Waits while the processes do their work."""

    def __init__(
        self, processes: Processes, tell: Progress, on_look: Callable[[Mapping[str, int]], None] | None
    ) -> None:
        self._processes = processes
        self._tell = tell
        self._on_look = on_look
        self._told = ""

    def until(self, done: Callable[[], bool], timeout_s: float, failure: str) -> None:
        """Wait for something; SessionError if a process fails or time is up."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                raise SessionError(f"{failure} within {timeout_s:.0f} s")
            self._look()

    def until_quiet(self, log: Path, played_s: float) -> None:
        """Wait until nothing more comes out: what was under way at the end of the recording has been recorded."""
        while True:
            self._look()
            walls = [row["wall_ns"] * 1e-9 for row in _rows(log) if "wall_ns" in row]
            # A network that takes seconds for each set is given seconds for the last one.
            slowest_s = max((b - a for a, b in itertools.pairwise(walls)), default=_SLOW_S)
            last = max(walls[-1] if walls else 0.0, played_s)
            if time.time() - last > min(max(_QUIET_S, 2 * slowest_s), _SLOW_S):
                return

    def _look(self) -> None:
        time.sleep(_LOOK_S)
        for name, status in self._processes.ended().items():
            if status or name != "player":
                raise SessionError(f"the {name} ended with status {status}: {self._processes.last_line(name)}")
        if "player" in self._processes.pids():
            line = self._processes.last_line("player")
            if line != self._told:
                self._told = line
                self._tell(line)
        if self._on_look is not None:
            self._on_look(self._processes.pids())


def played_sets(
    rows: Sequence[Mapping[str, Any]], types: Mapping[str, str], parameters: Mapping[str, object]
) -> list[FrameSet[int]]:
    """The sets in what was played, by the node's own rule; the items are wall times (ns) of publishing.

    Args:
        rows: images in the order in which they were published: topic, stamp_ns, receive_ns, wall_ns.
        types: message types of the recording's topics.
        parameters: of the node, by dotted name; those of rclpy do not count.
    """
    own = {name: checked(name, value) for name, value in parameters.items() if name in options()}
    source = RigSource.of(NodeParameters.of(own))
    cameras = source.choose(source.find(types))[0]
    if not cameras:
        return []
    name_of = {topics.image: name for name, topics in cameras.items()}
    synchronizer: RigSynchronizer[int] = source.synchronizer(cameras)
    stamp = "receive_ns" if source.parameters.stamp == "receive" else "stamp_ns"
    sets: list[FrameSet[int]] = []
    last_ns = 0
    for row in rows:
        if row["topic"] not in name_of:
            continue
        if row[stamp] < last_ns - 1_000_000_000:
            sets += synchronizer.flush()  # a loop ends
        last_ns = row[stamp]
        sets += synchronizer.push(name_of[row["topic"]], row[stamp], row["wall_ns"])
    return sets + synchronizer.flush()


def _result(
    sets: list[FrameSet[int]], points: list[dict[str, Any]], node_exit: int, node_log: Path, player_log: Path, bag: Path
) -> SessionResult:
    complete = [(s.stamp_ns, max(s.items.values())) for s in sets]
    latencies, first = [], len(complete)
    for row in points:
        # In a loop a stamp is played several times; the latest before its arrival is meant.
        matches = [
            (wall_ns, index)
            for index, (stamp_ns, wall_ns) in enumerate(complete)
            if stamp_ns == row["stamp_ns"] and wall_ns <= row["wall_ns"]
        ]
        latencies.append((row["wall_ns"] - max(matches)[0]) * 1e-6 if matches else math.nan)
        first = min(first, max(matches)[1] if matches else first)
    intervals = [(b["wall_ns"] - a["wall_ns"]) * 1e-9 for a, b in itertools.pairwise(points)]
    return SessionResult(
        published_stamps=tuple(row["stamp_ns"] for row in points),
        latencies_ms=tuple(latencies),
        frames_in=len(complete),
        frames_out=len(points),
        frames_missed_at_start=first,
        rate_hz=1.0 / statistics.fmean(intervals) if intervals else 0.0,
        node_exit=node_exit,
        node_log=node_log,
        player_log=player_log,
        output_bag=bag,
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    """Complete lines of a JSON-lines file that may still be written to; none if it does not exist yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
