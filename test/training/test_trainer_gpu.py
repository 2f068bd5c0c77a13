# SPDX-License-Identifier: Apache-2.0
"""Training on a GPU: the losses of a CPU, on after a stop, pictures; in one process, without Lightning."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from small_networks import FAST, write_network

pytest.importorskip("cv2", reason="opencv is not installed")
pytest.importorskip("yaml", reason="pyyaml is not installed")

from selfocc_training.config import DataConfig, LossConfig, TrainConfig
from selfocc_training.fit.processes import OneProcess
from selfocc_training.town_clips import Clip
from selfocc_training.trainer import Trainer


@pytest.mark.gpu
@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_gpu_learns_what_a_cpu_learns_and_goes_on(ground_clip: Clip, tmp_path: Path, bfloat16: bool) -> None:
    write_network(tmp_path / "small.yaml", FAST)
    data = DataConfig(current_views=2, anchor_views=1, anchor_reach=2, widest_gap=2, widen_steps=10, grid=(8, 10))
    config = TrainConfig(
        model=str(tmp_path / "small.yaml"),
        steps=6,
        warmup=5,
        bfloat16=bfloat16,
        picture_every=2,
        data=data,
        loss=LossConfig(background_from=3),
    )
    losses: dict[str, list[float]] = {"cpu": [], "cuda": []}
    for device, found in losses.items():

        def note(_step: int, terms: dict[str, float], _left_s: float, found: list[float] = found) -> None:
            found.append(terms["loss"])

        out = tmp_path / device
        Trainer(config, [ground_clip], out, OneProcess(device)).run(4, note)
        resumed = Trainer(config, [ground_clip], out, OneProcess(device))
        assert resumed.step == 4
        assert next(resumed.run(6, note).parameters()).device.type == device
    assert len(losses["cuda"]) == 6
    assert all(math.isfinite(loss) for loss in losses["cuda"])
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.1 if bfloat16 else 0.02)
