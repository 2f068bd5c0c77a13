# SPDX-License-Identifier: Apache-2.0
"""`selfocc info`: what a checkpoint or a model configuration holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = """Tell what a checkpoint or a model configuration holds: parameters, input size, grid, classes, decision,
provenance and the scores measured when it was made."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc info`."""
    parser.add_argument(
        "source",
        nargs="?",
        default="default",
        help="a .safetensors file, a .yaml file or the name of a configuration; left out, the shipped checkpoint",
    )
    parser.add_argument("--json", help="write the same to this file ('-': standard output)")


def run(args: argparse.Namespace) -> int:
    """Print; returns 0."""
    from selfocc_ros.cli.output import write_json

    description = describe(args.source)
    if args.json != "-":
        for name, value in description.items():
            if isinstance(value, dict):
                value = ", ".join(f"{key} {entry}" for key, entry in value.items() if not isinstance(entry, dict))
            print(f"{name:12s} {value}")
    if args.json:
        write_json(args.json, description)
    return 0


def describe(source: str) -> dict[str, Any]:
    """Everything worth knowing about a checkpoint or configuration, as plain values.

    Raises:
        CheckpointError, ConfigError: with one sentence, if it cannot be read.
    """
    import torch

    from selfocc_ros.configuration import to_mapping
    from selfocc_ros.model.checkpoint import read_info, shipped_checkpoint
    from selfocc_ros.model.config import load_model_config
    from selfocc_ros.model.families import build_network
    from selfocc_ros.model.planes.config import PlaneConfig

    if source == "default" or source.endswith(".safetensors"):
        info = read_info(shipped_checkpoint() if source == "default" else Path(source))
        config, parameters = info.config, info.parameters
        origin: dict[str, Any] = {"provenance": info.provenance, "scores": info.scores}
    else:
        config = load_model_config(source)
        with torch.device("meta"):  # shapes alone: counting needs neither memory nor random numbers
            parameters = build_network(config).parameter_count
        origin = {}
    return {
        "name": config.name,
        "family": config.family,
        "parameters": parameters,
        "input": to_mapping(config.input),
        "grid": config.grid.to_dict(),
        "classes": sorted(set(config.head.classes)) if isinstance(config, PlaneConfig) else [],
        "decision": to_mapping(config.decision),
        **origin,
    }
