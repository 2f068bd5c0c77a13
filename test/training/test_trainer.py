# SPDX-License-Identifier: Apache-2.0
"""The trainer: losses fall, a resume continues exactly, a broken value stops it with one sentence."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from selfocc_training.config import DataConfig, LossConfig, TrainConfig, load_train_config
from selfocc_training.objective import training_losses
from selfocc_training.steps import draw_step
from selfocc_training.town_clips import Clip
from selfocc_training.trainer import Trainer, TrainingError, learning_rate

MODEL = """
name: small
input: {width: 64, height: 48}
backbone: {channels: [8, 8, 16, 16], neck: 16}
lifting: {plain: 4, gated: 3, depth_bins: 12, heights: 5}
encoder: {channels: 16, blocks: [1, 1], fine: 8}
field: {lower: [-8, -8, -1], upper: [8, 8, 3], cells: [40, 40, 10]}
renderer: {samples: 24}
"""


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    path = tmp_path / "small.yaml"
    path.write_text(MODEL)
    data = DataConfig(current_views=2, anchor_views=1, anchor_reach=2, widest_gap=2, widen_steps=10, grid=(8, 10))
    loss = LossConfig(background_from=6)
    return TrainConfig(model=str(path), steps=40, warmup=5, bfloat16=False, data=data, loss=loss)


def reprojection(trainer: Trainer) -> float:
    """Mean over the same 12 steps, whatever was trained on."""
    with torch.no_grad():
        steps = [draw_step(trainer.clips, number, 99, trainer.config.data) for number in range(12)]
        terms = [training_losses(trainer.model, step, trainer.config.loss, False) for step in steps]
    return float(np.mean([term["reprojection"].item() for term in terms]))


def test_a_ground_that_starts_too_low_is_raised(config: TrainConfig, ground_clip: Clip) -> None:
    loss = dataclasses.replace(config.loss, background_from=10_000, auto_mask=False)
    trainer = Trainer(dataclasses.replace(config, steps=60, loss=loss), [ground_clip])
    with torch.no_grad():
        trainer.model.coarse_sdf.bias += 0.6
    before = reprojection(trainer)
    trainer.run(60)
    assert reprojection(trainer) < 0.7 * before


def test_resume_is_just_a_step_number(config: TrainConfig, ground_clip: Clip, tmp_path: Path) -> None:
    straight = Trainer(config, [ground_clip])
    straight.run(8)
    first = Trainer(config, [ground_clip], tmp_path)
    first.run(4)
    second = Trainer(config, [ground_clip], tmp_path)
    assert second.step == 4
    second.run(8)
    for a, b in zip(straight.average.parameters(), second.average.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_terms_follow_the_configuration(config: TrainConfig, ground_clip: Clip) -> None:
    names: list[set[str]] = []

    def note(_step: int, terms: dict[str, float], _left_s: float) -> None:
        names.append(set(terms))

    Trainer(config, [ground_clip]).run(8, note)
    assert "opacity" not in names[0]
    assert "opacity" in names[7]
    assert {"reprojection", "distances", "rgb", "eikonal", "hessian"} <= names[0]


def test_the_curve_is_kept(config: TrainConfig, ground_clip: Clip, tmp_path: Path) -> None:
    Trainer(config, [ground_clip], tmp_path).run(20)
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert rows[0]["step"] == 20
    assert rows[0]["reprojection"] > 0


def test_a_broken_value_names_step_and_term(config: TrainConfig, ground_clip: Clip) -> None:
    trainer = Trainer(config, [ground_clip])
    with torch.no_grad():
        trainer.model.colour.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="step 0: the rgb loss is nan"):
        trainer.run(1)


def test_learning_rate_warms_up_and_decays(config: TrainConfig) -> None:
    rates = [learning_rate(step, config) for step in range(config.steps + 1)]
    assert rates[0] < rates[config.warmup] == pytest.approx(config.learning_rate)
    assert rates[-1] == pytest.approx(0.02 * config.learning_rate)
    assert all(a >= b for a, b in zip(rates[config.warmup :], rates[config.warmup + 1 :], strict=False))


def test_the_shipped_configuration_is_read() -> None:
    assert load_train_config("tiny_town").model == "tiny"
    assert load_train_config("tiny_town", steps=5, seed=2).steps == 5
