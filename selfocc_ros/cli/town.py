# SPDX-License-Identifier: Apache-2.0
"""`selfocc town`: render a synthetic drive with exact ground truth as a rosbag."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

HELP = """Render a drive through a procedural town, deterministic from its seed, and write it as a rosbag2 recording
(JPEG images, CameraInfo, /tf, /tf_static, /odom) with a town.json from which exact ground truth can be made again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc town`."""
    parser.add_argument("--seed", type=int, default=0, help="which town and drive (default 0)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to drive (default 10)")
    parser.add_argument("--rig", default="surround6", help="surround6, surround5, front1 or a YAML file")
    parser.add_argument("--rate", type=float, default=10.0, help="frames per second (default 10)")
    parser.add_argument("--supersample", type=int, default=1, help="rays per pixel along each axis (default 1)")
    parser.add_argument("--device", default="cpu", help="where rays are cast: cpu or cuda")
    parser.add_argument("--out", type=Path, help="folder for bag/ and town.json")
    parser.add_argument(
        "--truth", action="store_true", help="also write truth/: voxels, class and depth maps of every frame"
    )
    parser.add_argument(
        "--class-noise", type=float, default=0.0, metavar="SHARE",
        help="with --truth: replace this share of each class map by other classes, in patches of about a tenth of the "
        "image's width within which each class is taken for another one, as a segmentation network errs (default 0)",
    )  # fmt: skip
    parser.add_argument("--stats", action="store_true", help="print what the scene holds")
    parser.add_argument("--json", help="write the statistics or the summary to this file ('-': standard output)")


def run(args: argparse.Namespace) -> int:
    """Render, write, tell; returns 0."""
    from selfocc_ros.cli.output import write_json
    from selfocc_ros.errors import SelfOccError
    from selfocc_ros.town.rigs import load_rig

    if args.out is None and not args.stats:
        raise SelfOccError("selfocc town needs --out DIR to write a drive, or --stats to tell what the scene holds.")
    if args.seed < 0 or args.seconds <= 0 or args.rate <= 0 or args.supersample < 1:
        raise SelfOccError("--seed must not be negative; --seconds, --rate and --supersample must be positive.")
    if not 0.0 <= args.class_noise <= 1.0:
        raise SelfOccError(f"--class-noise is a share from 0 to 1, found {args.class_noise:g}.")
    if args.class_noise and not args.truth:
        raise SelfOccError("--class-noise needs --truth: without it no class maps are written.")
    spec = load_rig(args.rig)
    result: dict[str, Any] = {}
    say = sys.stderr if args.json == "-" else sys.stdout
    if args.out is not None:
        from selfocc_ros.town.write import write_drive

        begun = time.monotonic()
        bag = write_drive(
            args.seed,
            args.seconds,
            spec,
            args.out,
            args.rate,
            _progress,
            supersample=args.supersample,
            save_truth=args.truth,
            class_noise=args.class_noise,
            device=args.device,
        )
        result |= {"bag": str(bag), "wall_s": time.monotonic() - begun}
        print(f"wrote {bag} in {result['wall_s']:.1f} s", file=say)
    if args.stats:
        from selfocc_ros.town.statistics import drive_statistics

        statistics = drive_statistics(args.seed, args.seconds, spec)
        for name, value in statistics.items():
            print(f"{name:18s} {f'{value:.3g}' if isinstance(value, float) else value}", file=say)
        result |= statistics
    if args.json:
        write_json(args.json, result)
    return 0


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty() or done == total or done % 10 == 0:
        end = "\n" if done == total or not sys.stderr.isatty() else "\r"
        print(f"rendered {done}/{total} frames", end=end, file=sys.stderr, flush=True)
