# SPDX-License-Identifier: Apache-2.0
"""A small volume for tests of the messages that are made of it."""

from __future__ import annotations

import numpy as np

from selfocc_ros.geometry.voxels import FREE, OCCUPIED, OccupancyVolume, VoxelGrid

GRID = VoxelGrid((-2.0, -1.0, -1.0), (4.0, 3.0, 2.2), (15, 10, 8))  # cells of 0.4 m
STAMP_NS = 1_700_000_000_123_456_789


def volume(*occupied: tuple[int, int, int], grid: VoxelGrid = GRID) -> OccupancyVolume:
    """All free but for these voxels."""
    state = np.full(grid.shape, FREE, np.uint8)
    for index in occupied:
        state[index] = OCCUPIED
    return OccupancyVolume(grid, state)
