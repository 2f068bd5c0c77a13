# SPDX-License-Identifier: Apache-2.0
"""`selfocc check`: what a recording or a running system offers and lacks for the node."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from selfocc_ros.cli.node_options import add_node_options, rig_source

if TYPE_CHECKING:
    from selfocc_ros.logs.check_report import CheckReport
    from selfocc_ros.sensing.rig_source import RigSource

HELP = """Say in plain words what a recording, or without one the running system, offers and lacks for the node:
cameras, calibrations, transforms, stamps, rates and sizes. It is read or heard as the node would; no network is needed,
and nothing is published. Exit status 0: the node can run on it; 1: it cannot, and the last lines say what to do; 2: it
cannot be read at all."""


OPTIONS = ("cameras", "preset", "calibration_file", "base_frame", "fixed_frame", "max_skew", "max_wait")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc check`."""
    parser.add_argument(
        "bag", nargs="?", help="a recording: rosbag2 directory, .mcap, .db3, or .bag of ROS 1; none: as with --live"
    )
    parser.add_argument("--live", action="store_true", help="check the running system, with its node if one runs")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to listen to it (5)")
    parser.add_argument("--domain", type=int, help="its ROS domain (default: ROS_DOMAIN_ID)")
    add_node_options(parser, *OPTIONS)
    parser.add_argument("--json", help="write the report to this file ('-': standard output, instead of the words)")


def run(args: argparse.Namespace) -> int:
    """Print the report; returns 0 if the node can run on the recording or the system, else 1."""
    from selfocc_ros.cli.output import write_json
    from selfocc_ros.errors import SelfOccError
    from selfocc_ros.logs.check import check_bag
    from selfocc_ros.logs.check_report import render_report

    if args.live and args.bag:
        raise SelfOccError(f"--live checks the running system, and {args.bag} is a recording: give one of them")
    source = rig_source(args, *OPTIONS)
    report = check_bag(args.bag, source) if args.bag else _listen(source, args.seconds, args.domain)
    if args.json != "-":
        print(render_report(report))
    if args.json:
        write_json(args.json, report.to_dict())
    return 0 if report.ok else 1


def _listen(source: RigSource, seconds: float, domain: int | None) -> CheckReport:
    from selfocc_ros.errors import SelfOccError

    if seconds <= 0:
        raise SelfOccError(f"--seconds is {seconds:g}, expected more than 0")
    if domain is not None and not 0 <= domain <= 232:  # DDSI-RTPS: above, ports end
        raise SelfOccError(f"--domain is {domain}, expected 0 to 232")
    try:
        from selfocc_ros.ros.live_check import check_live
    except ImportError as error:
        raise SelfOccError(f"checking a running system needs ROS 2, source it first: {error}") from error
    return check_live(source, seconds, domain)
