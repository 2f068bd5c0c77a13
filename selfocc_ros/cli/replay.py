# SPDX-License-Identifier: Apache-2.0
"""`selfocc replay`: the network on a recording, without ROS."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfocc_ros.cli.node_options import add_node_options, rig_source

if TYPE_CHECKING:
    from selfocc_ros.sensing.rig_source import RigSource

OPTIONS = (
    "checkpoint", "cameras", "preset", "calibration_file", "base_frame", "fixed_frame", "ground_z", "device",
    "max_skew", "max_wait",
)  # fmt: skip

HELP = """Run the network on a recording without ROS, on every set of images that the node would work on if it were fast
enough. Prints timings; with --out, writes the occupancy of every set as <stamp>.npz (state: 0 free, 1 occupied, 255
unknown; sdf: metres; lower, upper: the grid in base_link) and a picture of the first, middle and last one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc replay`."""
    parser.add_argument("bag", help="a recording: rosbag2 directory, .mcap, .db3, or .bag of ROS 1")
    add_node_options(parser, *OPTIONS)
    parser.add_argument("--limit", type=int, help="stop after so many sets")
    parser.add_argument("--out", help="folder for the occupancy of every set")
    parser.add_argument("--json", help="write counts and timings to this file ('-': standard output, not the words)")


def run(args: argparse.Namespace) -> int:
    """Replay and tell the timings; returns 0, or 1 if no set could be used."""
    from selfocc_ros.cli.output import write_json
    from selfocc_ros.cli.tables import finite
    from selfocc_ros.runtime.predictor import Predictor

    source = rig_source(args, *OPTIONS)
    node = source.parameters
    predictor = Predictor.from_checkpoint(node.checkpoint or "default", device=node.device, ground_z=node.ground_z)
    summary = replay(args, source, predictor)
    if args.json != "-":
        print(f"{args.bag}: {summary['sets']} sets, {summary['seconds_per_set'] * 1e3:.0f} ms each")
        for stage, ms in summary["median_ms"].items():
            print(f"  {stage:10s} {ms:8.1f} ms")
        for name, reason in summary["problems"].items():
            print(f"  {name}: {reason}")
        if args.out:
            print(f"written to {args.out}")
    if args.json:
        write_json(args.json, finite(summary))
    return 0 if summary["sets"] else 1


def replay(args: argparse.Namespace, source: RigSource, predictor: Any) -> dict[str, Any]:
    """Predict on every set; returns what happened.

    Raises:
        BagError: if the recording cannot be read or has no camera.
    """
    import statistics
    import time

    from selfocc_ros.cli.output import make_folder
    from selfocc_ros.cli.progress import Progress
    from selfocc_ros.logs.records import BagError
    from selfocc_ros.logs.samples import SampleReader
    from selfocc_ros.sensing.frames import DecodeError

    reader = SampleReader(args.bag, source)
    if not reader.cameras:
        raise BagError(f"{args.bag} has no camera: expected an image topic with a CameraInfo beside it")
    expected = min(reader.topics[topics.image].count for topics in reader.cameras.values())
    progress = Progress("replaying", "sets")
    out = make_folder(Path(args.out), "--out") if args.out else None
    pictured = {0, expected // 2, expected - 2}
    problems: dict[str, str] = dict(reader.calibration_problems)
    stages: dict[str, list[float]] = {}
    occupied: list[int] = []
    seconds = 0.0
    for sample in reader.samples():
        problems |= sample.problems
        started = time.perf_counter()
        try:
            prediction = predictor.predict(sample)
        except DecodeError as error:
            problems["images"] = str(error)
            continue
        seconds += time.perf_counter() - started
        problems |= dict(prediction.failed)
        for stage, spent in prediction.timings_s.items():
            stages.setdefault(stage, []).append(spent * 1e3)
        occupied.append(int((prediction.volume.state == 1).sum()))
        if out is not None:
            _write(
                out,
                sample,
                prediction.volume,
                picture=len(occupied) - 1 in pictured,
                ground_z=source.parameters.ground_z,
            )
        progress(len(occupied), max(expected, len(occupied) + 1))
        if args.limit is not None and len(occupied) >= args.limit:
            break
    progress(len(occupied), len(occupied))
    if reader.damage:
        problems["recording"] = reader.damage
    return {
        "bag": str(args.bag),
        "cameras": list(reader.cameras),
        "sets": len(occupied),
        "seconds_per_set": seconds / len(occupied) if occupied else float("nan"),
        "median_ms": {stage: statistics.median(values) for stage, values in stages.items()},
        "occupied_voxels": occupied,
        "problems": problems | reader.calibration_problems,
    }


def _write(out: Path, sample: Any, volume: Any, picture: bool, ground_z: float) -> None:
    import numpy as np

    from selfocc_ros.viz.scenes import camera_images
    from selfocc_ros.viz.sheet import save, scene_sheet

    grid = volume.grid
    sdf = {} if volume.sdf is None else {"sdf": volume.sdf.astype(np.float16)}
    np.savez_compressed(
        out / f"{sample.stamp_ns}.npz",
        **sdf,
        state=volume.state,
        lower=grid.lower,
        upper=grid.upper,
        stamp_ns=sample.stamp_ns,
    )
    if picture:
        sheet = scene_sheet(camera_images(sample), sample.rig, {"predicted": volume}, ground_z=ground_z)
        save(str(out / f"{sample.stamp_ns}.png"), sheet)
