# SPDX-License-Identifier: Apache-2.0
"""Fuses the signed distance volumes of many viewpoints in the frame of one of them.

Every place of a drive is passed closely once, and a network knows best what is near. So at a place p the fused field is
the mean of all volumes, each clamped (what lies far from any surface says no more than "free") and weighted by

    w(p, s) = seen(p, s) * exp(-|p - viewpoint of s| / decay)

with the horizontal distance, in metres. The weighted standard deviation beside the mean tells where viewpoints
disagree: at the rim of things that were badly seen, and wherever something moved in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfocc_ros.geometry.poses import invert
from selfocc_ros.geometry.voxels import VoxelGrid
from selfocc_training.distil.config import FusionConfig

UNSEEN_SHARE = 1e-3
"""Weight of a corner on no line of sight, as a share of a seen one's: it counts where nobody has seen more, so that the
field has no holes next to what is known."""


@dataclass(frozen=True)
class Viewpoint:
    """What a network says from one place.

    Attributes:
        odom_from_ground: (4, 4) float64, pose of the grid's frame.
        travelled_m: metres since the drive began.
        field: (2, X + 1, Y + 1, Z + 1) at the corners of the grid's voxels: clamped signed distance in metres times
            the corner's share of sight, and that share. 16 bit floats, since a window of these is all that is held.
    """

    odom_from_ground: NDArray[np.float64]
    travelled_m: float
    field: Tensor

    @classmethod
    def of(
        cls,
        corner_distances: Tensor,
        seen: NDArray[np.bool_],
        odom_from_ground: NDArray[np.float64],
        travelled_m: float,
        clamp_m: float,
    ) -> Viewpoint:
        """From signed distances (X + 1, Y + 1, Z + 1) in metres and the voxels (X, Y, Z) on lines of sight."""
        corners = _corner_means(torch.from_numpy(seen).to(corner_distances))
        share = UNSEEN_SHARE + (1.0 - UNSEEN_SHARE) * corners
        clamped = corner_distances.clamp(-clamp_m, clamp_m)
        return cls(odom_from_ground, travelled_m, torch.stack([clamped * share, share]).half())

    @property
    def distances(self) -> Tensor:
        """(X + 1, Y + 1, Z + 1) clamped signed distance in metres."""
        weighted, share = self.field.float()
        distances: Tensor = weighted / share
        return distances


@dataclass(frozen=True)
class FusedField:
    """Fused volumes, at the corners of the grid's voxels, each (X + 1, Y + 1, Z + 1).

    Attributes:
        distances: signed distance in metres, positive in free space.
        spread: weighted standard deviation of the viewpoints' distances, metres.
        seen: 0 to 1, how well the viewpoint that sees a corner best sees it.
    """

    distances: Tensor
    spread: Tensor
    seen: Tensor


def fuse(
    odom_from_ground: NDArray[np.float64], viewpoints: Sequence[Viewpoint], grid: VoxelGrid, config: FusionConfig
) -> FusedField:
    """Fuse ``viewpoints`` in the frame whose pose is given.

    Args:
        odom_from_ground: (4, 4), pose of the frame that is labelled; odometry is taken to be right within reach.
        viewpoints: at least one.
        grid: in the ground frame, the same for all.

    Raises:
        ValueError: there is no viewpoint.
    """
    if not viewpoints:
        raise ValueError("there is nothing to fuse without a viewpoint")
    nodes = tuple(cells + 1 for cells in grid.shape)
    device = viewpoints[0].field.device
    total, first, second, seen = (torch.zeros(nodes, device=device) for _ in range(4))
    for viewpoint in viewpoints:
        source_from_target = invert(viewpoint.odom_from_ground) @ odom_from_ground
        weighted, share = _resampled(viewpoint.field.float(), source_from_target, grid)
        torch.maximum(seen, share, out=seen)
        distance = weighted / share.clamp(min=1e-6)
        weight = share * _nearness(invert(source_from_target)[:2, 3], grid, config.decay_m, device)
        total += weight
        first.addcmul_(weight, distance)
        second.addcmul_(weight, distance.square_())
    # Outside everybody's box there is no weight at all: free, but never seen.
    held = total.clamp(min=1e-30)
    mean = torch.where(total > 0, first / held, config.clamp_m)
    spread = (second / held - mean.square()).clamp(min=0.0).sqrt()
    return FusedField(mean, spread, seen)


def _resampled(field: Tensor, source_from_target: NDArray[np.float64], grid: VoxelGrid) -> Tensor:
    """Corner values (C, X, Y, Z) of a source's grid at the corners of the target's, zero outside the source's box."""
    lower, upper = np.array(grid.lower), np.array(grid.upper)
    scale = 2.0 / (upper - lower)
    rotation = source_from_target[:3, :3] * scale[:, None]
    offset = (source_from_target[:3, 3] - lower) * scale - 1.0
    # The three axes add up: a third of the work of multiplying each corner by the matrix.
    unit = torch.as_tensor(offset[::-1].copy(), dtype=torch.float32, device=field.device)
    for axis in range(3):
        line = np.linspace(lower[axis], upper[axis], grid.shape[axis] + 1)
        part = torch.as_tensor((line[:, None] * rotation[::-1, axis]), dtype=torch.float32, device=field.device)
        unit = unit + part.reshape([-1 if a == axis else 1 for a in range(3)] + [3])
    return F.grid_sample(field[None], unit[None], mode="bilinear", padding_mode="zeros", align_corners=True)[0]


def _nearness(viewpoint_xy: NDArray[np.float64], grid: VoxelGrid, decay_m: float, device: torch.device) -> Tensor:
    """(X + 1, Y + 1, 1) weight of a viewpoint at each column of corners."""
    x, y = (
        torch.linspace(grid.lower[a] - viewpoint_xy[a], grid.upper[a] - viewpoint_xy[a], grid.shape[a] + 1)
        for a in range(2)
    )
    return torch.exp(torch.hypot(x[:, None], y[None, :]) / -decay_m).unsqueeze(-1).to(device)


def _corner_means(cells: Tensor) -> Tensor:
    """Values (X, Y, Z) of cells as means at their corners (X + 1, Y + 1, Z + 1); the rim repeats."""
    padded = F.pad(cells[None, None], (1, 1, 1, 1, 1, 1), mode="replicate")
    return F.avg_pool3d(padded, 2, stride=1)[0, 0]
