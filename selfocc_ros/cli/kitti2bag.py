# SPDX-License-Identifier: Apache-2.0
"""`selfocc kitti2bag`: a drive of KITTI becomes a recording."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = """Turn a drive of KITTI into a rosbag2 recording (MCAP): the colour
images (PNG bytes untouched) with CameraInfo, laser scans, /tf_static and /tf.
SemanticKITTI's voxels, where they lie beside an odometry sequence, become labels
beside the recording. base_link is on the road below the laser scanner.
docs/kitti.md tells more."""

EPILOG = """examples:
  selfocc kitti2bag odometry --dataroot ~/kitti --sequence 08
  selfocc kitti2bag raw --dataroot ~/kitti --drive 2011_09_26_drive_0001_sync
  selfocc check bags/kitti_08/bag
  selfocc prepare bags/kitti_08/bag --out data/kitti

exit status: 0 written, 2 refused, with one sentence that says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc kitti2bag`."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    sources = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)
    odometry = sources.add_parser(
        "odometry", help="a sequence of the odometry benchmark", description="Convert an odometry sequence."
    )
    odometry.add_argument("--dataroot", type=Path, required=True, help="the folder that holds sequences/ and poses/")
    odometry.add_argument("--sequence", required=True, help="00 to 21")
    raw = sources.add_parser(
        "raw", help="a raw drive, synchronised and rectified", description="Convert a raw drive (..._sync)."
    )
    raw.add_argument("--dataroot", type=Path, required=True, help="the folder that holds the days, such as 2011_09_26/")
    raw.add_argument("--drive", required=True, help="such as 2011_09_26_drive_0001_sync")
    for source, name in ((odometry, "kitti_SEQUENCE"), (raw, "DRIVE")):
        source.add_argument(
            "--out", type=Path, default=Path("bags"), metavar="DIR", help=f"makes DIR/{name}/bag (default: bags)"
        )
        source.add_argument("--no-lidar", action="store_true", help="leave out the laser scans")
        source.add_argument("--json", help="write what was converted to this file ('-': standard output, not words)")


def run(args: argparse.Namespace) -> int:
    """Convert and tell; returns 0."""
    from dataclasses import replace

    from selfocc_ros.cli.output import write_json
    from selfocc_ros.cli.progress import Progress
    from selfocc_ros.logs.kitti.odometry import open_sequence
    from selfocc_ros.logs.kitti.raw import open_raw_drive
    from selfocc_ros.logs.kitti.write import write_drive

    if args.source == "odometry":
        drive = open_sequence(args.dataroot, args.sequence)
        out = args.out / f"kitti_{drive.name}"
    else:
        drive = open_raw_drive(args.dataroot, args.drive)
        out = args.out / drive.name
    if args.no_lidar:
        drive = replace(drive, scans=(), missing_scans=())
    counters: dict[str, Progress] = {}

    def progress(what: str, done: int, total: int) -> None:
        counters.setdefault(what, Progress(what))(done, total)

    description = write_drive(drive, out, progress)
    if args.json != "-":
        print(_summary(out, description))
    if args.json:
        write_json(args.json, {"out": str(out), **description})
    return 0


def _summary(out: Path, found: dict[str, Any]) -> str:
    images = ", ".join(f"{count} images {name}" for name, count in found["images"].items())
    lines = [f"{out / 'bag'}: {found['seconds']:.1f} s, {images}, {found['scans']} scans, {found['poses']} poses"]
    missing = found["missing_scans"]
    if missing:
        lines.append(f"{len(missing)} scans are missing, the first is {missing[0]}")
    if found["voxel_grids"]:
        lines.append(f"{out / 'truth'}: {found['voxel_grids']} grids of labels")
    return "\n".join(lines)
