# SPDX-License-Identifier: Apache-2.0
"""Labels of voxels in a training step: which voxels count, in whose grid, with which names, and without any ray."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import small_networks
import torch

from selfocc_ros.configuration import ConfigError, from_mapping
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.model.config import parse_model_config
from selfocc_ros.model.families import Network, build_network
from selfocc_training.config import DataConfig, LossConfig
from selfocc_training.objective import total_loss, training_losses
from selfocc_training.steps import Step, draw_step, mirror_clip
from selfocc_training.town_clips import Clip
from selfocc_training.voxel_terms import voxel_loss

FAST = small_networks.FAST
PLANES = {
    **small_networks.PLANES,
    "encoder": {**small_networks.PLANES["encoder"], "dropout": 0.0},
    "official_quirks": small_networks.NO_QUIRKS,
    "occupancy": small_networks.FAST["field"],
}
GRID = VoxelGrid((-8, -8, -1), (8, 8, 3), (20, 20, 10))
DATA = DataConfig(current_views=2, anchor_views=1, anchor_reach=2, widest_gap=2, grid=(4, 5), mirror=False)
FREE = 3
VOXELS = LossConfig(render=False, voxels=1.0, eikonal=0, hessian=0)


def network(values: dict[str, Any], **head: Any) -> Network:
    torch.manual_seed(0)
    return build_network(parse_model_config({**values, "head": head}, "test"))


def labelled(clip: Clip, grid: VoxelGrid = GRID) -> Clip:
    """Below the road it is solid, of class 2 on the left and 0 on the right; what lies behind is not known."""
    x, y, z = np.moveaxis(grid.centres(), -1, 0)
    labels = np.where(z < 0, np.where(y > 0, 2, 0), FREE).astype(np.uint8)
    labels[x < -4] = 255
    return dataclasses.replace(clip, voxels=np.stack([labels] * len(clip.images)), voxel_grid=grid, voxel_free=FREE)


def loss(model: Network, step: Step, config: LossConfig = VOXELS) -> torch.Tensor:
    return training_losses(model, step, config, False)["voxels"]


@pytest.mark.parametrize("values", [FAST, PLANES], ids=["fast", "tpv"])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("occupancy", [False, True])
def test_a_step_without_rays_teaches_where_and_what(
    ground_clip: Clip, values: dict[str, Any], classes: int, occupancy: bool
) -> None:
    names: list[Any] = ["road", "wall", "tree"] if values is FAST else [0, 1, 2]
    model = network(values, classes=names[:classes], occupancy=occupancy)
    step = draw_step([labelled(ground_clip)], 3, 0, DATA)
    views = dataclasses.replace(step.views, images=step.views.images * torch.nan)
    terms = training_losses(model, dataclasses.replace(step, views=views), VOXELS, False)
    assert set(terms) == {"voxels"}
    torch.autograd.backward(total_loss(terms, VOXELS))
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    assert any(gradient.any() for name, gradient in gradients.items() if name.startswith("backbone"))
    if values is FAST:
        assert ("classes.weight" in gradients) == bool(classes)
        assert ("refine.1.weight" in gradients) != occupancy  # labels teach occupancy, where there is any
        assert ("occupancy.weight" in gradients) == occupancy


def test_unknown_voxels_have_no_influence(ground_clip: Clip) -> None:
    model = network(FAST, classes=["road", "wall", "tree"])
    clip = labelled(ground_clip)
    step = draw_step([clip], 3, 0, DATA)
    assert step.voxels is not None
    with torch.no_grad():
        fewer = step.voxels.clone()
        fewer[:, :10] = 255
        assert loss(model, dataclasses.replace(step, voxels=fewer)) != loss(model, step)
        assert loss(model, dataclasses.replace(step, voxels=torch.full_like(fewer, 255))) == 0
    scene = model.encode(step.images, model.prepare(step.rig))  # type: ignore[arg-type]
    scene.nodes.retain_grad()
    torch.autograd.backward(voxel_loss(model, scene, dataclasses.replace(step, voxels=fewer)))
    assert scene.nodes.grad is not None
    assert not scene.nodes.grad[:, :10].any()
    assert scene.nodes.grad[:, 11:].any()


def test_voxels_in_no_image_have_no_influence(ground_clip: Clip) -> None:
    """Without the camera that looks to the left, labels on the left do not count."""
    model = network(FAST)
    step = draw_step([labelled(ground_clip)], 3, 0, DATA)
    assert step.voxels is not None
    left = torch.from_numpy(GRID.centres()[..., 1] > 6)
    spoiled = dataclasses.replace(step, voxels=torch.where(left, FREE, step.voxels).to(torch.uint8))
    few = torch.tensor([0, 2])
    with torch.no_grad():
        assert loss(model, step) != loss(model, spoiled)
        fewer = [dataclasses.replace(one, rig=one.rig.select(few), images=one.images[few]) for one in (step, spoiled)]
        assert loss(model, fewer[0]) == loss(model, fewer[1])


def test_labels_of_another_grid_are_read_where_they_lie(ground_clip: Clip) -> None:
    """The start is flat ground whatever the grid; what reaches beyond the network's box does not count."""
    model = network(FAST)
    wide = VoxelGrid((-16, -16, -1), (16, 16, 3), (40, 40, 10))
    with torch.no_grad():
        own = loss(model, draw_step([labelled(ground_clip)], 3, 0, DATA))
        beyond = loss(model, draw_step([labelled(ground_clip, wide)], 3, 0, DATA))
    torch.testing.assert_close(beyond, own, atol=1e-5, rtol=0)


