# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the published SelfOcc, read without running any code that they may carry."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfocc_ros.model.checkpoint import CheckpointError
from selfocc_ros.model.config import load_model_config
from selfocc_ros.model.planes.config import PlaneConfig
from selfocc_ros.model.planes.names import NOT_USED, official_name, own_name
from selfocc_ros.model.planes.selfocc import PlaneSelfOcc
from selfocc_ros.resources import resource

SHOWN = 4
"""Most names that a refusal lists of each kind; it tells how many more there are."""
COUNTERS = ("epoch", "global_iter")
"""What an official file says of its training."""
WRAPPER = "module."
"""What stands before every name where a network was saved from within its wrapper for several GPUs."""


@dataclass(frozen=True)
class OfficialCheckpoint:
    """Contents of an official file.

    Attributes:
        state: entries by their official names.
        provenance: file name, SHA-256 of the file, and how long it was trained where it says so.
    """

    state: dict[str, Tensor]
    provenance: dict[str, Any]


def read_official(path: Path) -> OfficialCheckpoint:
    """Read a file that PyTorch saved: a state dict, or a dict with one under ``state_dict`` as SelfOcc writes it.

    Names that all begin with ``module.`` lose it.

    Raises:
        CheckpointError: with one sentence, if it is missing, damaged, holds more than tensors and plain values, or
            holds no state dict.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {path} does not exist.") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {path} is not a PyTorch file of tensors and plain values alone, and nothing else is loaded; "
            "if you trust it, save its state_dict to a file of its own with the program that wrote it."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise CheckpointError(f"checkpoint {path} is damaged or not a PyTorch file ({reason}).") from error
    state = stored.get("state_dict", stored) if isinstance(stored, Mapping) else stored
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items())
    ):
        raise CheckpointError(f"checkpoint {path} holds no state dict: expected names and tensors, or `state_dict`.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    trained = {name: stored[name] for name in COUNTERS if isinstance(stored.get(name), int)}
    return OfficialCheckpoint(_unwrapped(state), {"source": path.name, "sha256": digest, **trained})


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with the names that the network itself gives its entries."""
    prefix = WRAPPER if all(name.startswith(WRAPPER) for name in state) else ""
    return {name.removeprefix(prefix): value for name, value in state.items()}


def assign_official(model: PlaneSelfOcc, state: Mapping[str, Tensor], where: str) -> None:
    """Give ``model`` the values of an official ``state``; ``where`` names it in error messages.

    Raises:
        CheckpointError: if an entry is missing, left over, of another shape or not finite, or the box is not the
            configured one. The model is then as it was.
    """
    own = model.state_dict()
    taken: dict[str, Tensor] = {}
    extra = []
    for official, value in state.items():
        try:
            name = own_name(official)
        except KeyError:
            extra.append(official)
            continue
        if name is not None and name not in own:
            extra.append(official)
        elif name is not None:
            taken[name] = value
    shapes = [
        f"{official_name(name)} {list(value.shape)} instead of {list(own[name].shape)}"
        for name, value in taken.items()
        if value.shape != own[name].shape
    ]
    missing = [official_name(name) for name in own if name not in taken]
    troubles = [
        _listed(what, names)
        for what, names in (("missing", missing), ("left over", extra), ("of another shape", shapes))
        if names
    ]
    if troubles:
        hint = _nearest_network(state, model.config)
        raise CheckpointError(f"{where} does not fit configuration {model.config.name}: {'; '.join(troubles)}.{hint}")
    broken = [official_name(name) for name, value in taken.items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(f"{where} cannot be used: {_listed('not finite', broken)}.")
    box, configured = taken["field.aabb"].double(), own["field.aabb"].double()
    if not torch.allclose(box, configured, atol=1e-4):
        raise CheckpointError(
            f"{where} is of another box than configuration {model.config.name}: found {box.flatten().tolist()}, "
            f"expected {configured.flatten().tolist()}."
        )
    model.load_state_dict(taken)


def import_official(path: Path, config: PlaneConfig) -> tuple[PlaneSelfOcc, dict[str, Any]]:
    """Network of an official file, and the provenance to store with it.

    Raises:
        CheckpointError: with one sentence, if the file cannot be read or does not fit ``config``.
    """
    checkpoint = read_official(path)
    model = PlaneSelfOcc(config)
    assign_official(model, checkpoint.state, f"checkpoint {path}")
    not_used = sorted(NOT_USED.keys() & checkpoint.state.keys())
    return model.eval(), {**checkpoint.provenance, "not_used": not_used}


def _nearest_network(state: Mapping[str, Tensor], config: PlaneConfig) -> str:
    """Which configurations of ours ``state`` has the sizes of, as a sentence; empty if ``config`` or none has them."""
    if _has_sizes_of(config, state):
        return ""
    configs = (load_model_config(path.stem) for path in sorted(resource("config/models").glob("*.yaml")))
    fitting = [one.name for one in configs if isinstance(one, PlaneConfig) and _has_sizes_of(one, state)]
    return f" It has the sizes of {' or '.join(fitting)}." if fitting else ""


def _has_sizes_of(config: PlaneConfig, state: Mapping[str, Tensor]) -> bool:
    """Whether cameras, planes and head of ``state``, by which networks differ, are as configured."""
    channels, outputs = config.encoder.channels, 1 + config.features
    x, y, z = config.planes.nodes
    sizes: dict[str, tuple[int, ...]] = {"encoder.cams_embeds": (len(config.encoder.camera_directions), channels)}
    if config.family == "bev":
        sizes["lifter.bev"] = (1, y * x, channels)
        outputs *= z
    else:
        tokens = {"hw": y * x, "zh": z * y, "wz": x * z}
        sizes |= {f"lifter.tpv_{plane}": (1, count, channels) for plane, count in tokens.items()}
    sizes["head.model.field.density_net.3.weight"] = (outputs, channels)
    return all(name in state and tuple(state[name].shape) == size for name, size in sizes.items())


def _listed(what: str, names: Iterable[str]) -> str:
    """``2 missing (a, b)``, no more than ``SHOWN`` names."""
    every = sorted(names)
    rest = f", and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return f"{len(every)} {what} ({', '.join(every[:SHOWN])}{rest})"
