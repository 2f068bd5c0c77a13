# SPDX-License-Identifier: Apache-2.0
"""The state of a run in one file, which is whole at any moment, whatever interrupts it."""

from __future__ import annotations

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from selfocc_ros.errors import SelfOccError


class StateError(SelfOccError, ValueError):
    """A saved state cannot be gone on from."""


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Put ``state`` in the place of what is saved: complete, on the disk, or not at all."""
    part = path.with_suffix(".part")
    with part.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def load_state(path: Path) -> dict[str, Any]:
    """Read a state back, on the CPU.

    Raises:
        StateError: the file is damaged, or not of ``save_state``.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, OSError) as error:
        raise StateError(f"{path} cannot be read as the state of a run: {error}") from error
    if not isinstance(state, dict) or "step" not in state:
        raise StateError(f"{path} is not the state of a run; found {type(state).__name__}.")
    return state
