# SPDX-License-Identifier: Apache-2.0
"""`selfocc import`: a checkpoint of the published SelfOcc becomes one of ours."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Turn a checkpoint of the published SelfOcc (a PyTorch file) into one of ours, a self-describing .safetensors
file. Every entry must have its place in the configured network; no code that the file may carry is run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc import`."""
    parser.add_argument("source", type=Path, help="official checkpoint, such as model_state_dict.pth")
    parser.add_argument(
        "--config", required=True, help="name of a model configuration, such as nuscenes_tpv, or a YAML file"
    )
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--half", action="store_true", help="store 16 bit values: half the size, slightly rounded")
    parser.add_argument("--json", help="write what was imported to this file ('-': standard output)")


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
