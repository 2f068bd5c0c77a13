# SPDX-License-Identifier: Apache-2.0
"""Steps: poses, mirroring and sources agree with the pictures; draws follow from (seed, step) alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from selfocc_training.config import DataConfig
from selfocc_training.losses.pairs import pairs_loss
from selfocc_training.steps import Step, draw_step, mirror_clip, source_gaps
from selfocc_training.town_clips import Clip, base_rig, camera_rig

DATA = DataConfig(current_views=2, anchor_views=2, anchor_reach=2, widest_gap=2, widen_steps=10, grid=(8, 10))


def ground_loss(step: Step, height: float) -> float:
    """Reprojection loss if every ray ended on the plane z = ``height``."""
    pixels = step.grid.pixels.expand(len(step.views.rigs), -1, -1)
    origins, directions, _ = step.views.rigs.rays(pixels)
    down = directions[..., 2:].clamp(max=-1e-2)
    points = origins + directions * (height - origins[..., 2:]) / down
    weights = torch.ones(*points.shape[:2], 1)
    return pairs_loss(step.views, step.grid, weights, points.unsqueeze(2), None, False).item()


@pytest.mark.parametrize("mirror", [False, True])
def test_true_geometry_explains_the_pictures_mirrored_or_not(ground_clip: Clip, mirror: bool) -> None:
    clip = mirror_clip(ground_clip) if mirror else ground_clip
    data = dataclasses.replace(DATA, mirror=False, drop_cameras=0)
    right = wrong = 0.0
    for number in range(6):
        step = draw_step([clip], number, 0, data)
        right += ground_loss(step, 0.0)
        wrong += ground_loss(step, -0.5)
    assert right < 0.5 * wrong


def test_mirroring_twice_gives_the_clip_back(ground_clip: Clip) -> None:
    twice = mirror_clip(mirror_clip(ground_clip))
    assert np.array_equal(twice.images, ground_clip.images)
    assert np.allclose(twice.odom_from_camera, ground_clip.odom_from_camera)
    assert np.allclose(np.linalg.det(mirror_clip(ground_clip).odom_from_camera[..., :3, :3]), 1.0)


def test_a_step_follows_from_seed_and_number(ground_clip: Clip) -> None:
    a, b = draw_step([ground_clip], 7, 3, DATA), draw_step([ground_clip], 7, 3, DATA)
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.grid.pixels, b.grid.pixels)
    assert torch.equal(a.jitter, b.jitter)
    other = draw_step([ground_clip], 8, 3, DATA)
    assert not torch.equal(a.grid.pixels, other.grid.pixels)


def test_cameras_are_dropped_but_never_all(ground_clip: Clip) -> None:
    counts = {len(draw_step([ground_clip], number, 0, DATA).rig) for number in range(60)}
    assert counts == {1, 2, 3}


def test_current_views_are_what_the_network_sees(ground_clip: Clip) -> None:
    for number in range(20):
        step = draw_step([ground_clip], number, 1, dataclasses.replace(DATA, mirror=False))
        shown = step.rig.select(step.current_cameras)
        assert torch.allclose(shown.base_from_camera, step.views.rigs.base_from_camera[: len(step.current_cameras)])


def test_sources_start_near_and_widen() -> None:
    rng = np.random.default_rng(0)
    assert {source_gaps(0, DATA, rng) for _ in range(50)} == {1}
    assert {source_gaps(10, DATA, rng) for _ in range(50)} == {1, 2}


def test_rig_of_a_clip_is_posed_at_its_own_frame(ground_clip: Clip) -> None:
    rig = camera_rig(ground_clip, 3)
    assert np.allclose(rig.base_from_camera, base_rig(ground_clip, 3, 3))
    assert np.allclose(rig.base_from_camera[:, 2, 3], 1.5)
