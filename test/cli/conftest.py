# SPDX-License-Identifier: Apache-2.0
"""An untrained checkpoint, and a way to test/logs/recorded_drives.py, which importlib mode alone does not give."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "logs"))


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the tiny network whose weights are random, always the same."""
    import torch

    from selfocc_ros.model.checkpoint import save_checkpoint
    from selfocc_ros.model.config import load_model_config
    from selfocc_ros.model.selfocc import build_model

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "untrained.safetensors"
    save_checkpoint(path, build_model(load_model_config("tiny")), {"note": "random weights"}, half=True)
    return path
