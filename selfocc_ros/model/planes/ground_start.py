# SPDX-License-Identifier: Apache-2.0
"""A field that starts as the height above the road, which training then carves and builds upon.

The published code means to start so (its bird's eye head alone), but writes the start to a copy, see
``QuirksConfig.lost_ground``. Here the height is no parameter but added to what the network says: three planes share
one head over all heights, whose bias cannot tell them apart.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
from torch import Tensor, nn

from selfocc_ros.model.planes.config import BoxConfig
from selfocc_ros.model.planes.field import PillarField, TriplaneField
from selfocc_ros.model.planes.field_grid import FieldGrid, central_differences

START_DEVIATION = 1e-4
"""Of the weights of a silenced output, as published for the distance: next to nothing, but not stuck at zero."""


def node_heights(box: BoxConfig) -> Tensor:
    """(Z,) height of the nodes above the road, metres: the signed distance to flat ground."""
    low, high = box.lower[2] + box.origin[2], box.upper[2] + box.origin[2]
    return torch.linspace(low, high, box.nodes[2])


@torch.no_grad()
def silence(field: TriplaneField | PillarField, features: int, value: int) -> None:
    """Let output ``value`` of ``field`` start at nearly zero everywhere: 0 is the distance, then its ``features``."""
    last = cast(nn.Linear, field.density_net[3])
    last.weight[value :: 1 + features].normal_(std=START_DEVIATION)
    last.bias[value :: 1 + features].zero_()


def raised(grid: FieldGrid, heights: Tensor) -> FieldGrid:
    """``grid`` with ``heights`` (Z,) added to its distance, and their derivative to its gradient."""
    column = heights.expand(1, 1, -1)
    slope = central_differences(column, grid.spacing)
    return dataclasses.replace(grid, sdf=grid.sdf + column, gradient=grid.gradient + slope)
