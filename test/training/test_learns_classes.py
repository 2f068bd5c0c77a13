# SPDX-License-Identifier: Apache-2.0
"""It learns what things are: from class maps by rendering, and from labels of voxels without a ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from selfocc_ros.configuration import from_mapping
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.model.config import ModelConfig
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.model.selfocc import SelfOcc, build_model
from selfocc_training.config import DataConfig, LossConfig
from selfocc_training.objective import total_loss, training_losses
from selfocc_training.steps import Step, draw_step
from selfocc_training.town_clips import Clip

MODEL = {
    "name": "striped",
    "input": {"width": 64, "height": 48},
    "backbone": {"channels": [16, 16, 16, 16], "neck": 16},
    "lifting": {"plain": 8, "gated": 4, "depth_bins": 12, "depth_range": [1.0, 12.0], "heights": 5},
    "encoder": {"channels": 24, "blocks": [1, 1], "fine": 16},
    "field": {"lower": [-8, -8, -0.8], "upper": [8, 8, 1.6], "cells": [20, 20, 6]},
    "head": {"classes": ["grass", "brick"]},
    "renderer": {"samples": 24},
}
GRID = VoxelGrid((-8, -8, -0.8), (8, 8, 1.6), (20, 20, 6))
FREE = 2
STRIPE_M = 4.0
DATA = DataConfig(current_views=2, anchor_views=0, widest_gap=2, grid=(10, 12), drop_cameras=0, mirror=False)


def stripes(points: Tensor) -> Tensor:
    """Class (..., 1) of the ground at points (..., 3) of the odom frame: stripes across the road."""
    return (points[..., :1] / STRIPE_M).floor() % 2


def coloured(points: Tensor) -> Tensor:
    """Reddish brick, greenish grass, both with a texture."""
    texture = 0.6 + 0.3 * torch.sin(2.1 * points[..., :1] + 1.9 * points[..., 1:2])
    tint = torch.where(stripes(points) > 0, torch.tensor([1.0, 0.3, 0.3]), torch.tensor([0.3, 1.0, 0.3]))
    return texture * tint


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clip(clip_of: Callable[..., Clip]) -> Clip:
    """Stripes that pass under the vehicle, with class maps and with the voxels that cameras see."""
    clip = clip_of(colour=coloured)
    maps = clip_of(colour=lambda points: stripes(points).expand(*points.shape[:-1], 3) * 0.5).images[:, :, 0]
    labels = np.where(maps > 150, 255, maps > 60).astype(np.uint8)
    voxels = np.full((len(clip.images), *GRID.shape), 255, np.uint8)
    centres = torch.from_numpy(GRID.centres()).reshape(-1, 3)
    for k, pose in enumerate(clip.odom_from_base):
        rig = RigTensors(
            torch.from_numpy(clip.intrinsics),
            torch.from_numpy(clip.sizes),
            torch.from_numpy(np.linalg.inv(pose) @ clip.odom_from_camera[k]).float(),
        )
        seen = rig.project(centres)[2].any(dim=0).numpy()
        where = stripes(centres @ torch.from_numpy(pose[:3, :3].T).float() + torch.from_numpy(pose[:3, 3]).float())
        truth = np.where(centres[:, 2].numpy() < 0, where[:, 0].numpy(), FREE)
        voxels[k] = np.where(seen, truth, 255).reshape(GRID.shape)
    return dataclasses.replace(clip, labels=labels, voxels=voxels, voxel_grid=GRID, voxel_free=FREE)


def train(clip: Clip, config: LossConfig, steps: int) -> tuple[SelfOcc, list[float]]:
    """Network and the loss of each step."""
    torch.manual_seed(0)
    model = build_model(from_mapping(ModelConfig, MODEL, "striped"))
    optimiser = torch.optim.AdamW(model.parameters(), lr=6e-3)
    curve = []
    for number in range(steps):
        terms = training_losses(model, draw_step([clip], number, 0, DATA), config, False)
        optimiser.zero_grad(set_to_none=True)
        loss = total_loss(terms, config)
        torch.autograd.backward(loss)
        optimiser.step()
        curve.append(loss.item())
    return model.eval(), curve


@torch.no_grad()
def share_of_classes_right(model: SelfOcc, step: Step) -> float:
    """Of the voxels that are known to be something."""
    scene = model.encode(step.images, model.prepare(step.rig))
    assert step.voxels is not None
    told = scene.class_logits(torch.from_numpy(GRID.centres())).argmax(dim=-1)
    something = step.voxels < FREE
    return float((told == step.voxels)[something].float().mean())


def test_classes_are_learnt_by_rendering(clip: Clip) -> None:
    config = LossConfig(reprojection=0.3, distances=0, semantic=0.3, background_from=None)
    model, curve = train(clip, config, 60)
    right = share_of_classes_right(model, draw_step([clip], 1000, 0, DATA))
    assert np.mean(curve[-10:]) < 0.8 * np.mean(curve[:5]), curve
    assert right > 0.75


def test_classes_and_occupancy_are_learnt_from_voxels_without_a_ray(clip: Clip) -> None:
    config = LossConfig(render=False, voxels=1.0, eikonal=0, hessian=0)
    model, curve = train(clip, config, 60)
    step = draw_step([clip], 1000, 0, DATA)
    assert np.mean(curve[-10:]) < 0.5 * np.mean(curve[:5]), curve
    assert share_of_classes_right(model, step) > 0.8
    with torch.no_grad():
        occupied = model.decide(model.encode(step.images, model.prepare(step.rig))) < 0
    assert step.voxels is not None
    known = step.voxels != 255
    assert ((occupied == (step.voxels < FREE))[known]).float().mean() > 0.97
