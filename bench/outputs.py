# SPDX-License-Identifier: Apache-2.0
"""What each output of the node costs, and how good the ground and the local map are, on true volumes of town drives.

    python bench/outputs.py --seeds 9000 9003 9005 --json out/outputs.json

Volumes are true ones with what six cameras see of them, three per second, so the figures are those of the outputs and
not of a network. Times are processor time, the median over all volumes, making the message and serialising it for DDS.
Precision is the share of the occupied columns of ~/occupancy_grid that hold something more than 0.3 m above the true
ground. The IoU of the local map is over voxels that it knows, that of single volumes over those which
they know, both in the voxels of the map.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import serialize_message

from selfocc_ros.cli.output import write_json
from selfocc_ros.geometry.ground import in_band
from selfocc_ros.geometry.transforms import TransformTree
from selfocc_ros.geometry.voxels import FREE, OCC3D, OCC3D_CLASSES, OCCUPIED, UNKNOWN, OccupancyVolume
from selfocc_ros.node_parameters import NodeParameters
from selfocc_ros.ros.outputs.memory import Memory
from selfocc_ros.ros.outputs.moment import Moment
from selfocc_ros.ros.outputs.topics import Topic, topics
from selfocc_ros.runtime.local_map import LocalMap, Weights
from selfocc_ros.town.rigs import load_rig
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import TruthVolume, render_frame, stamp_of, time_of, truth_volume

PERIOD_S = 1 / 3
FREE_CLASS = len(OCC3D_CLASSES)
BAND = (0.3, 2.0)
WARM_UP = 4
"""Volumes after which the local map counts."""


class Drive:
    """One drive: adds what it finds to `times` (ms by output) and `counts` (hits and totals by score)."""

    def __init__(self, seed: int, volumes: int, times: dict[str, list[float]], counts: dict[str, list[int]]) -> None:
        self._town = Town(seed, seconds=volumes * PERIOD_S + 2.0)
        self._rig = load_rig("surround6")
        self._volumes = volumes
        self._times, self._counts = times, counts

    def run(self) -> None:
        """Drive it."""
        tree, values = TransformTree(), NodeParameters.of({"fusion.enabled": True})
        memory = Memory(tree)
        outputs = topics(memory)
        for k in range(self._volumes):
            frame = render_frame(self._town, self._rig, stamp_of(0.5 + k * PERIOD_S), width=160, colours=False)
            truth = truth_volume(self._town, frame, stride=1)
            occupied = truth.classes != FREE_CLASS
            state = np.where(truth.camera_mask, np.where(occupied, OCCUPIED, FREE), UNKNOWN).astype(np.uint8)
            labels = np.where(state == OCCUPIED, truth.classes, np.uint8(0))
            volume = OccupancyVolume(OCC3D, state, None, labels, OCC3D_CLASSES)
            tree.set(values.fixed_frame, values.base_frame, frame.stamp_ns, frame.odom_from_base)
            moment = Moment(volume, frame.stamp_ns, values.base_frame, 0.0, values)
            self._time("(ground)", partial(getattr, moment, "ground"))
            self._time("(local map update)", partial(memory.add, moment))
            for name, topic in outputs.items():
                self._time(name, partial(_serialised, topic, moment))
            self._ground(moment, truth)
            fused = memory.add(moment).volume
            if k >= WARM_UP:
                self._map(volume, frame.odom_from_base, frame.stamp_ns, fused)

    def _time(self, name: str, work: Callable[[], object]) -> None:
        begin = time.thread_time()
        work()
        self._times[name].append(1e3 * (time.thread_time() - begin))

    def _ground(self, moment: Moment, truth: TruthVolume) -> None:
        there = (truth.classes != FREE_CLASS) & truth.above_ground & truth.camera_mask
        occupied = moment.volume.state_ZXY == OCCUPIED
        for name, ground in (("level", 0.0), ("local", moment.ground)):
            found = (occupied & in_band(OCC3D, BAND, 0.0 if ground is None else ground)).any(axis=0)
            right = int((found & there.any(axis=2)).sum())
            self._count(f"precision, {name} ground", right, int(found.sum()))

    def _map(self, volume: OccupancyVolume, pose: NDArray[np.float64], stamp_ns: int, fused: OccupancyVolume) -> None:
        alone = LocalMap()
        alone.add(volume, pose, stamp_ns, Weights())
        there = self._town.occupancy(fused.grid, np.eye(4), time_of(stamp_ns)) != FREE_CLASS
        for name, found in (("single volume", alone.volume()), ("local map", fused)):
            known, occupied = found.state != UNKNOWN, found.state == OCCUPIED
            self._count(f"iou, {name}", int((there & occupied).sum()), int(((there & known) | occupied).sum()))
            self._count(f"known voxels, {name}", int(known.sum()), known.size)

    def _count(self, name: str, hits: int, total: int) -> None:
        self._counts[name][0] += hits
        self._counts[name][1] += total


def _serialised(topic: Topic, moment: Moment) -> bytes:
    message = topic.make(moment)
    return message if isinstance(message, bytes) else bytes(serialize_message(message))


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[9000, 9003, 9005], help="towns (9000 9003 9005)")
    parser.add_argument("--volumes", type=int, default=16, help="volumes of each drive (16)")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is standard output")
    args = parser.parse_args()
    times: dict[str, list[float]] = defaultdict(list)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for seed in args.seeds:
        Drive(seed, args.volumes, times, counts).run()
    result: dict[str, Any] = {
        "median_ms": {name: round(statistics.median(values), 2) for name, values in times.items()},
        "scores": {name: round(hits / max(total, 1), 4) for name, (hits, total) in counts.items()},
    }
    for name, value in result["median_ms"].items():
        print(f"{name:22}{value:8.1f} ms")
    for name, value in result["scores"].items():
        print(f"{name:32}{value:.3f}")
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
