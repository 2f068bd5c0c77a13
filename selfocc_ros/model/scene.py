# SPDX-License-Identifier: Apache-2.0
"""What a network says of one moment: fields over a box, queried at any point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


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


@dataclass(frozen=True)
class Scene:
    """Fields of one moment in the ground frame of the network.

    Attributes:
        nodes: (X, Y, Z) signed distance at the nodes in metres, positive in free space.
        colours: (3, X', Y', Z') colour at (coarser) nodes, 0..1, over the same box.
        lower, upper: (3,) corners of the box in metres.
        sharpness: scalar, the s of NeuS in 1/m.
        log_distances: (N, D, h, w) log-probability over distance along each image feature's ray.
    """

    nodes: Tensor
    colours: Tensor
    lower: Tensor
    upper: Tensor
    sharpness: Tensor
    log_distances: Tensor

    @property
    def spacing(self) -> Tensor:
        """(3,) metres between nodes."""
        return (self.upper - self.lower) / (torch.tensor(self.nodes.shape, device=self.nodes.device) - 1)

    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance in metres at points (..., 3)."""
        return trilinear(self.nodes[None], points, self.lower, self.upper)[..., 0]

    def colour(self, points: Tensor) -> Tensor:
        """Colour 0..1 at points (..., 3): (..., 3)."""
        return trilinear(self.colours, points, self.lower, self.upper)

    def gradient(self, points: Tensor) -> Tensor:
        """Gradient of the signed distance at points (..., 3), central differences over one node spacing."""
        offsets = torch.diag(self.spacing) * 0.5
        ahead = self.sdf(points.unsqueeze(-2) + offsets)
        behind = self.sdf(points.unsqueeze(-2) - offsets)
        return (ahead - behind) / self.spacing
