# SPDX-License-Identifier: Apache-2.0
"""Flat ground: what the baseline paints and how far it looks, chosen on samples that are not scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_training.evaluation.grids import VoxelTruth
from selfocc_training.metrics.depth import PREDICTED_DEPTH_M
from selfocc_training.metrics.town import choose_flat_ground
from selfocc_training.town_evaluation import flat_ground_layers

FAR_M = (4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 14.0, 16.0, 20.0, 25.0, 30.0, 40.0, 60.0, 80.0)
"""Depths to choose from for rays that do not meet the ground before."""


def choose_layers(truths: Iterable[VoxelTruth], grid: VoxelGrid) -> tuple[int, ...]:
    """The layers of a grid which, painted occupied, give the best IoU on the samples; at z = 0 if there are none."""
    samples = [(truth.occupied, truth.mask) for truth in truths]
    return choose_flat_ground(grid, samples) if samples else tuple(flat_ground_layers(grid))


def told_layers(layers: Sequence[int], grid: VoxelGrid) -> str:
    """Heights of neighbouring layers in words."""
    low, cell = grid.lower[2], float(grid.cell[2])
    return f"{low + layers[0] * cell:.1f} to {low + (layers[-1] + 1) * cell:.1f} m"


def choose_far(planes: Sequence[NDArray[np.float32]], truths: Sequence[NDArray[np.float32]], default: float) -> float:
    """The depth of FAR_M with the least AbsRel, the mean over images.

    Args:
        planes: by image, depth of the plane at the pixels that are scored, infinite where rays don't meet it.
        truths: by image, the true depth there.
        default: where there is no image.
    """
    pairs = [(plane, true) for plane, true in zip(planes, truths, strict=True) if len(true)]
    if not pairs:
        return default

    def error(far: float) -> float:
        limits = PREDICTED_DEPTH_M[0], far
        return float(np.mean([np.mean(np.abs(np.clip(plane, *limits) - true) / true) for plane, true in pairs]))

    return min(FAR_M, key=error)
