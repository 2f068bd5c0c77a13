# SPDX-License-Identifier: Apache-2.0
"""How the node bears six cameras of 1600x900 at 12 Hz: what arrives, what it costs, how soon it goes out again.

    python bench/load.py --modes compressed raw_udp --seconds 20 --json out/load.json

The cameras are a process of their own (`_cameras.py`), the node is the real one with a predictor that does nothing
(`_null_node.py`), so that the figures are those of receiving, synchronising, transforms and publishing alone.

- received: least share of the images sent that reached the node, over the cameras.
- latency: from the arrival of a set's last image in the node to the end of publishing, median.
- cpu: processor time of the node's process in percent of one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _observer import BenchError, Observer, cpu_s, until
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import PointCloud2

from selfocc_ros.cli.output import write_json
from selfocc_ros.errors import SelfOccError
from selfocc_ros.ros import qos
from selfocc_ros.ros.domain import environment, own_domain
from selfocc_ros.ros.processes import Processes
from selfocc_ros.ros.session import GRID_TOPIC, POINTS_TOPIC

HERE = Path(__file__).parent
UDP = """<?xml version="1.0" encoding="UTF-8"?>
<profiles xmlns="http://www.eprosima.com">
  <transport_descriptors>
    <transport_descriptor>
      <transport_id>udp</transport_id>
      <type>UDPv4</type>
      <maxMessageSize>60000</maxMessageSize>
      <sendBufferSize>24000000</sendBufferSize>
      <receiveBufferSize>24000000</receiveBufferSize>
      <interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList>
    </transport_descriptor>
  </transport_descriptors>
  <participant profile_name="udp" is_default_profile="true">
    <rtps>
      <userTransports><transport_id>udp</transport_id></userTransports>
      <useBuiltinTransports>false</useBuiltinTransports>
    </rtps>
  </participant>
</profiles>
"""
"""The transport for large best-effort messages that docs/node.md recommends, on loopback alone.

There it is one variable, FASTDDS_BUILTIN_TRANSPORTS. ROS 2 replaces those transports where it is told to keep to this
machine, which a benchmark must do, so here a profile does both.
"""

MODES: dict[str, tuple[str, ...]] = {"compressed": (), "raw_udp": ("--raw",), "raw_reliable": ("--raw", "--reliable")}
"""Options of the cameras."""


def variables(mode: str, domain: int, folder: Path) -> dict[str, str]:
    """The environment of both sides: always on loopback, in one way or the other."""
    if mode != "raw_udp":
        return environment(domain)
    profile = folder / "udp.xml"
    profile.write_text(UDP)
    return {
        **environment(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
        "ROS_LOCALHOST_ONLY": "0",
        "FASTDDS_DEFAULT_PROFILES_FILE": str(profile),
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(profile),  # its name before Fast DDS 3
    }


def events(log: Path) -> list[dict[str, Any]]:
    """The JSON lines of the cameras so far."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


def measure(mode: str, seconds: float, folder: Path) -> dict[str, Any]:
    """The figures of one mode.

    Raises:
        BenchError: the node or the cameras did not come up, or nothing was published.
    """
    latencies: list[dict[str, float]] = []
    with (
        own_domain() as domain,
        Observer(domain) as observer,
        Processes(folder, variables(mode, domain, folder)) as processes,
    ):
        # Somebody has to want the outputs.
        observer.node.create_subscription(PointCloud2, POINTS_TOPIC, lambda _: None, qos.POINTS, raw=True)
        observer.node.create_subscription(OccupancyGrid, GRID_TOPIC, lambda _: None, qos.GRID, raw=True)
        processes.start("node", [sys.executable, "-u", str(HERE / "_null_node.py")])
        processes.start(
            "cameras", [sys.executable, "-u", str(HERE / "_cameras.py"), "--seconds", str(seconds), *MODES[mode]]
        )
        log, pid = processes.log("cameras"), processes.pids()["node"]
        until(lambda: events(log) or processes.ended(), "the start of the cameras")
        begin_s, begin_cpu_s = time.monotonic(), cpu_s(pid)
        heard = observer.heard
        while len(events(log)) < 2 and not processes.ended():
            if observer.heard > heard:
                heard = observer.heard
                latencies.append(observer.latency_ms())
            time.sleep(0.05)
        elapsed_s, used_s = time.monotonic() - begin_s, cpu_s(pid) - begin_cpu_s
        if processes.ended():
            name = next(iter(processes.ended()))
            raise BenchError(f"{mode}: the {name} ended: {processes.last_line(name)}")
        sent = events(log)[1]
        heard = observer.heard
        until(lambda: observer.heard > heard + 2, "diagnostics after the end")
        cameras = observer.cameras()
        state = {key: observer.state(key) for key in ("sets", "published", "dropped")}
        processes.stop("cameras")
    medians = {
        stage: statistics.median(row[stage] for row in latencies if stage in row)
        for stage in max(latencies, key=len, default={})
    }
    if "total" not in medians:
        raise BenchError(f"{mode}: the node published nothing")
    shares = [int(cameras.get(name, {}).get("images", 0)) / count for name, count in sent["sent"].items()]
    return {
        "mode": mode,
        "received_percent": 100 * min(shares),
        "latency_ms_p50": medians["total"],
        "cpu_percent": 100 * used_s / elapsed_s,
        **{key: int(value) for key, value in state.items()},
        "sent_sets": max(sent["sent"].values()),
        "sender_late_ms": 1e3 * sent["latest_s"],
        **{f"{stage}_ms": value for stage, value in medians.items() if stage != "total"},
    }


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES, help=f"({' '.join(MODES)})")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the cameras send in each mode (20)")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is standard output")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="selfocc_load_") as folder:
        try:
            for mode in args.modes:
                rows.append(measure(mode, args.seconds, Path(folder)))
                values = "  ".join(
                    f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}"
                    for key, value in rows[-1].items()
                    if key != "mode"
                )
                print(f"{mode:13}{values}", flush=True)
            if args.json:
                write_json(args.json, {"modes": rows})
        except SelfOccError as error:
            print(f"load: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
