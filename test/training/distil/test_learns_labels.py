# SPDX-License-Identifier: Apache-2.0
"""A network with an occupancy output learns labels that its distances do not hold, while rendering goes on."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from small_networks import with_cells

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.model.config import ModelConfig, parse_model_config
from selfocc_ros.model.selfocc import SelfOcc, build_model
from selfocc_training.config import DataConfig, LossConfig
from selfocc_training.distil.labels import FREE, OCCUPIED, UNKNOWN
from selfocc_training.objective import total_loss, training_losses
from selfocc_training.steps import draw_step
from selfocc_training.town_clips import Clip

GRID = VoxelGrid((-8, -8, -1), (8, 8, 3), (20, 20, 5))
PAVEMENT = (slice(4, None), slice(10, None), 1)
"""Cells 0.4 m above what the pictures show on the left: ground, as everywhere."""


def student() -> SelfOcc:
    torch.manual_seed(0)
    config = parse_model_config({**with_cells(*GRID.shape), "head": {"occupancy": True}}, "test")
    assert isinstance(config, ModelConfig)
    return build_model(config)


def test_the_occupancy_output_learns_and_rendering_goes_on(ground_clip: Clip) -> None:
    labels = np.full((7, *GRID.shape), FREE, np.uint8)
    labels[:, :, :, 0] = OCCUPIED
    labels[(slice(None), *PAVEMENT)] = OCCUPIED
    labels[:, :4] = UNKNOWN
    clip = dataclasses.replace(ground_clip, voxels=labels, voxel_grid=GRID, voxel_free=FREE)
    data = DataConfig(current_views=1, anchor_views=1, anchor_reach=2, widest_gap=2, grid=(4, 6), mirror=False)
    config = LossConfig(background_from=0, voxels=1.0)
    model = student()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    curve: list[float] = []
    for number in range(36):
        terms = training_losses(model, draw_step([clip], number, 0, data), config, bfloat16=False)
        assert {"reprojection", "voxels"} <= set(terms)
        optimiser.zero_grad()
        torch.autograd.backward(total_loss(terms, config))
        optimiser.step()
        curve.append(terms["voxels"].item())
    assert np.mean(curve[-5:]) < 0.5 * np.mean(curve[:2])
    step = draw_step([clip], 99, 0, dataclasses.replace(data, drop_cameras=0))
    with torch.no_grad():
        scene = model.encode(step.images, model.prepare(step.rig))
    solid = model.decide(scene) < 0
    assert solid[14:17, 11:13, 1].all()
    assert not solid[14:17, 6:8, 1].any()
    # The distances answer to the pictures, not to the labels.
    assert (scene.nodes[14:17, 11:13, 2] > 0.2).all()
    assert scene.occupancy is not None
