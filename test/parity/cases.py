# SPDX-License-Identifier: Apache-2.0
"""All cases whose results are kept in test/fixtures/parity.npz, and how they are kept there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from loss_cases import LOSSES
from network_cases import NETWORKS
from numpy.typing import NDArray

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "parity.npz"
CASES = {**NETWORKS, **LOSSES}


def compute(case: str) -> dict[str, NDArray[np.generic]]:
    """Outputs of a case by name, with as many threads as it takes to sum in one order everywhere: one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {name: value.detach().numpy() for name, value in CASES[case]().items()}
    finally:
        torch.set_num_threads(threads)


def stored() -> dict[str, NDArray[np.generic]]:
    """What the fixture holds, by ``case/output``."""
    with np.load(FIXTURE, allow_pickle=False) as values:
        return dict(values)
