# SPDX-License-Identifier: Apache-2.0
"""What a network says of one moment: fields over a box, queried at any point."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

OCCUPANCY_LENGTH_M = 0.2
"""How far inside matter a voxel is when its odds of being occupied are e to one: half an edge of Occ3D's voxels."""


def trilinear(volume: Tensor, points: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Interpolate node values; outside the box the border's value holds.

    Args:
        volume: (C, X, Y, Z), nodes on both ends of the box.
        points: (..., 3) metres.
        lower, upper: (3,) metres, corners of the box.

    Returns:
        (..., C).
    """
    unit = (points - lower) / (upper - lower) * 2.0 - 1.0
    grid = unit.flip(-1).reshape(1, -1, 1, 1, 3)
    values = F.grid_sample(volume[None], grid, mode="bilinear", padding_mode="border", align_corners=True)
    return values.reshape(volume.shape[0], -1).T.reshape(*points.shape[:-1], volume.shape[0])


def occupancy_logits(residual: Tensor, sdf: Tensor) -> Tensor:
    """Logits (X, Y, Z) of being occupied: those of the signed distance (X, Y, Z) in metres, and a learnt rest.

    What labels of voxels ask of the logits does not pull at the distance, which is what images explain.
    """
    return residual - sdf.detach() / OCCUPANCY_LENGTH_M


@dataclass(frozen=True)
class Scene:
    """Fields of one moment in the ground frame of the network.

    Attributes:
        nodes: (X, Y, Z) signed distance at the nodes in metres, positive in free space.
        colours: (3, X', Y', Z') colour at (coarser) nodes, 0..1, over the same box.
        lower, upper: (3,) corners of the box in metres.
        sharpness: scalar, the s of NeuS in 1/m.
        log_distances: (N, D, h, w) log-probability over distance along each image feature's ray.
        logits: (C, X', Y', Z') of classes at (coarser) nodes over the same box; None without classes.
        occupancy: (X, Y, Z) logits of being occupied at the nodes; None where the distance alone tells.
    """

    nodes: Tensor
    colours: Tensor
    lower: Tensor
    upper: Tensor
    sharpness: Tensor
    log_distances: Tensor
    logits: Tensor | None = field(default=None, kw_only=True)
    occupancy: Tensor | None = field(default=None, kw_only=True)

    @property
    def spacing(self) -> Tensor:
        """(3,) metres between nodes."""
        return (self.upper - self.lower) / (torch.tensor(self.nodes.shape, device=self.nodes.device) - 1)

    @property
    def boundary(self) -> Tensor:
        """(X, Y, Z) metres at the nodes, negative inside matter: what decides which voxels are occupied.

        The signed distance; of networks with occupancy logits these, as the distance that stands for them.
        """
        return self.nodes if self.occupancy is None else -OCCUPANCY_LENGTH_M * self.occupancy

    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance in metres at points (..., 3)."""
        return trilinear(self.nodes[None], points, self.lower, self.upper)[..., 0]

    def colour(self, points: Tensor) -> Tensor:
        """Colour 0..1 at points (..., 3): (..., 3)."""
        return trilinear(self.colours, points, self.lower, self.upper)

    def class_logits(self, points: Tensor) -> Tensor:
        """Logits (..., C) of the classes at points (..., 3); C is 0 for a network without classes."""
        if self.logits is None:
            return points.new_zeros(*points.shape[:-1], 0)
        return trilinear(self.logits, points, self.lower, self.upper)

    def gradient(self, points: Tensor) -> Tensor:
        """Gradient of the signed distance at points (..., 3), central differences over one node spacing."""
        offsets = torch.diag(self.spacing) * 0.5
        ahead = self.sdf(points.unsqueeze(-2) + offsets)
        behind = self.sdf(points.unsqueeze(-2) - offsets)
        return (ahead - behind) / self.spacing
