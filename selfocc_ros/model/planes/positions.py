# SPDX-License-Identifier: Apache-2.0
"""Positional encoding of plane tokens: sines and cosines of their place in the box, mixed by a linear layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selfocc_ros.model.planes.geometry import Plane, PlaneGrid

FREQUENCIES = 12
"""sin and cos of pi 2^k u for k = -1 .. 10, as published."""


def frequency_features(grid: PlaneGrid, plane: Plane) -> Tensor:
    """Sines and cosines of the two coordinates of each token, in the order of the metric axes.

    Returns:
        (tokens, 4 * FREQUENCIES) laid out [coordinate][frequency][sin, cos].
    """
    indices = grid.indices(plane)
    axes = sorted(indices)
    unit = torch.stack([grid.unit(axis, grid.metres(axis, indices[axis])) for axis in axes], dim=-1)
    frequencies = 2.0 ** torch.arange(-1, FREQUENCIES - 1, dtype=torch.float32) * math.pi
    phase = unit.unsqueeze(-1) * frequencies
    return torch.stack([phase.sin(), phase.cos()], dim=-1).flatten(1)


class PlanePositions(nn.Module):
    """One linear layer per plane over fixed frequency features."""

    def __init__(self, grid: PlaneGrid, planes: Sequence[Plane], dim: int) -> None:
        super().__init__()
        # The published networks name the layer after its plane only where there are several.
        self.suffixes = [f"_{plane.name}" for plane in planes] if len(planes) > 1 else [""]
        for suffix, plane in zip(self.suffixes, planes, strict=True):
            self.register_buffer(f"features{suffix}", frequency_features(grid, plane), persistent=False)
            self.add_module(f"position_layer{suffix}", nn.Linear(4 * FREQUENCIES, dim))

    def forward(self) -> Tensor:
        """Encodings of all planes one after the other, (tokens, dim)."""
        return torch.cat(
            [
                self.get_submodule(f"position_layer{suffix}")(self.get_buffer(f"features{suffix}"))
                for suffix in self.suffixes
            ]
        )
