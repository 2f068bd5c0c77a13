# SPDX-License-Identifier: Apache-2.0
"""The `selfocc` command.

One module per subcommand, each with `HELP`, `add_arguments(parser)` and `run(args) -> int`. A module is imported only
when its subcommand is chosen, so `selfocc --help` loads neither torch nor rclpy; and modules keep such imports inside
`run`, so that neither does `selfocc SUBCOMMAND --help`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import keyword
import os
import sys
from collections.abc import Sequence

from selfocc_ros import __version__
from selfocc_ros.errors import SelfOccError
from selfocc_ros.resources import roots

# What `selfocc --help` lists, in the order in which a user meets it; selfocc_ros/cli/<name>.py holds the rest.
SUBCOMMANDS = {
    "demo": "render or take a drive, run the node on it over DDS, score and picture what it publishes",
    "town": "render a synthetic drive with exact ground truth as a rosbag",
    "check": "say what a recording or the running system offers and lacks for the node",
    "replay": "run the network on a recording without ROS",
    "info": "tell what a checkpoint holds",
    "import": "turn a checkpoint of the published SelfOcc into one of ours",
    "nuscenes2bag": "write scenes of nuScenes as ROS 2 recordings",
    "kitti2bag": "write a drive of KITTI as a ROS 2 recording",
    "prepare": "turn recordings into a training dataset",
    "train": "train a checkpoint without labels",
    "distil": "label the voxels of drives with a network's own volumes, to train on",
    "evaluate": "score a checkpoint beside flat ground and blindness",
}


def find_training() -> None:
    """Lets `selfocc_training` be imported where only the checkout's root is on the path.

    That is so with `PYTHONPATH=.` and with `colcon build --symlink-install`, which links one root per package.
    """
    if importlib.util.find_spec("selfocc_training") is None:
        sys.path += [str(root / "training") for root in roots() if (root / "training" / "selfocc_training").is_dir()]


def module_name(subcommand: str) -> str:
    """Name of a subcommand's module: the subcommand's own, but `import` is a word of Python."""
    return f"{subcommand}_" if keyword.iskeyword(subcommand) else subcommand


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """Returns the parser; only the subcommand `chosen` has its arguments, because only its module is imported."""
    parser = argparse.ArgumentParser(
        prog="selfocc", description="Camera-only 3D occupancy for ROS 2, learnt without labels."
    )
    parser.add_argument("--version", action="version", version=f"selfocc {__version__}")
    subparsers = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    for name, summary in SUBCOMMANDS.items():
        if name == chosen:
            module = importlib.import_module(f"selfocc_ros.cli.{module_name(name)}")
            subparser = subparsers.add_parser(name, help=summary, description=module.HELP)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
        else:
            subparsers.add_parser(name, help=summary)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns its exit status.

    0 is success, 2 is bad input (told in one sentence on standard error), 130 is Ctrl-C; a subcommand may return 1
    where it did its work and the answer is no.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    find_training()
    try:
        args = build_parser(chosen).parse_args(arguments)
        status: int = args.run(args)
        sys.stdout.flush()
    except SelfOccError as error:
        print(f"selfocc: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("selfocc: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has left; Python would complain once more while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status
