# SPDX-License-Identifier: Apache-2.0
"""Processes: without Lightning there is one, and more are refused with a sentence; parts of a step add up."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from selfocc_ros.runtime.predictor import DeviceError
from selfocc_training.fit.processes import OneProcess, start_processes


def test_without_lightning_one_process_trains_and_more_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    processes = start_processes("cpu")
    assert isinstance(processes, OneProcess)
    assert (processes.global_rank, processes.world_size, processes.device) == (0, 1, torch.device("cpu"))
    with pytest.raises(
        DeviceError, match=r"training in 8 processes needs Lightning: pip install 'selfocc_ros\[train\]'"
    ):
        start_processes("cpu", devices=4, nodes=2)
    with pytest.raises(DeviceError, match="at least one device and one node, found 0 and 1"):
        start_processes("cpu", devices=0)


def test_one_process_of_lightning_computes_the_same_gradients() -> None:
    pytest.importorskip("lightning", reason="lightning is not installed")
    gradients = []
    for processes in (OneProcess(), start_processes("cpu")):
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 2)
        for _ in range(2):
            processes.backward(processes.setup_module(module)(torch.ones(1, 3)).square().sum())  # type: ignore[attr-defined]
        assert module.weight.grad is not None
        gradients.append(module.weight.grad)
        assert processes.all_reduce(torch.tensor(3.0)).item() == 3.0
    assert torch.equal(*gradients)
