# SPDX-License-Identifier: Apache-2.0
"""`selfocc check`: what a recording offers and lacks for the node."""

from __future__ import annotations

import argparse

from selfocc_ros.cli.node_options import add_node_options, rig_source

HELP = """Say in plain words what a recording offers and lacks for the node: cameras, calibrations, transforms, stamps,
rates and sizes. The recording is read as the node would hear it; no network is needed. Exit status 0: the node can run
on it; 1: it cannot, and the last lines say what to do; 2: it cannot be read at all."""


OPTIONS = ("cameras", "preset", "calibration_file", "base_frame", "fixed_frame", "max_skew", "max_wait")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc check`."""
    parser.add_argument("bag", help="a recording: rosbag2 directory, .mcap, .db3, or .bag of ROS 1")
    add_node_options(parser, *OPTIONS)
    parser.add_argument("--json", help="write the report to this file ('-': standard output, instead of the words)")


def run(args: argparse.Namespace) -> int:
    """Print the report; returns 0 if the node can run on the recording, else 1."""
    from selfocc_ros.cli.output import write_json
    from selfocc_ros.logs.check import check_bag
    from selfocc_ros.logs.check_report import render_report

    report = check_bag(args.bag, rig_source(args, *OPTIONS))
    if args.json != "-":
        print(render_report(report))
    if args.json:
        write_json(args.json, report.to_dict())
    return 0 if report.ok else 1
