# SPDX-License-Identifier: Apache-2.0
"""Whether the node's memory stays flat: a recording played in a loop through the real node, for minutes.

    python bench/memory.py --seconds 300 --json out/memory.json

Prints resident memory, open files and threads of the node over time. `growth_mb_per_minute` is the slope of a straight
line through the second half of the time, when buffers and caches have found their size, and through what stays: the
least of every ten samples, since one taken while the network works has tens of megabytes more.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfocc_ros.cli.output import write_json
from selfocc_ros.errors import SelfOccError
from selfocc_ros.logs.reader import Bag
from selfocc_ros.ros.session import SessionResult, play_through_node

PERIOD_S = 1.0
WINDOW = 10
SEED, DRIVE_S = 9000, 10.0


class Watcher:
    """Reads /proc of the node once a second; Linux only."""

    def __init__(self) -> None:
        self.samples: list[dict[str, float]] = []
        self._begin = self._last = time.monotonic()

    def __call__(self, pids: Mapping[str, int]) -> None:
        """Take a sample if it is time; the processes are those of `play_through_node`."""
        now = time.monotonic()
        if now - self._last < PERIOD_S or not {"node", "player"} <= set(pids):
            return
        self._last = now
        try:
            self.samples.append({"t_s": round(now - self._begin, 1), **usage(pids["node"])})
        except OSError:
            return  # it has just ended
        if len(self.samples) % 15 == 1:
            row = self.samples[-1]
            text = f"{row['t_s']:6.0f} s  {row['rss_mb']:8.1f} MB  {row['files']:4.0f} files"
            print(f"{text}  {row['threads']:3.0f} threads", flush=True)


def usage(pid: int) -> dict[str, float]:
    """Resident memory (MB), threads and open files of a process."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return {
        "rss_mb": int(fields["VmRSS"].split()[0]) / 1024,
        "threads": int(fields["Threads"]),
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


def trend(samples: Sequence[Mapping[str, float]], window: int = WINDOW) -> dict[str, float]:
    """What memory, files and threads tend to, from samples of the whole time.

    Raises:
        SelfOccError: they are too few.
    """
    half = samples[len(samples) // 2 :]
    settled = [
        {"t_s": part[0]["t_s"], **{key: min(s[key] for s in part) for key in ("rss_mb", "files", "threads")}}
        for part in (half[i : i + window] for i in range(0, len(half), window))
    ]
    if len(settled) < 2:
        raise SelfOccError("too little was measured to tell a trend: ask for a longer time")
    line = statistics.linear_regression([s["t_s"] / 60 for s in settled], [s["rss_mb"] for s in settled])
    return {
        "seconds": samples[-1]["t_s"] - samples[0]["t_s"],
        "rss_mb_half": settled[0]["rss_mb"],
        "rss_mb_end": settled[-1]["rss_mb"],
        "rss_mb_most": max(s["rss_mb"] for s in samples),
        "growth_mb_per_minute": line.slope,
        "files_half": settled[0]["files"],
        "files_end": settled[-1]["files"],
        "threads_half": settled[0]["threads"],
        "threads_end": settled[-1]["threads"],
    }


def summary(samples: Sequence[Mapping[str, float]], result: SessionResult) -> dict[str, Any]:
    """The figures that count."""
    return {
        **trend(samples),
        "frames_in": result.frames_in,
        "frames_out": result.frames_out,
        "rate_hz": result.rate_hz,
        "latency_ms_p50": result.latency_ms(0.50),
        "latency_ms_p95": result.latency_ms(0.95),
        "node_exit": result.node_exit,
    }


def town_drive(folder: Path) -> Path:
    """A rendered drive with the default six cameras."""
    from selfocc_ros.town.rigs import load_rig
    from selfocc_ros.town.write import write_drive

    print(f"rendering {DRIVE_S:g} s of town {SEED}")
    return write_drive(SEED, DRIVE_S, load_rig("surround6"), folder)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to play (300)")
    parser.add_argument("--bag", type=Path, help="recording to play; a drive is rendered where none is given")
    parser.add_argument("--checkpoint", default="", help="for the node; the shipped one where none is given")
    parser.add_argument(
        "--json", metavar="FILE", help="write the figures and all samples as JSON; - is standard output"
    )
    args = parser.parse_args()
    watcher = Watcher()
    with tempfile.TemporaryDirectory(prefix="selfocc_memory_") as folder:
        try:
            bag = args.bag or town_drive(Path(folder) / "town")
            with Bag(bag) as recording:
                loops = max(1, math.ceil(args.seconds / recording.duration_s))
            result = play_through_node(bag, Path(folder) / "out", args.checkpoint, loop=loops, on_look=watcher)
            figures = summary(watcher.samples, result)
        except SelfOccError as error:
            print(f"memory: {error}", file=sys.stderr)
            return 2
    for name, value in figures.items():
        print(f"{name:22} {value:.2f}" if isinstance(value, float) else f"{name:22} {value}")
    if args.json:
        write_json(args.json, {**figures, "samples": watcher.samples})
    return 0


if __name__ == "__main__":
    sys.exit(main())