def test_channels_of_one_label_are_one_class(ground_clip: Clip) -> None:
    """Channels that bear the labels 0, 2, 2: the loss is that of the sum of the two."""
    model = network(PLANES, classes=[0, 2, 2])
    step = draw_step([labelled(ground_clip)], 3, 0, DATA)
    with torch.no_grad():
        found = loss(model, step)
        last = model.field.density_net[3]  # type: ignore[union-attr]
        last.weight[5:7], last.bias[5:7] = last.weight[[6, 5]].clone(), last.bias[[6, 5]].clone()
        torch.testing.assert_close(loss(model, step), found)


def test_mirrored_voxels_lie_on_the_other_side(ground_clip: Clip) -> None:
    grid = VoxelGrid((-8, -4, -1), (8, 8, 3), (20, 15, 10))
    clip = labelled(ground_clip, grid)
    mirrored = mirror_clip(clip)
    assert mirrored.voxel_grid == VoxelGrid((-8, -8, -1), (8, 4, 3), (20, 15, 10))
    assert mirrored.voxels is not None
    assert clip.voxels is not None
    y = mirrored.voxel_grid.centres()[..., 1]
    assert set(mirrored.voxels[0][y > 0]) == {0, FREE, 255}
    assert np.array_equal(np.sort(mirrored.voxels, axis=None), np.sort(clip.voxels, axis=None))
    again = mirror_clip(mirrored)
    assert again.voxel_grid == grid
    assert np.array_equal(again.voxels if again.voxels is not None else 0, clip.voxels)


def test_what_voxels_need_must_be_there(ground_clip: Clip) -> None:
    step = draw_step([labelled(ground_clip)], 0, 0, DATA)
    with pytest.raises(ConfigError, match="the clips have no labels of voxels"):
        loss(network(FAST), draw_step([ground_clip], 0, 0, DATA))
    with pytest.raises(
        ConfigError, match=r"the class channels 0 to 1, but the voxels hold 0, 2, and 3 where they are free"
    ):
        loss(network(FAST, classes=["road", "wall"]), step)
    with pytest.raises(ConfigError, match="nothing is left to learn from"):
        from_mapping(LossConfig, {"render": False}, "loss")
    with pytest.raises(ConfigError, match="eikonal_at must be cells"):
        from_mapping(LossConfig, {"render": False, "voxels": 1, "eikonal_at": "samples"}, "loss")
