# SPDX-License-Identifier: Apache-2.0
"""Recorded inputs and outputs of the official SelfOcc, where they lie beside the project."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "golden"


@dataclass(frozen=True)
class Golden:
    """One recorded file: its tensors by name, and the configuration that it was recorded with."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose names start with ``prefix``, without it."""
        return {name[len(prefix) :]: value for name, value in self.tensors.items() if name.startswith(prefix)}


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """Folder of the recordings; the test is skipped where it is absent."""
    if not FOLDER.is_dir():
        pytest.skip("the recordings of the official implementation (../shared/golden) are not on this machine")
    return FOLDER


@pytest.fixture(scope="session")
def golden(golden_folder: Path) -> Callable[[str], Golden]:
    """``golden("losses")`` reads ``losses.safetensors``."""

    def read(name: str) -> Golden:
        with safe_open(golden_folder / f"{name}.safetensors", framework="pt") as stored:
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a mapping
            return Golden(tensors, json.loads((stored.metadata() or {}).get("config", "{}")))

    return read


@pytest.fixture(scope="session")
def close() -> Callable[..., None]:
    """Compare with the tolerance that the recordings call std, or another; says by how much it fails."""

    def check(found: Tensor, expected: Tensor, atol: float = 5e-5, rtol: float = 1e-4, what: str = "") -> None:
        assert found.shape == expected.shape, f"{what}: shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
        excess = (found.double() - expected.double()).abs() - rtol * expected.double().abs()
        assert float(excess.max()) <= atol, f"{what}: off by {float(excess.max()):.3g} beyond the relative tolerance"
        assert torch.isfinite(found).all(), f"{what}: not finite"

    return check
