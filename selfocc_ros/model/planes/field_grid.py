# SPDX-License-Identifier: Apache-2.0
"""A signed distance field and its companions on a dense grid of nodes, queried at any point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selfocc_ros.model.scene import trilinear


@dataclass(frozen=True)
class FieldGrid:
    """Fields of one moment at nodes that span a box from border to border, indexed [x, y, z].

    Between nodes values are interpolated trilinearly; outside the box the border's value holds.

    Attributes:
        sdf: (X, Y, Z) signed distance in metres, positive in free space.
        features: (C, X, Y, Z): three colour coefficients, then one logit per class; or None.
        gradient: (3, X, Y, Z) derivative of the distance along x, y and z.
        lower, upper: (3,) metres, corners of the box.
    """

    sdf: Tensor
    features: Tensor | None
    gradient: Tensor
    lower: Tensor
    upper: Tensor

    @classmethod
    def from_values(cls, values: Tensor, lower: Tensor, upper: Tensor) -> FieldGrid:
        """The grid of node values (1 + C, X, Y, Z): the distance first, then C features (none if C is 0)."""
        sdf = values[0]
        gradient = central_differences(sdf, _spacing(sdf, lower, upper))
        return cls(sdf, values[1:] if len(values) > 1 else None, gradient, lower, upper)

    @property
    def spacing(self) -> Tensor:
        """(3,) metres between nodes."""
        return _spacing(self.sdf, self.lower, self.upper)

    def sdf_at(self, points: Tensor) -> Tensor:
        """Signed distance (...) in metres at points (..., 3)."""
        return trilinear(self.sdf[None], points, self.lower, self.upper)[..., 0]

    def gradient_at(self, points: Tensor) -> Tensor:
        """Gradient (..., 3) at points (..., 3), interpolated from the nodes: continuous, and of no fixed length."""
        return trilinear(self.gradient, points, self.lower, self.upper)

    def features_at(self, points: Tensor) -> Tensor:
        """Features (..., C) at points (..., 3).

        Raises:
            ValueError: the grid was made without features.
        """
        if self.features is None:
            raise ValueError("features are asked of a field grid that holds distances alone")
        return trilinear(self.features, points, self.lower, self.upper)


def central_differences(volume: Tensor, spacing: Tensor) -> Tensor:
    """Derivatives (3, ..., X, Y, Z) of a volume (..., X, Y, Z) whose nodes lie ``spacing`` (3,) metres apart.

    The border repeats itself outwards, so that a difference across it is half of what it is inside.
    """
    found = []
    for axis in range(3):
        ahead, behind = _neighbours(volume, axis - 3)
        found.append((ahead - behind) / (2.0 * spacing[axis]))
    return torch.stack(found)


def lattice(lower: Sequence[float], upper: Sequence[float], resolution: float, jitter: Tensor | None = None) -> Tensor:
    """Points (X, Y, Z, 3) of a regular lattice over a box, both ends included, about ``resolution`` metres apart.

    An axis of length L has int(L / resolution) points, in double precision, as in SelfOcc: 38.4 m at 1.6 m are 23.

    Args:
        jitter: (X, Y, Z, 3) uniform in 0..1: each point is moved up by as much of the resolution.
    """
    axes = [torch.linspace(low, high, int((high - low) / resolution)) for low, high in zip(lower, upper, strict=True)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    return points if jitter is None else points.to(jitter) + resolution * jitter


def _spacing(sdf: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    return (upper - lower) / (torch.tensor(sdf.shape, device=sdf.device) - 1)


def _neighbours(volume: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Values one node ahead and one behind along an axis; the border's own value beyond it."""
    last = volume.shape[axis] - 1
    ahead = torch.cat([volume.narrow(axis, 1, last), volume.narrow(axis, last, 1)], dim=axis)
    behind = torch.cat([volume.narrow(axis, 0, 1), volume.narrow(axis, 0, last)], dim=axis)
    return ahead, behind
