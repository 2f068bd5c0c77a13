# SPDX-License-Identifier: Apache-2.0
"""Labels of voxels out of fused volumes: occupied, free, or unknown where nobody saw or viewpoints disagree."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfocc_ros.configuration import ConfigError
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.model.config import DecisionConfig
from selfocc_ros.model.selfocc import decide
from selfocc_training.distil.config import FusionConfig
from selfocc_training.distil.fusion import FusedField

CLASSES = ("occupied",)
"""Names by label; what is free has the label after them."""
OCCUPIED, FREE, UNKNOWN = 0, 1, 255


def voxel_labels(
    fused: FusedField, own: Tensor, grid: VoxelGrid, decision: DecisionConfig, config: FusionConfig
) -> NDArray[np.uint8]:
    """(X, Y, Z) OCCUPIED, FREE or UNKNOWN.

    The network's own rule (``model.selfocc.decide``: lowest corner, a threshold per height layer) decides about the
    fused distances as it does about those of a single moment. Unknown are

    - voxels most of whose corners nobody saw;
    - voxels at whose corners the viewpoints differ, on average, by more than ``disagreement_m``;
    - voxels within ``trust_m`` that the sample's own volume calls occupied and the fused one free. What moves is there
      at one moment only: all other viewpoints agree that the place is free, and may even be nearer to it.

    Args:
        own: (X + 1, Y + 1, Z + 1) signed distance in metres that the network tells at the labelled moment itself.
        grid: the voxels in the ground frame.

    Raises:
        ConfigError: the distances are clamped within the thresholds that decide, so that nothing could be occupied.
    """
    if -config.clamp_m >= min(decision.thresholds):
        raise ConfigError(
            f"fusion: clamp_m must be above {-min(decision.thresholds):g}, which is how far below zero the network's "
            f"lowest occupancy threshold lies, found {config.clamp_m:g}."
        )
    occupied = decide(fused.distances, decision) < 0
    x, y = (torch.as_tensor(axis, device=occupied.device) for axis in _column_centres(grid))
    near = torch.hypot(x[:, None], y[None, :]).unsqueeze(-1) < config.trust_m
    overruled = ~occupied & near & (decide(own, decision) < 0)
    known = (_cell_means(fused.seen) > 0.5) & (_cell_means(fused.spread) <= config.disagreement_m) & ~overruled
    label = torch.where(occupied, OCCUPIED, FREE).where(known, UNKNOWN)
    return label.to(torch.uint8).cpu().numpy()


def _cell_means(corners: Tensor) -> Tensor:
    return F.avg_pool3d(corners[None, None], 2, stride=1)[0, 0]


def _column_centres(grid: VoxelGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of the cells along x (X,) and y (Y,), metres."""
    x, y = (grid.lower[axis] + (np.arange(grid.shape[axis]) + 0.5) * grid.cell[axis] for axis in range(2))
    return x, y
