# SPDX-License-Identifier: Apache-2.0
"""Views: the matrices of the published loss say what the cameras say, and padding is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from selfocc_training.config import DataConfig
from selfocc_training.losses.lookup import project
from selfocc_training.steps import draw_step
from selfocc_training.town_clips import Clip

DATA = DataConfig(current_views=2, anchor_views=2, anchor_reach=2, widest_gap=2, widen_steps=1, grid=(8, 10))


def test_matrices_project_like_the_cameras(ground_clip: Clip) -> None:
    step = draw_step([ground_clip], 5, 0, DATA)
    views, pixels = step.views, step.grid.pixels.expand(len(step.views.rigs), -1, -1)
    origins, directions, cosines = views.rigs.rays(pixels)
    distances = torch.linspace(2.0, 9.0, pixels.shape[1])
    points = origins + directions * distances[:, None]
    for k, rig in enumerate(views.source_rigs):
        expected, depth, _ = rig.project(points)
        found, found_depth = project(pixels, (distances * cosines)[..., None], views.source_pixel_from_pixel()[:, k])
        seen = depth > 0.5
        assert seen.any()
        assert torch.allclose(found[..., 0, :][seen], expected[seen], atol=2e-2)
        assert torch.allclose(found_depth[..., 0], depth, atol=1e-4)


def test_padding_of_narrower_sources_is_no_source(ground_clip: Clip) -> None:
    assert draw_step([ground_clip], 0, 0, DATA).views.source_area() is None
    sizes = ground_clip.sizes.copy()
    sizes[1] = (50, 40)
    views = draw_step([dataclasses.replace(ground_clip, sizes=sizes)], 0, 0, DATA).views
    area = views.source_area()
    assert area is not None
    assert area.shape == views.sources[:, :, 0].shape
    narrow = views.rigs.sizes[:, 0] == 50
    assert narrow.any()
    assert (area[narrow].sum(dim=(-2, -1)) == 50 * 40).all()
    assert area[narrow][..., :40, :50].all()
    assert area[~narrow].all()


def test_the_first_views_keep_what_belongs_to_them(ground_clip: Clip) -> None:
    moving = np.random.default_rng(0).random(ground_clip.images[:, :, 0].shape) < 0.5
    labels = ground_clip.images[:, :, 0]
    views = draw_step([dataclasses.replace(ground_clip, moving_mask=moving, labels=labels)], 1, 0, DATA).views
    first = views.first(2)
    for name in ("images", "sources", "use", "source_use", "labels"):
        assert torch.equal(getattr(first, name), getattr(views, name)[:2])
    assert len(first.rigs) == len(first.source_rigs[3]) == 2
