# SPDX-License-Identifier: Apache-2.0
"""Self-describing checkpoints: one ``.safetensors`` file is enough to run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from selfocc_ros.configuration import ConfigError, to_mapping
from selfocc_ros.errors import SelfOccError
from selfocc_ros.model.config import parse_model_config
from selfocc_ros.model.families import AnyConfig, Network, build_network
from selfocc_ros.model.planes.selfocc import STATISTICS
from selfocc_ros.resources import resource

FORMAT = "selfocc_ros/1"
SHIPPED = "config/checkpoints/tiny.safetensors"


class CheckpointError(SelfOccError, ValueError):
    """A checkpoint is missing, damaged, or not one of ours."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself.

    Attributes:
        path: the file.
        config: configuration of the network.
        parameters: number of learnt values.
        provenance: how it came about (command, data, steps, version).
        scores: scores measured when it was made, by name.
    """

    path: Path
    config: AnyConfig
    parameters: int
    provenance: dict[str, Any]
    scores: dict[str, Any]


def shipped_checkpoint() -> Path:
    """Path of the checkpoint that comes with the package."""
    return resource(SHIPPED)


def save_checkpoint(
    path: Path,
    model: Network,
    provenance: dict[str, Any],
    scores: dict[str, Any] | None = None,
    config: AnyConfig | None = None,
    half: bool = False,
) -> None:
    """Write ``model`` with its configuration; ``half`` stores 16 bit values, half the size."""
    dtype = torch.float16 if half else torch.float32
    state = {
        # safetensors keeps contiguous tensors only; channels-last weights are not. Counters stay integers.
        name: value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype).contiguous()
        for name, value in model.state_dict().items()
    }
    metadata = {
        "format": FORMAT,
        "config": json.dumps(to_mapping(config or model.config)),
        "provenance": json.dumps(provenance),
        "scores": json.dumps(scores or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata=metadata)


def read_info(path: Path) -> CheckpointInfo:
    """What the checkpoint says of itself, without loading the network.

    Raises:
        CheckpointError: with one sentence, if the file is missing, damaged or foreign.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            parameters = 0
            for name in stored.keys():  # noqa: SIM118 - a safetensors handle is not a mapping
                if name.endswith(STATISTICS):
                    continue
                size = 1
                for extent in stored.get_slice(name).get_shape():
                    size *= extent
                parameters += size
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {path} does not exist.") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged or not a safetensors file ({error}).") from error
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "no format entry")
        raise CheckpointError(f"checkpoint {path} was not written by selfocc_ros: expected {FORMAT}, found {found}.")
    try:
        config = parse_model_config(json.loads(metadata["config"]), path.name)
        provenance, scores = json.loads(metadata["provenance"]), json.loads(metadata["scores"])
    except (KeyError, json.JSONDecodeError, ConfigError) as error:
        raise CheckpointError(f"checkpoint {path} carries an unreadable description ({error}).") from error
    return CheckpointInfo(path, config, parameters, provenance, scores)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> tuple[Network, CheckpointInfo]:
    """Network and description; weights are float32 whatever the file stores.

    Raises:
        CheckpointError: with one sentence, if the file is missing, damaged or foreign, or does not fit its own
            configuration, or holds values that are not finite.
    """
    info = read_info(path)
    model = build_network(info.config)
    try:
        stored: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({error}).") from error
    expected = model.state_dict()
    wrong = sorted(expected.keys() ^ stored.keys())
    wrong += [name for name in expected.keys() & stored.keys() if expected[name].shape != stored[name].shape]
    if wrong:
        raise CheckpointError(f"checkpoint {path} does not fit its own configuration: {', '.join(wrong[:5])}.")
    broken = [name for name, value in stored.items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(f"checkpoint {path} holds values that are not finite in {broken[0]}.")
    model.load_state_dict({name: value.float() for name, value in stored.items()})
    model.to(device).eval()
    return model, info
