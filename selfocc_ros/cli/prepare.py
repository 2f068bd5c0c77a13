# SPDX-License-Identifier: Apache-2.0
"""`selfocc prepare`: recordings into a training dataset."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from selfocc_ros.cli.node_options import add_node_options, node_values

HELP = """Turn recordings into a training dataset: image files (JPEG bytes untouched), one Parquet index of synchronised
samples with intrinsics and poses, a split, and a report of what was found, as report.txt and as report.html with
pictures. A recording is read from the front, a chunk at a time. Stopped at any time, the same command goes on; other
recordings can be added later. Recordings that cannot be used are named and do not hold up the others; the exit status
is then 1. Nothing but images, CameraInfo, /tf and /tf_static is needed, no labels. Where labels lie beside a recording
(X/truth for X/bag, X_truth for X.mcap or X), they are taken along for evaluation; images, poses and splits do not
depend on them.

Where the topics are is told by a layout: a preset (town, pandaset, nuscenes_to_ros2bag, nuscenes2bag,
nuscenes2bag_ros2, dataset_bridge) or a YAML file. Without one it is proposed from the first recording that has one,
with the preset, calibration file, frames, cameras and height of the road that --params names, and written to
DATASET/layout.yaml, to be looked at, changed and passed back with --layout into a new folder. docs/dataset.md explains
all files."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc prepare`."""
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="rosbag2 directory, .mcap, .db3, or .bag")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DATASET", help="a new folder, or a dataset to add to"
    )
    parser.add_argument("--layout", help="preset or YAML file (default: the dataset's own, or proposed)")
    add_node_options(parser)
    parser.add_argument(
        "--truth", type=Path, metavar="DIR", help="labels of the one recording (default: what lies beside it)"
    )
    parser.add_argument(
        "--split", choices=["segments", "drives"], default="segments",
        help="keep the end of every drive for validation, or whole drives (default: segments)",
    )  # fmt: skip
    parser.add_argument("--val-share", type=float, default=0.2, help="share kept for validation (default: 0.2)")
    parser.add_argument("--gap", type=float, default=30.0, help="metres between the two parts of a drive (default: 30)")
    parser.add_argument(
        "--cache", metavar="WxH",
        help="also decode all images to this size, a network's input, so that training need not (DATASET/cache)",
    )  # fmt: skip
    parser.add_argument("--json", help="write dataset.json's content to this file too ('-': standard output)")


def run(args: argparse.Namespace) -> int:
    """Prepare and print the report; returns 0, or 1 where recordings were refused."""
    from selfocc_ros.cli.output import write_json
    from selfocc_ros.cli.progress import Progress
    from selfocc_training.dataset.prepare import prepare
    from selfocc_training.dataset.splits import SplitPlan

    size = _size(args.cache) if args.cache else None
    plan = SplitPlan(args.split, args.val_share, args.gap)
    progress = Progress("preparing")
    description = prepare(
        args.bags,
        args.out,
        args.layout,
        plan,
        lambda drive, count: progress.tell(f"{drive}, {count} samples"),
        args.truth,
        node_values(args),
    )
    progress.close()
    if args.json != "-":
        print((args.out / "report.txt").read_text(encoding="utf-8"), end="")
        print(f"\n{args.out}: look at {args.out / 'report.html'}")
    if args.json:
        write_json(args.json, description)
    for entry in description["refused"]:
        print(f"selfocc: {entry['reason']}", file=sys.stderr)
    if size is not None:
        _fill(args.out, size, quiet=args.json == "-")
    return 1 if description["refused"] else 0


def _size(text: str) -> tuple[int, int]:
    from selfocc_ros.errors import SelfOccError

    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise SelfOccError(f"--cache needs a network's input size like 320x192, found {text!r}")
    return int(width), int(height)


def _fill(root: Path, size: tuple[int, int], quiet: bool) -> None:
    from selfocc_ros.cli.progress import Progress
    from selfocc_training.dataset.dataset import Dataset
    from selfocc_training.dataset.seen import fill_cache

    dataset, progress = Dataset.open(root), Progress("decoding")
    used = fill_cache(dataset, size, lambda count: progress.tell(f"{count} of {len(dataset)} samples"))
    progress.close()
    if not quiet:
        print(f"{root / 'cache'}: images of {size[0]}x{size[1]} take {used / 1e6:.1f} MB")
