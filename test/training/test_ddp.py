# SPDX-License-Identifier: Apache-2.0
"""Several processes learn what one learns from as many scenes."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from selfocc_ros.model.families import build_network
from selfocc_training import trainer
from selfocc_training.town_clips import Clip

pytest.importorskip("lightning", reason="lightning is not installed")

HERE = Path(__file__).parent

MODEL = """
name: small_tpv
family: tpv
input: {width: 64, height: 48}
backbone: {depths: [1, 1, 1, 1], channels: [16, 16, 24, 32], weights: "", frozen_stages: -1}
planes: {lower: [-8, -8, -1], upper: [8, 8, 3], nodes: [17, 17, 5]}
encoder: {layers: 1, channels: 16, heads: 2, feedforward: 16, dropout: 0.1, cross_points: [4, 4, 2], self_points: 2}
renderer: {published: false, samples: 12, near_density: 4.0}
occupancy: {lower: [-8, -8, -1], upper: [8, 8, 3], cells: [16, 16, 8]}
"""

TRAIN = """
model: MODEL
steps: 20
warmup: 5
scenes_per_step: SCENES
bfloat16: false
data: {current_views: 1, anchor_views: 1, anchor_reach: 2, widest_gap: 2, widen_steps: 10, grid: [6, 8]}
loss: {background_from: 6}
"""


def configured(folder: Path, scenes: int) -> str:
    model, path = folder / "small_tpv.yaml", folder / f"{scenes}.yaml"
    model.write_text(MODEL)
    path.write_text(TRAIN.replace("MODEL", str(model)).replace("SCENES", str(scenes)))
    return str(path)


@pytest.mark.slow
def test_ddp_of_two_processes_equals_one_with_the_same_scenes(
    ground_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / "clip.npz"
    np.savez(clip, **{name: value for name, value in vars(ground_clip).items() if isinstance(value, np.ndarray)})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(HERE / "ddp_run.py"), configured(tmp_path, 2), str(clip), str(tmp_path / "two")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]

    monkeypatch.setattr(trainer, "build_network", lambda config: build_network(config).double())
    runpy.run_path(str(HERE / "ddp_run.py"))["train"](configured(tmp_path, 4), str(clip), str(tmp_path / "one"))
    one, two = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("one", "two"))
    assert one["step"] == two["step"] == 20
    for kind in ("model", "average"):
        for name, value in one[kind].items():
            assert torch.allclose(value, two[kind][name], rtol=0, atol=1e-9), name
