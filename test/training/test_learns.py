# SPDX-License-Identifier: Apache-2.0
"""It learns: depth comes from moving pictures, and only from those that belong together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from selfocc_ros.runtime.predictor import Predictor
from selfocc_ros.town.rigs import load_rig
from selfocc_ros.town.town import Town
from selfocc_ros.town.truth import render_frame, stamp_of
from selfocc_training.config import DataConfig, LossConfig, TrainConfig
from selfocc_training.metrics.town import DepthScore, flat_ground_depth, score_depth
from selfocc_training.town_clips import Clip, ClipPlan, render_clip
from selfocc_training.town_evaluation import DEPTH_STRIDE, encode_sample, rendered_depths
from selfocc_training.trainer import Trainer

MODEL = """
name: learner
input: {width: 128, height: 80}
backbone: {channels: [16, 24, 32, 48], neck: 32}
lifting: {plain: 10, gated: 6, depth_bins: 32, heights: 5}
encoder: {channels: 48, blocks: [1, 1, 1], fine: 16}
field: {lower: [-25.6, -25.6, -1.6], upper: [25.6, 25.6, 6.4], cells: [64, 64, 10]}
renderer: {samples: 48}
"""
STEPS = 150
UNSEEN = 7001


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums in one order: the same figures in every run on a machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    plan = ClipPlan(frames=9, width=128, height=80, render_width=192, surround_share=1.0)
    return [render_clip(seed, 0, plan) for seed in range(50, 60)]


def train(clips: list[Clip], model: Path, shuffle: bool) -> float:
    """AbsRel above ground on an unseen drive after 150 steps."""
    data = DataConfig(current_views=4, anchor_views=1, anchor_reach=3, widest_gap=2, grid=(14, 24), drop_cameras=0)
    data = dataclasses.replace(data, shuffle_sources=shuffle)
    loss = LossConfig(rgb=0.05, hessian=0.004, background_from=10_000)
    config = TrainConfig(
        str(model), steps=STEPS, learning_rate=6e-3, warmup=20, ema=0.95, scenes_per_step=5, bfloat16=False
    )
    config = dataclasses.replace(config, data=data, loss=loss)
    return above_ground(Predictor(Trainer(config, clips).run(STEPS), "cpu"))


def above_ground(predictor: Predictor | None) -> float:
    """AbsRel above ground on a drive that was not trained on; of flat ground for None."""
    town, spec = Town(UNSEEN, seconds=12.0), load_rig("surround6")
    score = DepthScore()
    for at in (3.0, 6.0, 9.0):
        frame = render_frame(town, spec, stamp_of(at), width=192)
        if predictor is None:
            mounted = zip(frame.rig.cameras, frame.rig.base_from_camera, strict=True)
            depths = [flat_ground_depth(camera, pose, DEPTH_STRIDE) for camera, pose in mounted]
        else:
            depths = rendered_depths(predictor, predictor.predict(encode_sample(frame)), frame)
        for depth, view in zip(depths, frame.views, strict=True):
            stride = slice(None, None, DEPTH_STRIDE)
            score += score_depth(depth, view.depth[stride, stride], view.classes[stride, stride])
    return score.above.mean


def test_depth_is_learnt_from_pictures_that_belong_together_only(clips: list[Clip], tmp_path: Path) -> None:
    model = tmp_path / "learner.yaml"
    model.write_text(MODEL)
    flat = above_ground(None)
    learnt, control = train(clips, model, shuffle=False), train(clips, model, shuffle=True)
    figures = f"flat ground {flat:.3f}, trained {learnt:.3f}, shuffled {control:.3f}"
    assert learnt <= 0.8 * flat, figures
    assert control > 0.8 * flat, figures
