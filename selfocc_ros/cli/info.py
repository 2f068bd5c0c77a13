# SPDX-License-Identifier: Apache-2.0
"""`selfocc info`: what a checkpoint or a model configuration holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfocc_ros.model.families import AnyConfig

HELP = """Tell what a checkpoint or a model configuration holds: number of parameters,
input size, occupancy grid, classes, decision, where it comes from (provenance) and
the scores measured when it was made."""

EPILOG = """what is told, also with --json:
  name, family   configuration; fast is this project's own, tpv and bev are SelfOcc's
  parameters     learnt values, those that training leaves frozen included
  input          size in pixels and what is done to images
  grid           voxels that are published: corners in metres in the ground frame
                 (x forward, y left, z up, z = 0 the road below base_link), shape
  classes        labels of Occ3D, or names, that the network can give; none if empty
  decision       which distance makes a voxel occupied
  planes         tpv, bev: box and nodes, its axes and origin in the ground frame
  cameras        tpv, bev: directions of the learnt cameras, degrees to the left
  quirks         tpv, bev: slips of the published code that are kept (docs/selfocc.md)
  provenance     of a checkpoint: how it was made; of a configuration: its file
  scores         of a checkpoint: measured when it was made

examples:
  selfocc info                        the shipped checkpoint
  selfocc info tpv.safetensors        a checkpoint
  selfocc info nuscenes_tpv --json -  a configuration, for programs"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `selfocc info`."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "source",
        nargs="?",
        default="default",
        metavar="SOURCE",
        help="a .safetensors file, a .yaml file or the name of a configuration; left out, the shipped checkpoint",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="also write the same to this file ('-': standard output, not the words)"
    )


def run(args: argparse.Namespace) -> int:
    """Print; returns 0."""
    from selfocc_ros.cli.output import write_json

    description = describe(args.source)
    if args.json != "-":
        for name, value in description.items():
            print(f"{name:12s} {_in_words(value)}")
    if args.json:
        write_json(args.json, description)
    return 0


def describe(source: str) -> dict[str, Any]:
    """Everything worth knowing about a checkpoint or configuration, as plain values.

    Raises:
        CheckpointError, ConfigError: with one sentence, if it cannot be read.
    """
    import torch

    from selfocc_ros.configuration import config_path
    from selfocc_ros.model.checkpoint import read_info, shipped_checkpoint
    from selfocc_ros.model.config import load_model_config
    from selfocc_ros.model.families import build_network

    if source == "default" or source.endswith(".safetensors"):
        info = read_info(shipped_checkpoint() if source == "default" else Path(source))
        return _described(info.config, info.parameters, info.provenance, info.scores)
    config = load_model_config(source)
    with torch.device("meta"):  # shapes alone: counting needs neither memory nor random numbers
        parameters = build_network(config).parameter_count
    return _described(config, parameters, {"configuration": str(config_path("config/models", source))}, {})


def _described(
    config: AnyConfig, parameters: int, provenance: dict[str, Any], scores: dict[str, Any]
) -> dict[str, Any]:
    from selfocc_ros.configuration import to_mapping
    from selfocc_ros.model.planes.config import PlaneConfig

    planes: dict[str, Any] = {}
    if isinstance(config, PlaneConfig):
        planes = {
            "planes": to_mapping(config.planes),
            "cameras": list(config.encoder.camera_directions),
            "quirks": [name for name, kept in to_mapping(config.official_quirks).items() if kept],
        }
    return {
        "name": config.name,
        "family": config.family,
        "parameters": parameters,
        "input": to_mapping(config.input),
        "grid": config.grid.to_dict(),
        "classes": sorted(set(config.head.classes)) if isinstance(config, PlaneConfig) else list(config.head.classes),
        "decision": to_mapping(config.decision),
        **planes,
        "provenance": provenance,
        "scores": scores,
    }


def _in_words(value: Any) -> str:
    """A value on one line; what is empty is a dash."""
    if isinstance(value, dict):
        entries = ((key, entry) for key, entry in value.items() if entry is not None and not isinstance(entry, dict))
        return ", ".join(f"{key} {_in_words(entry)}" for key, entry in entries) or "-"
    if isinstance(value, list | tuple):
        return " ".join(str(entry) for entry in value) or "-"
    return str(value)
