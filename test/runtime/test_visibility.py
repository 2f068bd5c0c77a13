# SPDX-License-Identifier: Apache-2.0
"""What one camera that looks ahead sees of a grid, with a wall across the way and without."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfocc_ros.geometry.poses import BODY_FROM_OPTICAL
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_ros.model.rig_tensors import RigTensors
from selfocc_ros.runtime.visibility import MARGIN_M, SightLines

GRID = VoxelGrid((-8.0, -8.0, -1.0), (8.0, 8.0, 3.0), (40, 40, 10))
SIZE = (64, 48)


def rig_ahead(height: float = 1.0) -> RigTensors:
    """90 degrees wide, level, at the origin."""
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor(BODY_FROM_OPTICAL[:3, :3].tolist())
    pose[2, 3] = height
    return RigTensors(torch.tensor([[32.0, 32.0, 31.5, 23.5]]), torch.tensor([[64.0, 48.0]]), pose[None])


@pytest.fixture(scope="module")
def lines() -> SightLines:
    return SightLines.of(rig_ahead(), GRID, SIZE)


def centres() -> np.ndarray:
    axes = [np.linspace(a, b, 2 * n + 1)[1::2] for a, b, n in zip(GRID.lower, GRID.upper, GRID.shape, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def in_view(margin: float) -> np.ndarray:
    """Voxels whose centre lies inside the picture's pyramid, by more than a share of the distance."""
    x, y, z = np.moveaxis(centres(), -1, 0)
    return (x > 1.0) & (np.abs(y) < (1.0 - margin) * x) & (np.abs(z - 1.0) < (0.75 - margin) * x)


def test_in_the_open_the_whole_pyramid_is_seen_and_nothing_beside_it(lines: SightLines) -> None:
    seen = lines.seen_voxels(torch.full((len(lines.origins),), 100.0))
    assert seen.shape == GRID.shape
    assert seen[in_view(0.15)].all()
    outside = ~in_view(-0.5) & (np.abs(centres()[..., 0]) > 3.2)  # a coarse cell is two voxels wide
    assert not seen[outside].any()


def test_behind_a_wall_nothing_is_seen(lines: SightLines) -> None:
    wall = 4.0
    reach = wall / lines.directions[:, 0]
    seen = lines.seen_voxels(reach)
    x = centres()[..., 0]
    assert seen[in_view(0.15) & (x < wall)].all()
    # A ray goes on by the margin, and a coarse cell is two voxels long.
    assert not seen[x > wall + MARGIN_M * 1.0 + 0.8].any()


def test_two_cameras_see_what_either_sees() -> None:
    one, other = rig_ahead(), rig_ahead()
    other.base_from_camera[0, :2, :3] *= -1.0  # looks back
    both = RigTensors(*(torch.cat([getattr(rig, k) for rig in (one, other)]) for k in vars(one)))
    seen = [
        SightLines.of(rig, GRID, SIZE).seen_voxels(torch.full((size * 32 * 24,), 5.0))
        for rig, size in ((one, 1), (other, 1), (both, 2))
    ]
    assert (seen[2] == (seen[0] | seen[1])).all()
    assert seen[0][30].any()
    assert not seen[0][:18].any()
