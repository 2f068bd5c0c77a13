# SPDX-License-Identifier: Apache-2.0
"""`selfocc nuscenes2bag`: scenes of nuScenes as ROS 2 recordings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfocc_ros.logs.nuscenes.convert import Outcome

HELP = """Write scenes of nuScenes as rosbag2 recordings (MCAP), as a vehicle would have recorded them: every keyframe
and sweep of the cameras at its own stamp (JPEG bytes untouched) with CameraInfo, the mountings on /tf_static, the
vehicle's pose at every stamp of any sensor on /tf, and LiDAR clouds. `selfocc check`, `replay` and `prepare` and the
node take them without options. With --occ3d, Occ3D's voxel labels go beside them as truth. Stopped at any time, the
same command goes on. nuScenes' devkit is not needed; docs/nuscenes.md explains all files. Exit status 1: of several
scenes some were left out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc nuscenes2bag`."""
    parser.add_argument(
        "--dataroot", required=True, type=Path, metavar="DIR", help="nuScenes: samples/, sweeps/ and the tables"
    )
    parser.add_argument("--version", metavar="NAME", help="such as v1.0-mini (default: the only one in DIR)")
    parser.add_argument(
        "--scene", required=True, nargs="+", metavar="SCENE", help="names (scene-0061) or tokens, or: all"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("bags"), metavar="DIR", help="makes DIR/<scene>/bag (default: bags)"
    )
    parser.add_argument("--occ3d", type=Path, metavar="DIR", help="Occ3D's labels: DIR/gts/<scene>/<sample>/labels.npz")
    parser.add_argument("--keyframes", action="store_true", help="leave out the sweeps between keyframes")
    parser.add_argument("--no-lidar", action="store_true", help="leave out the LiDAR")
    parser.add_argument("--json", help="write what was done to this file ('-': standard output)")


def run(args: argparse.Namespace) -> int:
    """Convert and tell; returns 0, or 1 where scenes of several were left out."""
    from selfocc_ros.cli.output import write_json
    from selfocc_ros.cli.progress import Progress
    from selfocc_ros.errors import SelfOccError
    from selfocc_ros.logs.nuscenes.convert import Wish, convert

    wish = Wish(not args.no_lidar, args.keyframes, args.occ3d)
    progress = Progress("converting")

    def tell(scene: str, done: int, total: int) -> None:
        progress.tell(f"{scene}, {done} of {total} images and clouds")

    outcomes = list(convert(args.dataroot, args.version, args.scene, args.out, wish, tell))
    progress.close()
    failed = [outcome for outcome in outcomes if outcome.problem is not None]
    if len(outcomes) == len(failed) == 1:
        raise SelfOccError(str(failed[0].problem))
    if args.json != "-":
        print("\n".join(_line(outcome) for outcome in outcomes))
    if args.json:
        write_json(args.json, {"scenes": [_values(outcome) for outcome in outcomes], "left_out": len(failed)})
    return 1 if failed else 0


def _line(outcome: Outcome) -> str:
    if outcome.written is None:
        return f"left out {outcome.problem}"
    written = outcome.written
    labels = f", {outcome.labels} grids of labels" if outcome.labels else ""
    return (
        f"{outcome.bag}: {written.duration_s:.1f} s, {written.images} images, {written.clouds} clouds, "
        f"{written.poses} poses{labels}{', as it was' if outcome.before else ''}"
    )


def _values(outcome: Outcome) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(outcome), "bag": str(outcome.bag)}
