# SPDX-License-Identifier: Apache-2.0
"""Training that starts from a checkpoint instead of random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypeVar

from selfocc_ros.configuration import ConfigError
from selfocc_ros.model.checkpoint import load_checkpoint, read_info, shipped_checkpoint
from selfocc_ros.model.config import FieldHeadConfig, ModelConfig
from selfocc_ros.model.families import AnyConfig, Network

Config = TypeVar("Config", bound=AnyConfig)
FREE = ("name", "decision")
"""What a network may have different from the checkpoint that it starts from; networks of the ``fast`` family may also
have heads that the checkpoint lacks."""


def start_path(start: str) -> Path:
    """File of a checkpoint; ``default`` is the one that comes with the package."""
    return shipped_checkpoint() if start == "default" else Path(start)


def with_start(config: Config, start: str) -> Config:
    """The network ``config`` with the occupancy thresholds of the checkpoint ``start``.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        ConfigError: its architecture is another one.
    """
    found = read_info(start_path(start)).config
    if type(found) is not type(config):
        raise ConfigError(f"start: {start} is a {found.family} network, but {config.name} is {config.family}.")
    names = [field.name for field in dataclasses.fields(config) if field.name not in FREE]
    other = [name for name in names if getattr(found, name) != getattr(config, name)]
    if isinstance(found, ModelConfig) and isinstance(config, ModelConfig) and _adds(found.head, config.head):
        other = [name for name in other if name != "head"]
    if other:
        raise ConfigError(
            f"start: {start} is of another architecture than network {config.name}: they differ in {', '.join(other)}."
        )
    return dataclasses.replace(config, decision=found.decision)


def describe_start(start: str) -> str:
    """The checkpoint ``start`` in words, with the data that it was trained on."""
    return f"{start} ({read_info(start_path(start)).provenance.get('data', 'of unknown data')})"


def load_start(model: Network, start: str) -> None:
    """Give ``model`` the weights of the checkpoint ``start``, which ``with_start`` has found to fit.

    Heads that the checkpoint lacks stay as they are.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
    """
    model.load_state_dict({**model.state_dict(), **load_checkpoint(start_path(start))[0].state_dict()})


def _adds(found: FieldHeadConfig, wanted: FieldHeadConfig) -> bool:
    """Whether the wanted heads are those that were found, and maybe others."""
    return found.classes in ((), wanted.classes) and found.occupancy <= wanted.occupancy
