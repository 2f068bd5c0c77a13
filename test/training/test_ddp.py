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

TRAIN = """
model: MODEL
steps: 20
warmup: 5
scenes_per_step: SCENES
bfloat16: false
data: {current_views: 1, anchor_views: 1, anchor_reach: 2, widest_gap: 2, widen_steps: 10, grid: [6, 8]}
loss: {background_from: 6}
"""


def configured(model: Path, scenes: int) -> str:
    path = model.with_name(f"{scenes}.yaml")
    path.write_text(TRAIN.replace("MODEL", str(model)).replace("SCENES", str(scenes)))
    return str(path)


@pytest.mark.slow
def test_ddp_of_two_processes_equals_one_with_the_same_scenes(
    ground_clip: Clip, small_tpv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / "clip.npz"
    np.savez(clip, **{name: value for name, value in vars(ground_clip).items() if isinstance(value, np.ndarray)})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(HERE / "ddp_run.py"), configured(small_tpv, 2), str(clip), str(tmp_path / "two")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]

    monkeypatch.setattr(trainer, "build_network", lambda config: build_network(config).double())
    runpy.run_path(str(HERE / "ddp_run.py"))["train"](configured(small_tpv, 4), str(clip), str(tmp_path / "one"))
    one, two = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("one", "two"))
    assert one["step"] == two["step"] == 20
    for kind in ("model", "average"):
        for name, value in one[kind].items():
            assert torch.allclose(value, two[kind][name], rtol=0, atol=1e-9), name
