# SPDX-License-Identifier: Apache-2.0
"""`selfocc import`: a checkpoint of the published SelfOcc becomes one of ours."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Turn a checkpoint of the published SelfOcc (a PyTorch file) into one of ours: a
self-describing .safetensors file that the node, replay and evaluate take. Every
entry must have its place in the configured network, of the same shape; what is
missing or left over is named, and nothing is written. No code that the file may
carry is run."""

EPILOG = """networks (--config) and the published configurations that they stand for:
  nuscenes_tpv          nuscenes_occ
  nuscenes_bev          nuscenes_occ_bev
  nuscenes_depth        nuscenes_depth
  nuscenes_novel_depth  nuscenes_novel_depth
  kitti_tpv             kitti_occ
  kitti_novel_depth     kitti_novel_depth
  kitti_raw_depth       kitti_raw_depth
`selfocc info NAME` tells what each is. A checkpoint trained with other sizes needs
a copy of the YAML file (config/models) with the same changes.

example:
  selfocc import model_state_dict.pth --config nuscenes_tpv --out tpv.safetensors
  selfocc info tpv.safetensors
  selfocc replay my_drive --checkpoint tpv.safetensors --out out/replay

exit status: 0 written, 2 refused, with one sentence that says why. docs/selfocc.md
tells more."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc import`."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "source",
        type=Path,
        metavar="FILE",
        help="the official checkpoint: a state dict, or a dict with one under `state_dict`",
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="NAME",
        help="the network it was trained as: a name from below, or a YAML file",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument("--half", action="store_true", help="store 16 bit values: half the size, slightly rounded")
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="also write checkpoint, parameters and provenance to this file ('-': standard output, not the words)",
    )


def run(args: argparse.Namespace) -> int:
    """Convert; returns 0."""
    from selfocc_ros import __version__
    from selfocc_ros.cli.output import write_json
    from selfocc_ros.configuration import ConfigError
    from selfocc_ros.model.checkpoint import CheckpointError, save_checkpoint
    from selfocc_ros.model.config import load_model_config
    from selfocc_ros.model.official import import_official
    from selfocc_ros.model.planes.config import FAMILIES, PlaneConfig

    config = load_model_config(args.config)
    if not isinstance(config, PlaneConfig):
        raise ConfigError(f"--config {args.config} is of family {config.family}, expected {' or '.join(FAMILIES)}.")
    if args.out.suffix != ".safetensors":
        raise CheckpointError(f"--out {args.out} must end in .safetensors.")
    model, found = import_official(args.source, config)
    provenance = {"command": f"selfocc import --config {args.config}", "version": __version__, **found}
    save_checkpoint(args.out, model, provenance, half=args.half)
    if args.json != "-":
        print(f"{args.out}: {model.parameter_count} parameters, {args.out.stat().st_size / 1e6:.1f} MB")
    if args.json:
        write_json(
            args.json, {"checkpoint": str(args.out), "parameters": model.parameter_count, "provenance": provenance}
        )
    return 0
