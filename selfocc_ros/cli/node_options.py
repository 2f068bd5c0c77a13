# SPDX-License-Identifier: Apache-2.0
"""Options of commands that work on a recording as the node would: its parameter file, and single values before it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfocc_ros.sensing.rig_source import RigSource

_OPTIONS: dict[str, tuple[type, str]] = {
    "checkpoint": (str, "a .safetensors file (default: the shipped)"),
    "cameras": (str, "names or image topics, separated by commas (default: all)"),
    "preset": (str, "a layout of topics and frames: its name in config/layouts, or a YAML file"),
    "calibration_file": (str, "YAML with intrinsics and mountings of the cameras"),
    "base_frame": (str, "the vehicle's frame (default: base_link)"),
    "fixed_frame": (str, "the frame of odometry (default: odom)"),
    "ground_z": (float, "height of the road in the vehicle's frame, metres (default: 0)"),
    "device": (str, "auto, cuda or cpu"),
    "max_skew": (float, "seconds within which images make a set (default: 0.055)"),
    "max_wait": (float, "seconds after which a set goes without the late (default: 0.2)"),
}


def add_node_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """`--params FILE`, and an option for each of these parameters of the node, None where it is not given."""
    before = "; options given beside it go before it" if names else ""
    parser.add_argument("--params", metavar="FILE", help=f"the node's parameter file (YAML){before}")
    for name in names:
        kind, words = _OPTIONS[name]
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=words)


def node_values(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """What the parameter file and these options ask for, by dotted name of the node's parameter.

    Raises:
        ParameterError: the file cannot be used, or a value cannot.
    """
    from selfocc_ros.node_parameters import checked
    from selfocc_ros.parameter_file import load_parameters

    values = load_parameters(args.params) if args.params else {}
    for name in names:
        given = getattr(args, name)
        if given is not None:
            values[name] = checked(name, given.split(",") if name == "cameras" else given)
    return values


def rig_source(args: argparse.Namespace, *names: str) -> RigSource:
    """What the parameter file and these options say of the cameras, with the files that they name.

    Raises:
        ParameterError, ConfigError: a file or a value cannot be used.
    """
    from selfocc_ros.node_parameters import NodeParameters
    from selfocc_ros.sensing.rig_source import RigSource

    return RigSource.of(NodeParameters.of(node_values(args, *names)))
