# SPDX-License-Identifier: Apache-2.0
"""Labels of occupied voxels: the likeliest class at their centres, whatever the channels."""

from __future__ import annotations

import numpy as np
import torch

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.model.scene import Scene
from selfocc_ros.runtime.labels import voxel_labels

GRID = VoxelGrid((-4, -4, 0), (4, 4, 2), (8, 8, 2))


def scene(logits: torch.Tensor) -> Scene:
    box = torch.tensor(GRID.lower), torch.tensor(GRID.upper)
    return Scene(torch.zeros(9, 9, 3), torch.zeros(3, 2, 2, 2), *box, torch.tensor(1.0), torch.zeros(0), logits=logits)


def test_labels_are_those_of_where_voxels_are() -> None:
    """Class 0 ahead, class 1 behind, told at the two ends of the box alone."""
    logits = torch.zeros(2, 2, 2, 2)
    logits[0, 1], logits[1, 0] = 5.0, 5.0
    which = np.zeros(GRID.shape, np.bool_)
    which[:, 3] = True
    labels = voxel_labels(scene(logits), (11, 4), GRID, which)
    assert (labels[4:, 3] == 11).all()
    assert (labels[:4, 3] == 4).all()
    assert not labels[~which].any()


def test_channels_of_one_label_add_up() -> None:
    logits = torch.tensor([1.0, 0.6, 0.6]).reshape(3, 1, 1, 1).expand(3, 2, 2, 2)
    everywhere = np.ones(GRID.shape, np.bool_)
    assert (voxel_labels(scene(logits), (7, 3, 3), GRID, everywhere) == 3).all()
    assert (voxel_labels(scene(logits), (7, 3, 5), GRID, everywhere) == 7).all()


def test_nothing_occupied_has_no_labels() -> None:
    assert not voxel_labels(scene(torch.zeros(2, 2, 2, 2)), (1, 2), GRID, np.zeros(GRID.shape, np.bool_)).any()
